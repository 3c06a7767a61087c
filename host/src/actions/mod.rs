//! The one way to a subject's actions: a call is proven valid, then approved, then executed and recorded.

mod executor;
mod policy;
mod registry;

pub use executor::{Executed, Executor, sweep};
pub use policy::{Approved, agreed_by};
pub use registry::{CallFault, ValidCall, resolve};
