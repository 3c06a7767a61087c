//! Plugin files: found, examined and copied, without running any of their code.

pub(crate) mod copy;
pub(crate) mod error;
pub(crate) mod find;
pub(crate) mod image;
pub(crate) mod plugin;
