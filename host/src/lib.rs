//! The operator: a daemon that watches distributed systems through plugins.

pub mod actions;
pub mod app;
pub mod cli;
pub mod config;
pub mod conformance;
pub mod loader;
pub mod model;
pub mod monitor;
pub mod service;
pub mod store;
pub mod subject;
