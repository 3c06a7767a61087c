//! A healthy cluster under load, for `SOAK_SECONDS`: `cargo test -p ratelimiter-plugin --test it soak -- --ignored`.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use operator_plugin_kit::testing::process::Process;

use crate::support::{Cluster, binary, wait_for};

#[test]
#[ignore = "takes SOAK_SECONDS"]
fn a_thousand_checks_a_second_break_nothing() {
    let seconds = std::env::var("SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(30);
    let mut cluster = Cluster::start(3, &[]);
    cluster.start_prometheus();
    let mut load = Command::new(binary("ratelimiter-load"));
    load.args([
        "--rate",
        "1000",
        "--keys",
        "200",
        "--zipf",
        "1",
        "--quiet",
        "--connections",
        "32",
    ]);
    load.args(["--duration", &(seconds + 60).to_string()]);
    for node in &cluster.nodes {
        load.args(["--target", &node.url().replace("localhost", "127.0.0.1")]);
    }
    let _load = Process::start(&mut load);
    let watch = cluster.watch();
    wait_for("two scrapes", || watch.unknowns().is_empty().then_some(()));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut cycles, mut slowest, mut odd) = (0, Duration::ZERO, BTreeMap::<String, u32>::new());
    while Instant::now() < end {
        let next = Instant::now() + Duration::from_secs(1);
        let (observation, report) = watch.cycle();
        slowest = slowest.max(
            Duration::from_secs(1).saturating_sub(next.saturating_duration_since(Instant::now())),
        );
        cycles += 1;
        let broken = report
            .violations
            .iter()
            .map(|v| format!("violated {}: {}", v.invariant, v.message));
        let unknown = report
            .unknown
            .iter()
            .map(|u| format!("unknown {}: {}", u.invariant, u.reason));
        for line in broken
            .chain(unknown)
            .filter(|line| !line.starts_with("violated high_block_rate"))
        {
            *odd.entry(line).or_default() += 1;
        }
        if cycles % 20 == 1 {
            println!("{}", observation.summary);
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    println!("{cycles} cycles, the slowest took {slowest:?}");
    assert!(odd.is_empty(), "{odd:#?}");
}
