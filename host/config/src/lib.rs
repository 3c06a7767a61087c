//! The configuration: built-in defaults, file, environment, flags, in this order; what comes later wins.
//!
//! [`load`] gives a [`Config`] and where each of its values comes from, or every fault at once. What a subject's plugin
//! is given depends on what that plugin declares; [`PluginConfig::resolve`] decides it once the plugin has described
//! itself.

mod actions;
mod declared;
mod environment;
mod fault;
mod file;
mod key;
mod load;
mod overlay;
mod paths;
mod plugin;
mod schema;
mod section;
mod select;
mod setting;
mod settings;
mod show;
mod subject;
mod value;

pub use actions::check_names;
pub use declared::{Declared, declared};
pub use environment::Environment;
pub use fault::{Fault, Faults, Origin, Origins};
pub use key::{Assignment, KeyPath};
pub use load::{Loaded, load, load_leniently};
pub use overlay::{Flags, VARIABLES};
pub use plugin::{PluginConfig, check_needs, granted};
pub use schema::arguments;
pub use settings::{
    COMMENTED_DEFAULTS, Config, InvariantOverride, LogConfig, LogFormat, SubjectConfig,
};
pub use show::{Shown, shown};
