//! A distributed rate limiter: stateless nodes that share one Redis, and a load generator for it.
//!
//! The binaries only parse arguments: `ratelimiter-service` runs [`service::run`], `ratelimiter-load` runs [`load::run`].

pub mod load;
pub mod service;
