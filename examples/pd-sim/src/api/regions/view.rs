//! A region in PD's JSON format; compact, because there may be many.

use serde::Serialize;

use crate::world::region::{Peer, Region, RegionId, key};
use crate::world::regions::RegionIndex;
use crate::world::store::StoreProcess;
use crate::world::{SECOND, World};

/// The reply of v8.5 and older releases for an unknown region.
pub(crate) const NO_REGION: &str = "{\"id\":0,\"start_key\":\"\",\"end_key\":\"\",\"leader\":{\"role_name\":\"\"},\
     \"cpu_usage\":0,\"written_bytes\":0,\"read_bytes\":0,\"written_keys\":0,\"read_keys\":0,\"approximate_size\":0,\
     \"approximate_keys\":0}";

#[derive(Serialize)]
struct Epoch {
    conf_ver: u32,
    version: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Leader<'a> {
    Peer(&'a Peer),
    None { role_name: &'static str },
}

#[derive(Serialize)]
struct DownPeer<'a> {
    peer: &'a Peer,
    down_seconds: i64,
}

#[derive(Serialize)]
struct RegionView<'a> {
    id: RegionId,
    start_key: String,
    end_key: String,
    epoch: Epoch,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<&'a Peer>,
    leader: Leader<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    down_peers: Vec<DownPeer<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pending_peers: Vec<&'a Peer>,
    cpu_usage: u8,
    written_bytes: u32,
    read_bytes: u32,
    written_keys: u32,
    read_keys: u32,
    approximate_size: u32,
    approximate_keys: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate_kv_size: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate_columnar_kv_size: Option<u8>,
}

fn down_seconds(world: &World, peer: &Peer) -> i64 {
    let store = world.stores.get(&peer.store());
    let since = store.map_or(world.now, |store| match store.process {
        StoreProcess::Killed(at) | StoreProcess::Stopped(at) => at,
        StoreProcess::Running => world.now,
    });
    (world.now - since) / SECOND
}

fn view<'a>(world: &World, region: &'a Region, end: Option<u64>) -> RegionView<'a> {
    let leader = region.leader().and_then(|store| region.peer_on(store));
    let down = region.peers.iter().filter(|peer| peer.down);
    // Only measured by the newest release.
    let measured = world.release.is_newest().then_some(0);
    RegionView {
        id: region.id,
        start_key: key(Some(region.start)),
        end_key: key(end),
        epoch: Epoch {
            conf_ver: region.conf_ver,
            version: region.version,
        },
        peers: region.peers.iter().collect(),
        leader: leader.map_or(Leader::None { role_name: "" }, Leader::Peer),
        down_peers: down
            .map(|peer| DownPeer {
                peer,
                down_seconds: down_seconds(world, peer),
            })
            .collect(),
        pending_peers: region.peers.iter().filter(|peer| peer.pending).collect(),
        cpu_usage: if region.written == 0 { 0 } else { 3 },
        written_bytes: region.written,
        read_bytes: region.read,
        written_keys: region.written_keys(),
        read_keys: region.read_keys(),
        approximate_size: region.size,
        approximate_keys: region.keys,
        approximate_kv_size: measured,
        approximate_columnar_kv_size: measured,
    }
}

/// Appends one region to a text.
pub(crate) fn write_region(world: &World, at: RegionIndex, to: &mut String) {
    let view = view(world, world.regions.get(at), world.regions.end(at));
    let text = serde_json::to_string(&view).expect("only plain values are written");
    to.push_str(&text);
}

/// `{"count":N,"regions":[...]}`.
pub(crate) fn list_of(world: &World, regions: impl Iterator<Item = RegionIndex>) -> String {
    let mut list = String::new();
    let mut count = 0_u64;
    for at in regions {
        if count > 0 {
            list.push(',');
        }
        write_region(world, at, &mut list);
        count += 1;
    }
    format!("{{\"count\":{count},\"regions\":[{list}]}}")
}
