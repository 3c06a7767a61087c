//! The management API of any node that answers, in either form.

use std::time::{Duration, Instant};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Endpoint, Fault, Http, endpoint::segment};
use serde::de::DeserializeOwned;

use crate::{
    observation::{ApiForm, Block, ClusterState, Limits},
    recurring::Recurring,
    wire::{BlockList, CounterPage, LimitsOlder, LimitsV1, ListedCounter, ListedNode, NodeList},
};

/// Counters asked for in one page.
const PAGE: usize = 1_000;

/// In the older form these walk through all keys, and reading a counter removes entries of it.
const OLDER_NODES: Duration = Duration::from_secs(10);
const OLDER_COUNTERS: Duration = Duration::from_secs(30);
const OLDER_BLOCKS: Duration = Duration::from_mins(1);
/// The sum over the cluster walks through all keys, and nothing is judged by it.
const STATE: Duration = Duration::from_secs(30);

/// What was answered last, in this cycle or before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    pub(crate) nodes: Recurring<Vec<ListedNode>>,
    pub(crate) counters: Recurring<CounterList>,
    pub(crate) blocks: Recurring<Vec<Block>>,
    pub(crate) state: Recurring<ClusterState>,
}

impl Answers {
    /// The same, of which nothing is fresh.
    pub(crate) fn kept(&self) -> Self {
        Self {
            nodes: self.nodes.kept(),
            counters: self.counters.kept(),
            blocks: self.blocks.kept(),
            state: self.state.kept(),
        }
    }
}

/// What one node's management API tells.
#[derive(Debug, Clone)]
pub(crate) struct Managed {
    pub(crate) form: ApiForm,
    pub(crate) limits: Result<Limits, Fault>,
    pub(crate) answers: Answers,
}

impl Managed {
    /// The nodes; none while the list cannot be had.
    pub(crate) fn nodes(&self) -> Option<&Vec<ListedNode>> {
        self.answers.nodes.answer()
    }

    /// What is missing.
    pub(crate) fn fault(&self) -> Option<String> {
        let faults = [
            ("nodes", self.answers.nodes.fault()),
            ("counters", self.answers.counters.fault()),
            ("limits", self.limits.as_ref().err()),
            ("blocks", self.answers.blocks.fault()),
            ("cluster state", self.answers.state.fault()),
        ];
        let missing: Vec<_> = faults
            .into_iter()
            .filter_map(|(what, fault)| Some(format!("{what}: {}", fault?)))
            .collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// The counters of one or more pages.
#[derive(Debug, Clone)]
pub(crate) struct CounterList {
    pub(crate) counters: Vec<ListedCounter>,
    /// Where the next pages begin; none where these end with the last key.
    pub(crate) next: Option<String>,
    /// Whether these are all.
    pub(crate) complete: bool,
}

/// The question to one node.
pub(crate) struct Management<'a> {
    pub(crate) http: &'a Http,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) before: &'a Answers,
    /// The form of the last cycle.
    pub(crate) assumed: Option<ApiForm>,
    /// Counters to read, and the key after which they begin.
    pub(crate) max_counters: usize,
    pub(crate) after: &'a str,
    pub(crate) end: Deadline,
}

/// Lists the nodes of `/api/v1`.
pub(crate) fn list_nodes(
    http: &Http,
    endpoint: &Endpoint,
    end: Deadline,
) -> Result<Vec<ListedNode>, Fault> {
    let list: NodeList = fetch(http, endpoint, "/api/v1/nodes", end)?;
    Ok(list.nodes())
}

impl Management<'_> {
    /// Asks for the list of nodes, which shows the form, and for the rest side by side, assuming the form of the last cycle.
    pub(crate) fn ask(&self) -> Result<Managed, Fault> {
        let is_older = self.assumed == Some(ApiForm::Older);
        if is_older && !self.before.nodes.is_due(Instant::now()) {
            return Ok(self.older(self.before.nodes.kept()));
        }
        std::thread::scope(|scope| {
            let rest = (!is_older).then(|| scope.spawn(|| self.v1_rest()));
            let listed = list_nodes(self.http, self.endpoint, self.end);
            let rest = rest.map(std::thread::ScopedJoinHandle::join);
            match listed {
                Ok(nodes) => {
                    let mut managed = match rest {
                        Some(Ok(rest)) => rest,
                        _ => self.v1_rest(),
                    };
                    managed.answers.nodes.last = Some(Ok(nodes));
                    Ok(managed)
                }
                Err(Fault::Status(404, _)) => {
                    let list = || self.get::<NodeList>("/api/nodes").map(NodeList::nodes);
                    let nodes = self.before.nodes.ask(OLDER_NODES, list);
                    match nodes.fault() {
                        // Some other server.
                        Some(fault @ Fault::Status(404, _)) => Err(fault.clone()),
                        _ => Ok(self.older(nodes)),
                    }
                }
                Err(fault) => Err(fault),
            }
        })
    }

