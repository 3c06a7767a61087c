//! The command by itself.

mod help;
mod input;
mod interrupt;
mod output;
mod plugin;
mod plugin_new;
