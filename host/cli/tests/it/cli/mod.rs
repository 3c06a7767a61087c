//! The command by itself.

mod database_password;
mod documents;
mod help;
mod input;
mod interrupt;
mod old_state;
mod output;
mod plugin;
mod plugin_new;
mod store;