    fn v1_rest(&self) -> Managed {
        std::thread::scope(|scope| {
            let counters = scope.spawn(|| {
                let pages = || self.counters();
                self.before.counters.ask(Duration::ZERO, pages)
            });
            let state = scope.spawn(|| {
                let state = || self.get("/api/v1/cluster/state");
                self.before.state.ask(STATE, state)
            });
            let blocks = || self.get::<BlockList>("/api/v1/blocks").map(Into::into);
            let blocks = self.before.blocks.ask(Duration::ZERO, blocks);
            Managed {
                form: ApiForm::V1,
                limits: self.get::<LimitsV1>("/api/v1/limits").map(Into::into),
                answers: Answers {
                    nodes: Recurring::default(),
                    counters: counters.join().unwrap_or_else(|_| lost()),
                    blocks,
                    state: state.join().unwrap_or_else(|_| lost()),
                },
            }
        })
    }

    /// One after the other, and no further one behind one that was given up: such a service answers one at a time.
    fn older(&self, nodes: Recurring<Vec<ListedNode>>) -> Managed {
        let limits = self.get::<LimitsOlder>("/api/limits").map(Into::into);
        let counters = || {
            let page: CounterPage = self.get("/api/counters")?;
            // The older form lists at most 100 and does not show whether there are more.
            Ok(CounterList {
                complete: page.counters.len() < 100,
                next: None,
                counters: page.counters,
            })
        };
        let counters = if nodes.was_just_given_up() {
            self.before.counters.kept()
        } else {
            self.before.counters.ask(OLDER_COUNTERS, counters)
        };
        let list = || self.get::<BlockList>("/api/blocks").map(Into::into);
        let blocks = if nodes.was_just_given_up() || counters.was_just_given_up() {
            self.before.blocks.kept()
        } else {
            self.before.blocks.ask(OLDER_BLOCKS, list)
        };
        Managed {
            form: ApiForm::Older,
            limits,
            answers: Answers {
                nodes,
                counters,
                blocks,
                state: Recurring::default(),
            },
        }
    }

    /// The pages after the key up to which earlier cycles have read.
    fn counters(&self) -> Result<CounterList, Fault> {
        let mut counters = Vec::new();
        let mut after = self.after.to_owned();
        loop {
            let limit = PAGE.min(self.max_counters - counters.len());
            let mut path = format!("/api/v1/counters?limit={limit}");
            if !after.is_empty() {
                path += &format!("&cursor={}", segment(&after));
            }
            let page: CounterPage = self.get(&path)?;
            // A page without counters ends the list, whatever its cursor: no server can keep this loop running.
            let next = page.next().filter(|_| !page.counters.is_empty());
            counters.extend(page.counters);
            match next {
                Some(next) if counters.len() < self.max_counters => after = next,
                next => {
                    counters.truncate(self.max_counters);
                    return Ok(CounterList {
                        counters,
                        complete: next.is_none() && self.after.is_empty(),
                        next,
                    });
                }
            }
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        fetch(self.http, self.endpoint, path, self.end)
    }
}

fn fetch<T: DeserializeOwned>(
    http: &Http,
    endpoint: &Endpoint,
    path: &str,
    end: Deadline,
) -> Result<T, Fault> {
    http.get(endpoint, path, end.remaining())?.ok()
}

fn lost<T: Clone>() -> Recurring<T> {
    Recurring::failed(Fault::NoAnswer("the request was lost by a panic".into()))
}
