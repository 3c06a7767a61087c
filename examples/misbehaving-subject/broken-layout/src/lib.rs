//! A plugin whose manifest promises ABI v1, but whose root module has other types. A host must detect that before any call.

use abi_stable::{
    StableAbi, declare_root_module_statics, export_root_module, library::RootModule,
    package_version_strings, prefix_type::PrefixTypeTrait, sabi_types::VersionStrings,
};
use operator_plugin_api::manifest::{MANIFEST_LEN, RUSTC_VERSION, SDK_VERSION, TARGET, join};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = SubjectModuleRef)))]
#[sabi(missing_field(panic))]
pub struct SubjectModule {
    pub describe: extern "C" fn() -> u64,
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(u64) -> u64,
}

impl RootModule for SubjectModuleRef {
    declare_root_module_statics! {SubjectModuleRef}
    const BASE_NAME: &'static str = "operator_subject";
    const NAME: &'static str = "operator_subject";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

extern "C" fn describe() -> u64 {
    0
}

extern "C" fn create(config: u64) -> u64 {
    config
}

#[export_root_module]
fn root_module() -> SubjectModuleRef {
    SubjectModule { describe, create }.leak_into_prefix()
}

// SAFETY: the section and the symbol are reserved for this purpose, and the bytes are never written.
#[unsafe(export_name = "operator_plugin_manifest")]
#[cfg_attr(
    not(target_vendor = "apple"),
    unsafe(link_section = ".operator_manifest")
)]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__op_manifest"))]
pub static MANIFEST: [u8; MANIFEST_LEN] = join(&[
    r#"{"name":"broken-layout","version":"1.0.0","abi":"1.0","sdk":""#,
    SDK_VERSION,
    r#"","rustc":""#,
    RUSTC_VERSION,
    r#"","target":""#,
    TARGET,
    r#"","panic":"unwind"}"#,
]);
