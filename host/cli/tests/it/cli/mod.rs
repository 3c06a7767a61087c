//! The command by itself.

mod documents;
mod help;
mod input;
mod interrupt;
mod output;
mod plugin;
mod plugin_new;
