//! The metrics of a TiKV process.

use super::meter::Meter;
use super::text::Page;
use crate::world::store::{Store, StoreFaults};
use crate::world::{StoreId, World};

/// Requests per second over the whole cluster, by leaders.
const REQUESTS: f64 = 3_000.0;
/// Requests per second of a store without leaders: health checks and the like.
const IDLE: f64 = 5.0;

/// Returns `None` for a store that is not running.
pub(crate) fn render(world: &mut World, id: StoreId) -> Option<String> {
    let (now, started) = {
        let store = world.stores.get(&id).filter(|store| store.is_running())?;
        (world.wall(), world.shown(store.started))
    };
    let process = world.stores.get(&id)?.started;
    let per_second = requests_per_second(world, id);
    let ails = world.stores.get(&id)?.faults.clone();
    let meter = world
        .meters
        .entry(id)
        .or_insert_with(|| Meter::new(process, now));
    if meter.started != process {
        // The counters of a new process start at zero.
        *meter = Meter::new(process, now);
    }
    meter.count(now, per_second, &ails);
    let meter = meter.clone();
    let mut page = Page::default();
    traffic(&mut page, &meter);
    troubles(&mut page, &ails, &meter);
    holdings(&mut page, world, id);
    process_metrics(&mut page, &meter, started);
    Some(page.into_text())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of regions stay far below 2^52"
)]
fn requests_per_second(world: &World, id: StoreId) -> f64 {
    let all = world.regions.totals().count.max(1) as f64;
    IDLE + REQUESTS * world.regions.totals_of(id).leaders as f64 / all
}

fn traffic(page: &mut Page, meter: &Meter) {
    page.metric("tikv_storage_command_total", "counter");
    for (kind, share) in [("get", 0.6), ("prewrite", 0.2), ("commit", 0.2)] {
        let labels = format!("type=\"{kind}\"");
        page.sample(
            "tikv_storage_command_total",
            &labels,
            meter.requests * share,
        );
    }
    let name = "tikv_grpc_msg_duration_seconds";
    page.metric(name, "histogram");
    for (kind, share) in [("kv_get", 0.6), ("kv_prewrite", 0.2), ("kv_commit", 0.2)] {
        let buckets = meter.latency.buckets().into_iter();
        let buckets: Vec<_> = buckets
            .map(|(bound, count)| (bound, count * share))
            .collect();
        let labels = format!("type=\"{kind}\",priority=\"normal\"");
        page.histogram(name, &labels, &buckets, meter.latency.sum * share);
    }
    page.one(
        "tikv_grpc_msg_fail_total",
        "counter",
        "type=\"kv_get\"",
        0.0,
    );
    let name = "tikv_storage_engine_async_request_duration_seconds";
    page.metric(name, "histogram");
    for kind in ["write", "snapshot"] {
        let labels = format!("type=\"{kind}\"");
        page.histogram(name, &labels, &meter.latency.buckets(), meter.latency.sum);
    }
    for name in [
        "tikv_raftstore_append_log_duration_seconds",
        "tikv_raftstore_commit_log_duration_seconds",
        "tikv_raftstore_apply_log_duration_seconds",
        "tikv_scheduler_latch_wait_duration_seconds",
    ] {
        page.metric(name, "histogram");
        page.histogram(name, "", &meter.latency.buckets(), meter.latency.sum);
    }
    page.metric("tikv_raftstore_log_lag", "histogram");
    page.histogram(
        "tikv_raftstore_log_lag",
        "",
        &meter.lag.buckets(),
        meter.lag.sum,
    );
}

fn troubles(page: &mut Page, ails: &StoreFaults, meter: &Meter) {
    let name = "tikv_engine_write_stall";
    page.metric(name, "gauge");
    for db in ["kv", "raft"] {
        let stall = if db == "kv" { ails.write_stall_us } else { 0.0 };
        for (kind, part) in [
            ("average", 0.1),
            ("percentile95", 0.5),
            ("percentile99", 0.9),
            ("max", 1.0),
            ("median", 0.05),
            ("standard_deviation", 0.2),
        ] {
            let labels = format!("db=\"{db}\",type=\"write_stall_{kind}\"");
            page.sample(name, &labels, stall * part);
        }
    }
    let files = if ails.write_stall_us > 0.0 { 24.0 } else { 2.0 };
    page.one("tikv_scheduler_l0_avg", "gauge", "cf=\"default\"", files);
    page.one(
        "tikv_scheduler_too_busy_total",
        "counter",
        "type=\"prewrite\"",
        meter.refused,
    );
    page.one(
        "tikv_channel_full_total",
        "counter",
        "type=\"raftstore\"",
        0.0,
    );
    page.one("tikv_scheduler_contex_total", "gauge", "", 3.0);
    page.one("tikv_scheduler_writing_bytes", "gauge", "", 0.0);
    page.one(
        "tikv_critical_error_total",
        "counter",
        "type=\"panic\"",
        0.0,
    );
    page.one(
        "tikv_worker_pending_task_total",
        "gauge",
        "name=\"gc-worker\"",
        0.0,
    );
    page.one(
        "tikv_coprocessor_request_error",
        "counter",
        "reason=\"max_pending_tasks_exceeded\"",
        0.0,
    );
}

fn holdings(page: &mut Page, world: &World, id: StoreId) {
    let Some(store) = world.stores.get(&id) else {
        return;
    };
    let (used, available) = world.space(store);
    page.gauges(
        "tikv_store_size_bytes",
        "type",
        &[
            ("capacity", store.capacity),
            ("available", available),
            ("used", used),
            ("kv_size", used * 0.97),
            ("raft_size", used * 0.03),
            ("snap_size", 0.0),
            ("import_size", 0.0),
        ],
    );
    let tally = world.regions.totals_of(id);
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of regions stay far below 2^52"
    )]
    let (regions, leaders, missing) = (
        tally.regions as f64,
        tally.leaders as f64,
        world.leader_missing(id) as f64,
    );
    let counts = [("region", regions), ("leader", leaders), ("buckets", 0.0)];
    page.gauges("tikv_raftstore_region_count", "type", &counts);
    page.one("tikv_raftstore_leader_missing", "gauge", "", missing);
    page.one(
        "tikv_raftstore_slow_score",
        "gauge",
        "type=\"inspector\"",
        slow_score(store),
    );
}

#[expect(clippy::cast_precision_loss, reason = "from 1 to 100")]
fn slow_score(store: &Store) -> f64 {
    store.slow_score() as f64
}

fn process_metrics(page: &mut Page, meter: &Meter, started: i64) {
    #[expect(clippy::cast_precision_loss, reason = "to the second is exact enough")]
    let started = (started / 1_000_000_000) as f64;
    page.one("process_start_time_seconds", "gauge", "", started);
    // In whole seconds, as TiKV's library reports it.
    page.one(
        "process_cpu_seconds_total",
        "counter",
        "",
        meter.cpu_seconds.floor(),
    );
    page.one(
        "process_resident_memory_bytes",
        "gauge",
        "",
        1_610_612_736.0,
    );
    page.one("tikv_server_cpu_cores_quota", "gauge", "", 8.0);
    page.one(
        "tikv_server_memory_quota_bytes",
        "gauge",
        "",
        17_179_869_184.0,
    );
    let labels = "name=\"raftstore_1_0\",tid=\"11\"";
    page.one(
        "tikv_thread_cpu_seconds_total",
        "gauge",
        labels,
        meter.cpu_seconds * 0.2,
    );
}
