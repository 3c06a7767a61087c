//! `make bench`: what the host costs, as ratios measured in one run.
//!
//! Absolute numbers depend on the machine and on what else it does; the ratios are what to compare.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends at the first thing that goes wrong"
)]

mod daemon;
mod gate;
mod site;

use std::{
    fs::Permissions,
    hint::black_box,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use operator_config::SubjectConfig;
use operator_loader::{self as loader, Plugin};
use operator_model::Isolation;
use operator_monitor::{Connect, Hub, SharedLedger, Watch};
use operator_store::Store;
use operator_supervisor::{LoopSpec, Supervisor};
use serde_json::json;
use tokio::sync::{Notify, watch};

use self::site::{Site, workspace};

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(3);
/// An observation of about 1 KiB.
const PADDING: usize = 900;

fn main() {
    let site = Site::new();
    let plugin = optimized_plugin();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(calls(&site, &plugin));
    for violations in [0, 100] {
        runtime.block_on(cycles(&site, &plugin, violations));
    }
    runtime.block_on(gate::at_size(&site, &plugin));
    daemon::two_hundred_subjects(&site, &plugin);
}

/// Tests take an unoptimized plugin; here its own work must not hide the boundary's.
fn optimized_plugin() -> PathBuf {
    let target = workspace().join("target/bench-plugins");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release"])
        .arg("--manifest-path")
        .arg(workspace().join("examples/misbehaving-subject/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success(), "the plugin cannot be built");
    let folder = target.join("release");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let file = folder.join(format!(
        "libmisbehaving_subject.{}",
        std::env::consts::DLL_EXTENSION
    ));
    std::fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    file
}

/// One observation through each kind of boundary.
async fn calls(site: &Site, plugin: &std::path::Path) {
    let direct = direct_call();
    println!("observe, 1 KiB                       µs/call     ratio");
    println!("  direct Rust call                  {direct:>8.2}");
    let mut before = direct;
    for (name, isolation) in [
        ("in-process", Isolation::None),
        ("worker", Isolation::Worker),
    ] {
        let spec = site.spec(plugin, isolation, json!({"padding": PADDING}));
        let observer = loader::connect(spec);
        observer.observe().await.unwrap();
        let mut calls = 0_u32;
        let began = Instant::now();
        while began.elapsed() < SPAN {
            black_box(observer.observe().await.unwrap());
            calls += 1;
        }
        let micros = began.elapsed().as_secs_f64() * 1e6 / f64::from(calls);
        println!(
            "  {name:<32}{micros:>10.2}{:>10.1}x the one above",
            micros / before
        );
        before = micros;
        observer.shutdown().await;
    }
}

/// The same work without a boundary: make an observation and its JSON text, and read the head of it.
fn direct_call() -> f64 {
    let padding = "x".repeat(PADDING);
    let mut calls = 0_u32;
    let began = Instant::now();
    while began.elapsed() < SPAN {
        let observation =
            operator_plugin_api::Observation::new(json!({"padding": black_box(&padding)}));
        let text = serde_json::to_string(&observation).unwrap();
        let read: operator_plugin_api::Observation = serde_json::from_str(&text).unwrap();
        black_box(read);
        calls += 1;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

/// Whole cycles, back to back: observe, check, reconcile, and the store.
async fn cycles(site: &Site, plugin: &std::path::Path, violations: u32) {
    let database = site.path(format!("cycles-{violations}.db"));
    let store = Store::open(&format!("sqlite:{}", database.display()))
        .await
        .unwrap();
    let hub = Hub::default();
    let spec = site.spec(plugin, Isolation::Worker, json!({"violations": violations}));
    let mut config = SubjectConfig::new("subject", "misbehaving");
    // Always due.
    config.interval = Duration::from_nanos(1);
    let (path, copies) = (spec.plugin.path.clone(), site.path("copies"));
    let mut watch = Some(Watch {
        config,
        connect: Connect {
            open: Box::new(move || Plugin::open(&path, None, &copies)),
            start: Box::new(move |_| {
                let spec = spec.clone();
                Box::pin(async move {
                    let deadline = spec.deadlines.create;
                    let descriptor =
                        loader::describe(&spec.plugin, Isolation::Worker, &spec.sandbox, deadline);
                    let descriptor = descriptor.await.unwrap();
                    Ok((Arc::new(descriptor), loader::connect(spec)))
                })
            }),
        },
        store,
        hub: hub.clone(),
        ledger: SharedLedger::default(),
        offset: Duration::ZERO,
        nudge: Arc::new(Notify::new()),
    });
    let (stop, stopped) = watch::channel(false);
    let mut supervisor = Supervisor::new(stopped.clone(), |_, failure| panic!("{failure}"));
    let spec = LoopSpec::new("watch", Duration::from_nanos(1));
    supervisor.start(spec, move |turns| {
        let watch = watch.take().expect("it starts once");
        watch.run(turns, stopped.clone())
    });
    let count = || {
        hub.statuses()
            .get("subject")
            .map_or(0, |status| status.cycles)
    };
    while count() == 0 {
        tokio::task::yield_now().await;
    }
    let (first, began) = (count(), Instant::now());
    tokio::time::sleep(SPAN).await;
    let cycles = u32::try_from(count() - first).unwrap();
    let per_second = f64::from(cycles) / began.elapsed().as_secs_f64();
    let tally = hub.statuses()["subject"].tally;
    assert_eq!(tally.violated > 0, violations > 0, "{tally:?}");
    println!("cycles per second, {violations:>3} standing violations {per_second:>10.0}");
    stop.send_replace(true);
    supervisor.drained().await;
}
