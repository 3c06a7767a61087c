//! Daemons that run.

mod clock;
mod crash;
mod disk;
mod hostile;
mod input;
mod many;
mod memory;
mod people;
mod quarantine;
mod reuse;
mod shared_database;
mod shutdown;
mod supervisor;
mod trouble;
