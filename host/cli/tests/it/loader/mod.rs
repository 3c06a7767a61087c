//! Plugins through the loader, in a worker and in this process.

mod calls;
mod compatibility;
mod faults;
mod files;
mod log;
mod sandbox;
mod worker;
