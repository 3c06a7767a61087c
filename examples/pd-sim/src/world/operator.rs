//! One operator: a change that PD makes to a region, step by step.

use super::region::RegionId;
use super::{Nanos, SECOND, StoreId};
use crate::go_format;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Started,
    Success,
    Canceled,
    Replaced,
    Timeout,
}

impl Status {
    /// As in the text of `GET /operators/{region}`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Started => "RUNNING",
            Self::Success => "SUCCESS",
            Self::Canceled => "CANCEL",
            Self::Replaced => "REPLACE",
            Self::Timeout => "TIMEOUT",
        }
    }

    /// As in the object form.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Started => 1,
            Self::Success => 2,
            Self::Canceled => 3,
            Self::Replaced => 4,
            Self::Timeout => 6,
        }
    }
}

/// The bits of `kind`, in the order in which their names are written.
pub(crate) mod kind {
    pub(crate) const ADMIN: u32 = 1;
    pub(crate) const MERGE: u32 = 4;
    pub(crate) const REPLICA: u32 = 16;
    pub(crate) const SPLIT: u32 = 32;
    pub(crate) const REGION: u32 = 128;
    pub(crate) const LEADER: u32 = 256;
    pub(super) const NAMES: [(u32, &str); 6] = [
        (ADMIN, "admin"),
        (MERGE, "merge"),
        (REPLICA, "replica"),
        (SPLIT, "split"),
        (REGION, "region"),
        (LEADER, "leader"),
    ];
}

/// A peer that changes its role: its id and its store.
pub(crate) type Changing = (u64, StoreId);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    TransferLeader {
        from: StoreId,
        to: StoreId,
    },
    AddLearner {
        peer: u64,
        store: StoreId,
    },
    Promote {
        peer: u64,
        store: StoreId,
    },
    EnterJoint {
        promote: Vec<Changing>,
        demote: Vec<Changing>,
    },
    LeaveJoint {
        promote: Vec<Changing>,
        demote: Vec<Changing>,
    },
    RemovePeer {
        store: StoreId,
    },
    Split {
        policy: String,
        keys: Vec<u64>,
    },
    MergeFrom {
        source: RegionId,
        target: RegionId,
    },
    MergeInto {
        source: RegionId,
        target: RegionId,
    },
}

impl Step {
    fn text(&self) -> String {
        match self {
            Self::TransferLeader { from, to } => {
                format!("transfer leader from store {from} to store {to}")
            }
            Self::AddLearner { peer, store } => format!("add learner peer {peer} on store {store}"),
            Self::Promote { peer, store } => {
                format!("promote learner peer {peer} on store {store} to voter")
            }
            Self::EnterJoint { promote, demote } => {
                format!("use joint consensus{}", changes(promote, demote))
            }
            Self::LeaveJoint { promote, demote } => {
                format!("leave joint state{}", changes(promote, demote))
            }
            Self::RemovePeer { store } => format!("remove peer on store {store}"),
            Self::Split { policy, .. } => format!("split region with policy {policy}"),
            Self::MergeFrom { source, target } | Self::MergeInto { source, target } => {
                format!("merge region {source} into region {target}")
            }
        }
    }

    /// PD's timeout; regions over 100 MiB get more.
    fn timeout(&self, size: u32) -> Nanos {
        let quick = (60 * SECOND).max(Nanos::from(size) * 600_000_000);
        match self {
            Self::AddLearner { .. } | Self::MergeFrom { .. } | Self::MergeInto { .. } => 10 * quick,
            Self::EnterJoint { promote, demote } | Self::LeaveJoint { promote, demote } => {
                let changes = Nanos::try_from(promote.len() + demote.len()).unwrap_or(1);
                quick * (changes + 1)
            }
            _ => quick,
        }
    }

    /// The duration without obstacles: snapshots are sent at 100 MiB/s.
    pub(crate) fn takes(&self, size: u32) -> Nanos {
        match self {
            Self::AddLearner { .. } => SECOND + Nanos::from(size) * 10_000_000,
            Self::MergeFrom { .. } | Self::MergeInto { .. } => 2 * SECOND,
            _ => SECOND / 2,
        }
    }

    /// The store whose process must be running for it.
    pub(crate) fn needs(&self) -> Option<StoreId> {
        match self {
            Self::TransferLeader { to, .. } => Some(*to),
            Self::AddLearner { store, .. } | Self::Promote { store, .. } => Some(*store),
            _ => None,
        }
    }
}

fn changes(promote: &[Changing], demote: &[Changing]) -> String {
    let promoted = promote
        .iter()
        .map(|(peer, store)| format!(", promote learner peer {peer} on store {store} to voter"));
    let demoted = demote
        .iter()
        .map(|(peer, store)| format!(", demote voter peer {peer} on store {store} to learner"));
    promoted.chain(demoted).collect()
}

#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) desc: String,
    pub(crate) brief: String,
    pub(crate) kind: u32,
    /// Never replaced by another operator.
    pub(crate) urgent: bool,
    pub(crate) region: RegionId,
    pub(crate) version: u32,
    pub(crate) conf_ver: u32,
    /// MiB.
    pub(crate) size: u32,
    pub(crate) created: Nanos,
    pub(crate) started: Nanos,
    pub(crate) finished: Nanos,
    /// When the current step began.
    pub(crate) step_since: Nanos,
    pub(crate) current: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) status: Status,
    /// The region's configuration as this operator last left it.
    pub(crate) expected_conf_ver: u32,
}

impl Operator {
    pub(crate) fn timeout(&self) -> Nanos {
        self.steps.iter().map(|step| step.timeout(self.size)).sum()
    }

    /// The other region of a merge.
    pub(crate) fn merges_with(&self) -> Option<RegionId> {
        self.steps.iter().find_map(|step| match step {
            Step::MergeInto { target, .. } => Some(*target),
            Step::MergeFrom { source, .. } => Some(*source),
            _ => None,
        })
    }

    fn kinds(&self) -> String {
        let names = kind::NAMES.iter().filter(|(bit, _)| self.kind & bit != 0);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        names.join(",")
    }

    /// PD's text, with times converted by `shown`, from a PD that started at `origin`.
    pub(crate) fn text(&self, origin: Nanos, shown: impl Fn(Nanos) -> Nanos) -> String {
        let time = |at: Nanos| go_format::time_with_monotonic(shown(at), origin);
        let steps = self.steps.iter().enumerate();
        let steps: Vec<String> = steps
            .map(|(place, step)| format!("{place}:{{{}}}", step.text()))
            .collect();
        let end = match self.status {
            Status::Success => " finished",
            Status::Timeout => " timeout",
            _ => "",
        };
        format!(
            "{} {{{}}} (kind:{}, region:{}({}, {}), createAt:{}, startAt:{}, currentStep:{}, size:{}, steps:[{}], \
             timeout:[{}]){end}",
            self.desc,
            self.brief,
            self.kinds(),
            self.region,
            self.version,
            self.conf_ver,
            time(self.created),
            time(self.started),
            self.current,
            self.size,
            steps.join(", "),
            go_format::duration(self.timeout()),
        )
    }

    /// PD's text for an ended operator.
    pub(crate) fn record(&self, origin: Nanos, shown: impl Fn(Nanos) -> Nanos) -> String {
        let finished = go_format::time_with_monotonic(shown(self.finished), origin);
        let took = go_format::duration(self.finished - self.started);
        format!(
            "{} (finishAt:{finished}, duration:{took})",
            self.text(origin, shown)
        )
    }
}
