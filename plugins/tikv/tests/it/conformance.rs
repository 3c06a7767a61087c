//! The golden observations and the configurations that the plugin comes with.

use std::path::Path;

use operator_plugin_api::{Observation, Subject};
use operator_plugin_kit::testing::golden;
use tikv::{Config, Data, Tikv};

#[test]
fn golden_observations_are_judged_as_they_should_be() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let subject = Tikv::create(Config::default()).unwrap();
    golden::assert_judged(&folder, &subject);
    for (name, observation) in golden::read::<Observation<Data>>(&folder, "violations") {
        let mut unknown = subject.check(&observation).unknown;
        // A store that is down has nothing to measure.
        unknown.retain(|unknown| unknown.kind.is_missing());
        assert_eq!(unknown, [], "{name}");
    }
}

#[test]
fn the_example_and_the_sample_have_every_key_and_are_accepted() {
    let parse = |text: &str| toml::from_str::<serde_json::Value>(text).unwrap();
    let example = parse(include_str!("../../conformance/config.toml"));
    let config: Config = serde_json::from_value(example).unwrap();
    assert!(Tikv::create(config).is_ok());
    let sample = parse(include_str!("../../tikv.toml"));
    let config: Config =
        serde_json::from_value(sample["subjects"]["tikv"]["config"].clone()).unwrap();
    assert!(Tikv::create(config).is_ok());
}
