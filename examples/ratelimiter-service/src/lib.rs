//! A distributed rate limiter: stateless nodes that share one Redis, and the load generator that drives them.
//!
//! The binaries are thin: `ratelimiter-service` runs [`service::run`], `ratelimiter-load` runs [`load::run`].

pub mod load;
pub mod service;
