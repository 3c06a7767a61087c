//! The metrics of a PD process. Cluster metrics are meaningful on the leader only; the other members report 0.

use super::text::Page;
use crate::world::World;
use crate::world::members::PdProcess;
use crate::world::regions::Check;
use crate::world::store::{Store, StoreState, TargetState, UNHEALTHY};

pub(crate) fn render(world: &World, place: usize) -> String {
    let leads = world.members.leader == Some(place);
    let mut page = Page::default();
    members(&mut page, world, leads);
    cluster(&mut page, world, leads);
    regions(&mut page, world, leads);
    if leads {
        stores(&mut page, world);
        schedule(&mut page, world);
    }
    page.into_text()
}

fn one_if(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

fn members(page: &mut Page, world: &World, leads: bool) {
    page.one("etcd_server_is_leader", "gauge", "", one_if(leads));
    let has_leader = world.members.leader.is_some();
    page.one("etcd_server_has_leader", "gauge", "", one_if(has_leader));
    page.one(
        "service_member_role",
        "gauge",
        "service=\"PD\"",
        one_if(leads),
    );
    let start = world.origin / crate::world::SECOND;
    page.one(
        "process_start_time_seconds",
        "gauge",
        "",
        float(start.unsigned_abs()),
    );
    page.metric("pd_cluster_health_status", "gauge");
    for (_, member) in world.members.present() {
        let labels = format!("name=\"{}\"", member.name);
        let is_healthy = one_if(member.process == PdProcess::Running);
        page.sample("pd_cluster_health_status", &labels, is_healthy);
    }
    page.one(
        "pd_tso_events",
        "counter",
        "type=\"save\",group=\"pd\"",
        one_if(leads) * 100.0,
    );
}

/// The state under which `pd_cluster_status` counts a store.
fn counted_as(world: &World, store: &Store) -> Vec<&'static str> {
    let state = store.state_name(world.now, world.config.down_after(world.now));
    let mut counted = match state {
        StoreState::Up => vec!["store_up_count", "store_serving_count"],
        StoreState::Disconnected if store.silence(world.now) > UNHEALTHY => {
            vec!["store_unhealth_count", "store_serving_count"]
        }
        StoreState::Disconnected => vec!["store_disconnected_count", "store_serving_count"],
        StoreState::Down => vec!["store_down_count", "store_serving_count"],
        StoreState::Offline => vec!["store_offline_count", "store_removing_count"],
        StoreState::Tombstone => vec!["store_tombstone_count", "store_removed_count"],
    };
    if world.is_low_on_space(store.id) {
        counted.push("store_low_space_count");
    }
    if store.slow_score() >= 80 {
        counted.push("store_slow_count");
    }
    counted
}

const STORE_COUNTS: [&str; 12] = [
    "store_up_count",
    "store_disconnected_count",
    "store_slow_count",
    "store_down_count",
    "store_unhealth_count",
    "store_offline_count",
    "store_tombstone_count",
    "store_low_space_count",
    "store_preparing_count",
    "store_serving_count",
    "store_removing_count",
    "store_removed_count",
];

