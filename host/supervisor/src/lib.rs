//! Owns the loops of a daemon: starts each again after a panic or an unexpected end, ends them all in bounded time, and
//! knows how each is doing.
//!
//! A loop is a function that gives a future for every start. What must survive a restart lives outside of that future. The
//! loop reports each of its turns through its [`Turns`], and others read the result from the [`Board`].

mod board;
mod fault;
mod spec;
mod supervisor;
mod turns;

pub use board::Board;
pub use spec::LoopSpec;
pub use supervisor::Supervisor;
pub use turns::Turns;

#[cfg(test)]
mod tests;
