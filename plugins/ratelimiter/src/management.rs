//! The management API of any node that answers, in either form.

use std::time::Duration;

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Endpoint, Fault, Http, endpoint::segment};
use serde::de::DeserializeOwned;

use crate::{
    observation::{ApiForm, Block, ClusterState, Limits},
    wire::{BlockList, CounterPage, LimitsOlder, LimitsV1, ListedCounter, ListedNode, NodeList},
};

/// Counters asked for in one page.
const PAGE: usize = 1_000;

/// A node whose management API answered, and the form it has.
#[derive(Debug, Clone)]
pub(crate) struct Management {
    pub(crate) endpoint: Endpoint,
    pub(crate) form: ApiForm,
    pub(crate) nodes: Vec<ListedNode>,
}

/// The cluster-wide answers, each with its own fault.
pub(crate) struct ClusterView {
    pub(crate) counters: Result<CounterList, Fault>,
    pub(crate) limits: Result<Limits, Fault>,
    pub(crate) blocks: Result<Vec<Block>, Fault>,
    pub(crate) state: Result<Option<ClusterState>, Fault>,
}

impl ClusterView {
    /// The first thing that is missing.
    pub(crate) fn fault(&self) -> Option<String> {
        let faults = [
            ("counters", self.counters.as_ref().err()),
            ("limits", self.limits.as_ref().err()),
            ("blocks", self.blocks.as_ref().err()),
            ("cluster state", self.state.as_ref().err()),
        ];
        let missing: Vec<_> = faults
            .into_iter()
            .filter_map(|(what, fault)| Some(format!("{what}: {}", fault?)))
            .collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// The counters of one or more pages.
pub(crate) struct CounterList {
    pub(crate) counters: Vec<ListedCounter>,
    pub(crate) complete: bool,
}

/// Lists the nodes; a node that has no `/api/v1` is asked in the older form.
pub(crate) fn discover(
    http: &Http,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<Management, Fault> {
    let end = Deadline::after(timeout);
    let management = |form, list: NodeList| Management {
        endpoint: endpoint.clone(),
        form,
        nodes: list.nodes,
    };
    match fetch(http, endpoint, "/api/v1/nodes", end) {
        Ok(list) => Ok(management(ApiForm::V1, list)),
        Err(Fault::Status(404, _)) => {
            fetch(http, endpoint, "/api/nodes", end).map(|list| management(ApiForm::Older, list))
        }
        Err(fault) => Err(fault),
    }
}

impl Management {
    /// Asks for all of it, side by side.
    pub(crate) fn cluster_view(
        &self,
        http: &Http,
        max_counters: usize,
        timeout: Duration,
    ) -> ClusterView {
        let end = Deadline::after(timeout);
        std::thread::scope(|scope| {
            let counters = scope.spawn(|| self.counters(http, max_counters, end));
            let blocks =
                scope.spawn(|| self.get::<BlockList>(http, "/blocks", end).map(Into::into));
            let state = scope.spawn(|| match self.form {
                ApiForm::V1 => self.get(http, "/cluster/state", end).map(Some),
                ApiForm::Older => Ok(None),
            });
            let limits = match self.form {
                ApiForm::V1 => self.get::<LimitsV1>(http, "/limits", end).map(Into::into),
                ApiForm::Older => self
                    .get::<LimitsOlder>(http, "/limits", end)
                    .map(Into::into),
            };
            ClusterView {
                limits,
                counters: counters.join().unwrap_or_else(|_| Err(lost())),
                blocks: blocks.join().unwrap_or_else(|_| Err(lost())),
                state: state.join().unwrap_or_else(|_| Err(lost())),
            }
        })
    }

    fn counters(&self, http: &Http, max: usize, end: Deadline) -> Result<CounterList, Fault> {
        if self.form == ApiForm::Older {
            let page: CounterPage = self.get(http, "/counters", end)?;
            // The older form lists at most 100 and does not show whether there are more.
            let complete = page.counters.len() < 100;
            return Ok(CounterList {
                counters: page.counters,
                complete,
            });
        }
        let mut counters = Vec::new();
        let mut cursor = String::new();
        loop {
            let limit = PAGE.min(max - counters.len());
            let path = format!("/counters?limit={limit}{cursor}");
            let page: CounterPage = self.get(http, &path, end)?;
            // A page without counters ends the list, whatever its cursor: no server can keep this loop running.
            let next = page.next().filter(|_| !page.counters.is_empty());
            counters.extend(page.counters);
            match next {
                Some(next) if counters.len() < max => {
                    cursor = format!("&cursor={}", segment(&next));
                }
                next => {
                    counters.truncate(max);
                    return Ok(CounterList {
                        counters,
                        complete: next.is_none(),
                    });
                }
            }
        }
    }

    fn get<T: DeserializeOwned>(&self, http: &Http, path: &str, end: Deadline) -> Result<T, Fault> {
        fetch(
            http,
            &self.endpoint,
            &format!("{}{path}", root(self.form)),
            end,
        )
    }
}

/// Where a form's paths begin.
pub(crate) fn root(form: ApiForm) -> &'static str {
    match form {
        ApiForm::V1 => "/api/v1",
        ApiForm::Older => "/api",
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

fn lost() -> Fault {
    Fault::NoAnswer("the request was lost by a panic".into())
}