fn cluster(page: &mut Page, world: &World, leads: bool) {
    let name = "pd_cluster_status";
    page.metric(name, "gauge");
    let is_apart = world.release.has_store_labels();
    let label = |kind: &str, store: Option<&Store>| match (is_apart, store) {
        (true, Some(store)) => {
            format!("type=\"{kind}\",engine=\"tikv\",store=\"{}\"", store.id)
        }
        (true, None) => format!("type=\"{kind}\",engine=\"\",store=\"\""),
        (false, _) => format!("type=\"{kind}\""),
    };
    let stores: Vec<&Store> = if leads {
        world.stores.values().collect()
    } else {
        Vec::new()
    };
    let counted: Vec<(&Store, Vec<&str>)> = stores
        .iter()
        .map(|store| (*store, counted_as(world, store)))
        .collect();
    for kind in STORE_COUNTS {
        let of_kind = counted.iter().filter(|(_, kinds)| kinds.contains(&kind));
        if is_apart {
            for (store, _) in of_kind {
                page.sample(name, &label(kind, Some(store)), 1.0);
            }
            // So that the sum is 0 instead of unknown.
            page.sample(name, &label(kind, None), 0.0);
        } else {
            page.sample(name, &label(kind, None), float(of_kind.count() as u64));
        }
    }
    let alive = stores
        .iter()
        .filter(|store| store.target_state != TargetState::Tombstone);
    let space = alive.map(|store| (world.space(store).0, store.capacity));
    let (used, capacity) = space.fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    let leaders: u64 = stores
        .iter()
        .map(|store| world.regions.totals_of(store.id).leaders)
        .sum();
    let count = if leads {
        world.regions.totals().count
    } else {
        0
    };
    for (kind, value) in [
        ("region_count", float(count)),
        ("leader_count", float(leaders)),
        ("storage_size", used),
        ("storage_capacity", capacity),
    ] {
        page.sample(name, &label(kind, None), value);
    }
}

fn regions(page: &mut Page, world: &World, leads: bool) {
    page.metric("pd_regions_status", "gauge");
    for (check, name) in Check::ALL {
        let kind = match check {
            Check::EmptyRegion | Check::OversizedRegion | Check::UndersizedRegion => {
                format!("{name}-count")
            }
            _ => format!("{name}-region-count"),
        };
        let count = match (leads, world.has_all_reported()) {
            (false, _) => 0,
            (true, true) => world.regions.found_by(check).len(),
            (true, false) => world.found_by(check).len(),
        };
        let labels = format!("type=\"{kind}\"");
        page.sample("pd_regions_status", &labels, float(count as u64));
    }
}

fn stores(page: &mut Page, world: &World) {
    let name = "pd_scheduler_store_status";
    page.metric(name, "gauge");
    for store in world
        .stores
        .values()
        .filter(|it| it.target_state != TargetState::Tombstone)
    {
        let tally = world.regions.totals_of(store.id);
        let (used, available) = world.space(store);
        for (kind, value) in [
            ("leader_count", float(tally.leaders)),
            ("region_count", float(tally.regions)),
            ("leader_size", float(tally.leader_size)),
            ("region_size", float(tally.region_size)),
            ("leader_score", world.leader_score(store.id)),
            ("store_available", available),
            ("store_used", used),
            ("store_capacity", store.capacity),
        ] {
            let labels = format!(
                "address=\"{}\",store=\"{}\",type=\"{kind}\"",
                store.address, store.id
            );
            page.sample(name, &labels, value);
        }
    }
    let name = "pd_cluster_store_limit";
    page.metric(name, "gauge");
    for store in world.stores.values() {
        let limits = [
            ("add-peer", store.limits.add_peer),
            ("remove-peer", store.limits.remove_peer),
        ];
        for (kind, limit) in limits {
            page.sample(
                name,
                &format!("store=\"{}\",type=\"{kind}\"", store.id),
                limit,
            );
        }
    }
    let name = "pd_cluster_progress";
    page.metric(name, "gauge");
    for (id, progress) in world.leaving() {
        let address = world
            .stores
            .get(&id)
            .map_or("", |store| store.address.as_str());
        let labels = format!("address=\"{address}\",store=\"{id}\",action=\"removing\"");
        page.sample(name, &labels, progress.done);
    }
}

fn schedule(page: &mut Page, world: &World) {
    let name = "pd_schedule_operators_count";
    page.metric(name, "counter");
    for ((desc, event), count) in &world.operators.events {
        page.sample(
            name,
            &format!("type=\"{desc}\",event=\"{event}\""),
            float(*count),
        );
    }
    let name = "pd_scheduler_status";
    page.metric(name, "gauge");
    let is_halted = world.config.is_on("halt-scheduling", world.now);
    for kind in &world.schedulers.running {
        let is_paused = world.schedulers.paused(kind, world.now).is_some();
        let labels = format!("kind=\"{kind}\",type=\"allow\"");
        page.sample(name, &labels, one_if(!is_halted && !is_paused));
    }
}
