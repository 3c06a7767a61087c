//! ABI v1, frozen. It grows only through JSON fields and extension ids.
//!
//! Nothing here may change: a host checks the layout of these types against its own before it calls anything, so a
//! changed or added item would shut out every plugin that was built before.

// The derive macros of abi_stable expand to these.
#![allow(
    missing_docs,
    non_local_definitions,
    unsafe_code,
    clippy::all,
    clippy::pedantic
)]

use abi_stable::{
    StableAbi, declare_root_module_statics,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RBox, RResult, RStr, RString},
};

use crate::error::{Error, ErrorKind};

/// Major and minor version of the boundary, as the manifest holds it. A host refuses every other major; the minor
/// grows when a document gains a field that a host may wait for.
pub const ABI_VERSION: &str = "1.0";
/// The symbol under which a plugin's root module is found.
pub const ROOT_MODULE_SYMBOL: &str = abi_stable::library::ROOT_MODULE_LOADER_NAME;

/// An error as it crosses the boundary.
#[repr(C)]
#[derive(StableAbi, Debug, Clone)]
pub struct PluginError {
    /// A name of [`ErrorKind`].
    pub kind: RString,
    pub message: RString,
    pub retryable: bool,
}

impl From<Error> for PluginError {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind.as_str().into(),
            message: error.message.into(),
            retryable: error.retryable,
        }
    }
}

impl From<PluginError> for Error {
    fn from(error: PluginError) -> Self {
        Self {
            kind: ErrorKind::from_name(&error.kind),
            message: error.message.into(),
            retryable: error.retryable,
        }
    }
}

/// A JSON document, or an error.
pub type Reply = RResult<RString, PluginError>;

/// A configured subject. Requests and replies are JSON; see [`crate::document`].
#[sabi_trait]
pub trait SubjectObject: Send + Sync {
    /// `ObserveRequest` -> `Observation`
    fn observe(&self, request: RStr<'_>) -> Reply;
    /// `Observation` -> `CheckReport`
    fn check(&self, observation: RStr<'_>) -> Reply;
    /// -> `ActionList`
    fn list_actions(&self) -> Reply;
    /// `InvokeRequest` -> `ActionResult`
    fn invoke(&self, request: RStr<'_>) -> Reply;
    /// The escape hatch: a payload for the extension of this id.
    #[sabi(last_prefix_field)]
    fn extension(&self, id: RStr<'_>, payload: RStr<'_>) -> Reply;
}

/// A configured subject behind a pointer.
pub type BoxedSubject = SubjectObject_TO<'static, RBox<()>>;

/// The root module of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = SubjectModuleRef)))]
#[sabi(missing_field(panic))]
pub struct SubjectModule {
    /// -> `Descriptor`
    pub describe: extern "C" fn() -> Reply,
    /// The configuration as a JSON object. Validates and never connects.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(config: RStr<'_>) -> RResult<BoxedSubject, PluginError>,
}

impl RootModule for SubjectModuleRef {
    declare_root_module_statics! {SubjectModuleRef}
    const BASE_NAME: &'static str = "operator_subject";
    const NAME: &'static str = "operator_subject";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exported_symbol_is_the_one_that_abi_stable_looks_for() {
        assert_eq!(
            ROOT_MODULE_SYMBOL,
            "_1as_0lib_1header_0root_bmodule_bloader"
        );
    }
}
