//! The fixtures of the conformance suite: what must be healthy is, and what must be broken is.

use std::{collections::BTreeSet, fs, path::PathBuf};

use operator_plugin_api::{Observation, Subject};
use tikv::{Config, Data, Tikv};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn read(kind: &str) -> Vec<(String, Observation<Data>)> {
    let files = fs::read_dir(folder().join(kind))
        .unwrap()
        .map(|file| file.unwrap().path());
    let read = files.map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&text).unwrap())
    });
    read.collect()
}

fn subject() -> Tikv {
    Tikv::create(Config::default()).unwrap()
}

#[test]
fn what_is_healthy_is_judged_so() {
    let fixtures = read("healthy");
    assert!(fixtures.len() >= 2);
    for (name, observation) in fixtures {
        let report = subject().check(&observation);
        assert_eq!(
            (report.violations, report.unknown),
            (vec![], vec![]),
            "{name}"
        );
    }
}

#[test]
fn there_is_a_fixture_of_every_invariant_and_it_breaks_that_one() {
    let fixtures = read("violations");
    for (name, observation) in &fixtures {
        let report = subject().check(observation);
        assert!(
            report.violations.iter().any(|v| v.invariant == *name),
            "{name}: {report:?}"
        );
        assert_eq!(report.unknown, [], "{name}");
    }
    let names: BTreeSet<_> = fixtures.into_iter().map(|(name, _)| name).collect();
    let declared = Tikv::describe()
        .invariants
        .into_iter()
        .map(|invariant| invariant.name);
    assert_eq!(names, declared.collect());
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
