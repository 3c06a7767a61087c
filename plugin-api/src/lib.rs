//! All that an author of an Operator subject plugin depends on.
//!
//! Implement [`Subject`] for your own type and write [`export_subject!`] once, in a crate of type `cdylib`. The host loads
//! the library and sees nothing of it but the JSON [`document`]s.
//!
//! Build documents with their constructors and setters ([`Invariant::new`], [`Violation::new`], [`ActionDefinition::new`],
//! ...): a field that a later version adds then breaks nothing.

pub mod abi;
pub mod bounds;
mod construct;
pub mod document;
pub mod error;
pub mod export;
pub mod manifest;
pub mod subject;

pub use document::*;
pub use error::{Error, ErrorKind};
pub use export::now_ms;
pub use subject::{Call, Deadline, Description, Subject};

/// For deriving `JsonSchema` on an author's types.
pub use schemars;
/// For deriving `Serialize` and `Deserialize` on an author's types.
pub use serde;
pub use serde_json;

/// For the expansion of [`export_subject!`].
#[doc(hidden)]
pub mod __private {
    pub use abi_stable::{
        library::{
            __call_root_module_loader as call_root_module, CheckTypeLayout, LibHeader,
            RootModuleResult,
        },
        prefix_type::PrefixTypeTrait,
        std_types::{RResult, RStr},
    };

    pub use crate::{
        abi::{BoxedSubject, PluginError, Reply, SubjectModule, SubjectModuleRef},
        export::{create, describe},
    };
}
