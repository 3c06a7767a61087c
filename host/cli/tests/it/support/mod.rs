//! What the tests share.

pub(crate) mod acting;
pub(crate) mod command;
pub(crate) mod common;
pub(crate) mod daemon;
