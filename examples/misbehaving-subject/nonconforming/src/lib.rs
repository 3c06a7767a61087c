//! A plugin that passes the conformance suite, with a switch for every case that makes exactly that one fail.

mod evasions;
mod faults;
mod hostile;
mod http;
mod levels;
mod shell;
mod switch;

use abi_stable::{
    library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
    prefix_type::PrefixTypeTrait,
};
use operator_plugin_api::{
    abi::{ABI_VERSION, SubjectModule, SubjectModuleRef},
    manifest::{MANIFEST_LEN, RUSTC_VERSION, SDK_VERSION, TARGET, join},
};

fn root_module() -> SubjectModuleRef {
    SubjectModule {
        describe: shell::describe,
        create: shell::create,
    }
    .leak_into_prefix()
}

extern "C" fn erased_root_module() -> RootModuleResult {
    __call_root_module_loader(root_module)
}

// SAFETY: `erased_root_module` returns the module that the header is declared for, and the name is reserved for it.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
pub static ROOT_MODULE: LibHeader = unsafe {
    LibHeader::from_constructor::<SubjectModuleRef>(erased_root_module, CheckTypeLayout::Yes)
};

// SAFETY: the section and the symbol are reserved for this purpose, and the bytes are never written.
#[unsafe(export_name = "operator_plugin_manifest")]
#[unsafe(link_section = ".operator_manifest")]
pub static MANIFEST: [u8; MANIFEST_LEN] = join(&[
    "{\"name\":\"",
    env!("CARGO_PKG_NAME"),
    "\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\",\"abi\":\"",
    ABI_VERSION,
    "\",\"sdk\":\"",
    SDK_VERSION,
    "\",\"rustc\":\"",
    RUSTC_VERSION,
    "\",\"target\":\"",
    TARGET,
    "\",\"panic\":\"unwind\"}",
]);
