//! A thousand stores and a million regions cost no more requests than three stores do, and little time and memory.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use operator_plugin_kit::testing::verdicts;
use tikv::Config;

use crate::cluster::{Cluster, Watch};

/// The largest that this process ever was. MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1_024
}

fn requests(cluster: &Cluster) -> usize {
    cluster.pd.requests().len() + cluster.prometheus.requests().len()
}

#[test]
fn a_cycle_asks_as_much_of_a_thousand_stores_as_of_three() {
    let few = Cluster::start(3, 96);
    assert_eq!(Watch::new(few.config()).verdicts(), [""; 0]);
    let many = Cluster::start(1_000, 1_000_000);
    let watch = Watch::new(many.config());
    assert_eq!(watch.verdicts(), [""; 0]);
    assert_eq!(requests(&many), requests(&few));
    assert!(requests(&few) < 40, "{}", requests(&few));
    let asked: Vec<_> = many
        .pd
        .requests()
        .into_iter()
        .filter(|line| line.contains("/regions "))
        .collect();
    assert_eq!(asked, [""; 0], "never all regions");
}

#[test]
fn a_cycle_over_a_thousand_stores_is_quick_and_small() {
    let cluster = Cluster::start(1_000, 1_000_000);
    let mut child = again("scale::cycles_in_a_process_of_its_own");
    let output = child
        .env("PD", cluster.pd.url())
        .env("PROMETHEUS", cluster.prometheus.url())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let numbers = output
        .lines()
        .find_map(|line| line.strip_prefix("numbers: "))
        .unwrap_or_else(|| panic!("{output}"));
    let (best_ms, peak_mib): (f64, u64) = serde_json::from_str(numbers).unwrap();
    println!("a cycle takes {best_ms:.0} ms and {peak_mib} MiB");
    // Unoptimised code is several times slower.
    let most_ms = if cfg!(debug_assertions) {
        3_000.0
    } else {
        500.0
    };
    assert!(best_ms < most_ms, "{best_ms} ms");
    assert!(peak_mib < 64, "{peak_mib} MiB");
}

#[test]
#[ignore = "it is started by another test"]
fn cycles_in_a_process_of_its_own() {
    let of = |name: &str| std::env::var(name).unwrap();
    let watch = Watch::new(Config {
        pd_urls: vec![of("PD")],
        prometheus_url: of("PROMETHEUS"),
        ..Config::default()
    });
    // The best of some: other work on the machine makes a cycle slower, never quicker.
    let took = (0..10).map(|_| {
        let since = Instant::now();
        let (seen, report) = watch.cycle();
        assert_eq!(verdicts(&report), [""; 0]);
        assert_eq!(seen.data.stores.unwrap().len(), 1_000);
        since.elapsed().as_secs_f64() * 1_000.0
    });
    let best_ms = took.fold(f64::MAX, f64::min);
    println!("\nnumbers: [{best_ms}, {}]", peak_mib());
}

/// This process once more, for one test that is otherwise ignored.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "--nocapture",
        "--test-threads=1",
        test,
    ]);
    command
}

#[test]
fn standard_input_is_a_log_too_and_is_never_waited_for() {
    let cluster = Cluster::start(3, 96);
    let mut child = again("scale::a_log_from_standard_input");
    let child = child
        .env("PD", cluster.pd.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let line = r#"[2026/08/20 09:31:04.512 +08:00] [INFO] [raft.rs:1196] ["became leader at term 8"] [region_id=14]"#;
    // Half a line more: what has not come is not waited for, and the pipe stays open all the while.
    write!(input, "{line}\n[2026/08/20").unwrap();
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.contains("lines: 1, region: Some(14)"), "{output}");
    drop(input);
}

#[test]
#[ignore = "it is started by another test"]
fn a_log_from_standard_input() {
    let watch = Watch::new(Config {
        pd_urls: vec![std::env::var("PD").unwrap()],
        log_path: Some("-".into()),
        ..Config::default()
    });
    let end = Instant::now() + Duration::from_mins(1);
    while Instant::now() < end {
        let log = watch.cycle().0.data.log.unwrap();
        if let Some(event) = log.events.first() {
            println!("\nlines: {}, region: {:?}", log.lines, event.region_id);
            return;
        }
    }
}
