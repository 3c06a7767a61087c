//! Building blocks for Operator plugins that watch a system over HTTP and Prometheus.
//!
//! Nothing here knows a particular system, and nothing is required: a plugin needs `operator-plugin-api` alone.
//!
//! | module | holds |
//! |---|---|
//! | [`endpoint`] | base URLs that never print a password |
//! | [`http`] | an HTTP client that returns in time, and reports whether a request may have had an effect |
//! | [`prometheus`] | instant queries, where NaN and an empty result are unknown |
//! | [`faults`] | all faults of a configuration or of parameters in one error |
//! | [`table`] | reading a configuration key by key, with "did you mean" |
//! | [`findings`] | violations and unknowns, bounded in number |
//! | [`params`] | parameters of actions, checked against their bounds |
//! | [`observing`] | deadlines and timings of an observation |
//! | [`text`] | numbers and names as people read them |
//! | `testing` | with the feature `testing`: fake backends, processes, property checks, golden observations |

pub mod endpoint;
pub mod faults;
pub mod findings;
pub mod http;
pub mod observing;
pub mod params;
pub mod prometheus;
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;

pub use endpoint::Endpoint;
pub use faults::Faults;
pub use findings::Findings;
pub use http::{Answer, Change, Fault, Http, Method, RequestOptions};
pub use prometheus::Prometheus;
