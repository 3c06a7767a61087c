//! The golden observations that the plugin comes with.

use std::path::Path;

use operator_plugin_api::Subject;
use operator_plugin_kit::testing::golden;
use ratelimiter::{Config, RateLimiter};

#[test]
fn golden_observations_are_judged_as_they_should_be() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    golden::assert_judged(&folder, &RateLimiter::create(Config::default()).unwrap());
}
