//! One region: its range, its peers, its leader.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::StoreId;

/// A region id as PD assigns it.
pub(crate) type RegionId = u64;

/// The role of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Voter,
    Learner,
    /// Becomes a voter when its region leaves the joint state.
    Incoming,
    /// Becomes a learner when its region leaves the joint state.
    Demoting,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) id: u64,
    pub(crate) store: u32,
    pub(crate) role: Role,
    /// Reported by the leader as silent.
    pub(crate) down: bool,
    /// Reported by the leader as behind the first entry of the leader's log.
    pub(crate) pending: bool,
}

impl Peer {
    pub(crate) fn new(id: u64, store: StoreId, role: Role) -> Self {
        Self {
            id,
            store: u32::try_from(store).expect("stores are numbered from 1 to a few thousand"),
            role,
            down: false,
            pending: false,
        }
    }

    pub(crate) fn store(&self) -> StoreId {
        self.store.into()
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (name, number) = match self.role {
            Role::Voter => ("Voter", 0),
            Role::Learner => ("Learner", 1),
            Role::Incoming => ("IncomingVoter", 2),
            Role::Demoting => ("DemotingVoter", 3),
        };
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("role_name", name)?;
        if self.role == Role::Learner {
            map.serialize_entry("is_learner", &true)?;
        }
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("store_id", &self.store)?;
        if number != 0 {
            map.serialize_entry("role", &number)?;
        }
        map.end()
    }
}

/// A key range and its peers. Kept small: there may be a million.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    /// The table id at which it begins; 0 is the start of the key space.
    pub(crate) start: u64,
    pub(crate) peers: Vec<Peer>,
    pub(crate) conf_ver: u32,
    pub(crate) version: u32,
    /// The leader's store; 0 if there is no leader.
    pub(crate) leader: u32,
    /// MiB.
    pub(crate) size: u32,
    pub(crate) keys: u32,
    /// Bytes within the last heartbeat interval of one minute.
    pub(crate) written: u32,
    pub(crate) read: u32,
    /// Its index in its leader's list.
    pub(super) slot: u32,
    /// The health checks that list it, as a bit set.
    pub(super) checks: u16,
}

impl Region {
    pub(crate) fn new(id: RegionId, start: u64, peers: Vec<Peer>, leader: StoreId) -> Self {
        Self {
            id,
            start,
            peers,
            conf_ver: 5,
            version: 61,
            leader: u32::try_from(leader).unwrap_or(0),
            size: 88,
            keys: 722_344,
            written: 120_394,
            read: 7_801,
            slot: 0,
            checks: 0,
        }
    }

    pub(crate) fn leader(&self) -> Option<StoreId> {
        (self.leader != 0).then_some(self.leader.into())
    }

    pub(crate) fn peer_on(&self, store: StoreId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.store() == store)
    }

    pub(crate) fn voter_on(&self, store: StoreId) -> Option<&Peer> {
        self.peer_on(store)
            .filter(|peer| peer.role != Role::Learner)
    }

    pub(crate) fn voters(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.role != Role::Learner)
    }

    pub(crate) fn stores(&self) -> Vec<StoreId> {
        self.peers.iter().map(Peer::store).collect()
    }

    pub(crate) fn is_joint(&self) -> bool {
        let changes = |peer: &Peer| matches!(peer.role, Role::Incoming | Role::Demoting);
        self.peers.iter().any(changes)
    }

    /// Keys written within the last heartbeat interval, at about 300 bytes each.
    pub(crate) fn written_keys(&self) -> u32 {
        self.written / 300
    }

    pub(crate) fn read_keys(&self) -> u32 {
        self.read / 141
    }
}

/// The key at which a table begins, as TiKV encodes it, in hex; empty if there is no bound.
pub(crate) fn key(table: Option<u64>) -> String {
    let Some(table) = table.filter(|table| *table != 0) else {
        return String::new();
    };
    // `t`, then the id with its sign bit flipped, in groups of eight bytes, each followed by a padding marker.
    let hex = format!("74{:016X}", table | 1 << 63);
    format!("{}FF{}00000000000000F8", &hex[..16], &hex[16..])
}

/// The table id that this key encodes; `None` if it is not a table key.
pub(crate) fn table(key: &str) -> Option<u64> {
    if key.is_empty() {
        return Some(0);
    }
    let digits = format!("{}{}", key.get(2..16)?, key.get(18..20)?);
    let number = u64::from_str_radix(&digits, 16).ok()?;
    let is_table = key.get(..2) == Some("74") && number >> 63 == 1;
    is_table.then_some(number & !(1 << 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_tables() {
        assert_eq!(key(Some(10)), "7480000000000000FF0A00000000000000F8");
        assert_eq!(key(Some(0)), "");
        assert_eq!(key(None), "");
        assert_eq!(table("7A"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_key_leads_back_to_its_table(number in 0_u64..1 << 62) {
            assert_eq!(table(&key(Some(number))), Some(number));
        }
    }
}
