//! Collects the checks of one worker into batches and runs them on Redis.
//!
//! While one batch is in flight the next one fills, so a busy worker sends Redis many checks at once, and an idle worker
//! sends a single check without waiting. A slow batch does not delay the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisResult;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::limit::Limit;
use super::node::{Node, WorkerState};
use super::policy::Policy;
use super::reason::Reason;
use super::redis_client::{Conn, Operation, RedisClient, RedisFailure};
use super::script::{Check, Item, ScriptCall, ScriptReply, Verdict, group};

/// Maximum checks per script call. Redis serves nothing else during a call, so this bounds how long others wait.
const MAX_BATCH: usize = 128;
/// Maximum batches in flight when Redis is slow.
const MAX_IN_FLIGHT: usize = 64;
/// A batch in flight for longer than this no longer delays the next one.
const SLOW_AFTER: Duration = Duration::from_millis(2);

/// A check that waits for its decision.
pub(crate) struct Pending {
    pub(crate) check: Check,
    pub(crate) since: Instant,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// A decision, or the reason why Redis did not decide.
pub(crate) type Outcome = Result<Decision, NotDecided>;

/// Redis is unavailable, or failed to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotDecided(pub(crate) Reason);

/// The decision about one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) count: u64,
    pub(crate) limit: Limit,
    /// Time until the next request fits; 0 if this one was allowed.
    pub(crate) wait_ms: u64,
}

/// Collects and runs the batches of one worker.
pub(crate) struct Batcher {
    node: Arc<Node>,
    worker_state: Arc<WorkerState>,
    redis: Arc<RedisClient>,
    /// Unique across all workers of all processes, past ones included.
    tag: String,
    batches: AtomicU64,
}

impl Batcher {
    pub(crate) fn new(
        node: Arc<Node>,
        worker_state: Arc<WorkerState>,
        redis: Arc<RedisClient>,
    ) -> Self {
        let tag = format!("{}.{:x}", node.id(), rand::random::<u64>());
        Self {
            node,
            worker_state,
            redis,
            tag,
            batches: AtomicU64::new(0),
        }
    }

    /// Runs until all senders of checks are gone.
    pub(crate) async fn run(self: Arc<Self>, mut checks: mpsc::UnboundedReceiver<Pending>) {
        let mut in_flight = JoinSet::new();
        let mut started = Instant::now();
        let mut collected = Vec::with_capacity(MAX_BATCH);
        loop {
            let slow_at = started + SLOW_AFTER;
            let busy = !in_flight.is_empty();
            let may_start = !busy || (in_flight.len() < MAX_IN_FLIGHT && Instant::now() >= slow_at);
            // Let every connection with a pending check add it to this batch first.
            tokio::task::yield_now().await;
            tokio::select! {
                biased;
                Some(_) = in_flight.join_next(), if busy => {}
                taken = checks.recv_many(&mut collected, MAX_BATCH), if may_start => {
                    if taken == 0 {
                        return;
                    }
                    started = Instant::now();
                    let batch = std::mem::take(&mut collected);
                    in_flight.spawn(self.clone().decide_all(batch));
                }
                () = sleep_until(slow_at), if !may_start && in_flight.len() < MAX_IN_FLIGHT => {}
            }
        }
    }

    async fn decide_all(self: Arc<Self>, batch: Vec<Pending>) {
        let outcomes = match self.try_decide(&batch).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let last = || self.node.checks.reason().unwrap_or(Reason::Connection);
                let reason = error.reason().unwrap_or_else(last);
                let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                let error = anyhow::Error::new(error);
                self.node
                    .checks
                    .failed(reason, count, &format_args!("{error:#}"));
                vec![Err(NotDecided(reason)); batch.len()]
            }
        };
        for (pending, outcome) in batch.into_iter().zip(outcomes) {
            // If the client has disconnected, there is no receiver.
            let _gone = pending.reply.send(outcome);
        }
    }

    async fn try_decide(&self, batch: &[Pending]) -> Result<Vec<Outcome>, RedisFailure> {
        if self.redis.is_down() {
            return Err(RedisFailure::Down);
        }
        // The oldest check of a batch waits at most one operation timeout, including its time in the queue.
        let since = batch.first().map_or_else(Instant::now, |first| first.since);
        let deadline = since + self.node.settings.redis_timeout();
        let decided = timeout_at(deadline, self.decide(batch, deadline)).await;
        decided.unwrap_or(Err(RedisFailure::TimedOut { operation: "check" }))
    }

    /// Decides under the current policy. Redis rejects a batch with an outdated version; it is then sent again.
    async fn decide(
        &self,
        batch: &[Pending],
        deadline: Instant,
    ) -> Result<Vec<Outcome>, RedisFailure> {
        let mut policy = self.node.policy();
        loop {
            let checks = batch.iter().map(|pending| &pending.check);
            let (items, indices) = group(checks, &policy, self.node.settings.default_rule());
            let sent_at = Instant::now();
            match self.send(&items, &policy, deadline).await? {
                ScriptReply::OtherPolicy => policy = self.node.load_policy(&self.redis).await?,
                ScriptReply::Decided { now_ms, verdicts } => {
                    self.node.clock.learn(now_ms);
                    self.record_allowed(&items, &verdicts, now_ms);
                    // A refusal writes nothing, so it proves only that Redis can be read.
                    if verdicts.iter().any(|verdict| verdict.allowed > Some(0)) {
                        self.node.checks.worked();
                    }
                    let when = (sent_at, Instant::now());
                    let mut refused = self.worker_state.refusal_cache();
                    let doubtful = refused.learn(&policy.version, when, &items, &verdicts);
                    self.node.metrics.false_blocks.inc_by(doubtful);
                    return Ok(split_verdicts(&items, &verdicts, &indices));
                }
            }
        }
    }

    async fn send(
        &self,
        items: &[Item],
        policy: &Policy,
        deadline: Instant,
    ) -> Result<ScriptReply, RedisFailure> {
        let faults = self.node.chaos.now();
        let prefix = self.member_prefix();
        let run = ScriptCall {
            version: &policy.version,
            clock_ms: (faults.clock_skew_ms != 0)
                .then(|| super::clock::skewed_ms(faults.clock_skew_ms)),
            ignore_limits: faults.ignore_limits,
            member_prefix: &prefix,
            counters: self.node.counter_keys(),
            leave_no_trace: false,
        };
        let operation = BatchOperation {
            run,
            items,
            non_atomic: faults.non_atomic,
        };
        self.redis.call("check", deadline, &operation).await
    }

    fn record_allowed(&self, items: &[Item], verdicts: &[Verdict], now_ms: u64) {
        let mut allowed_counts = self.worker_state.allowed_counts();
        for (item, verdict) in items.iter().zip(verdicts) {
            let key = &item.check.key;
            let Some(allowed) = verdict.allowed else {
                let odd = format_args!("redis has no counter under `{}`", key.escape_debug());
                self.node
                    .odd_keys
                    .failed(Reason::WrongType, item.wanted, &odd);
                continue;
            };
            if allowed > 0 {
                allowed_counts.record(key, item.limit, allowed, now_ms, item.reset);
            }
        }
    }

    fn member_prefix(&self) -> String {
        format!(
            "{}.{:x}",
            self.tag,
            self.batches.fetch_add(1, Ordering::Relaxed)
        )
    }
}

/// One call of the script for these items.
pub(crate) struct BatchOperation<'a> {
    pub(crate) run: ScriptCall<'a>,
    pub(crate) items: &'a [Item],
    pub(crate) non_atomic: bool,
}

impl Operation for BatchOperation<'_> {
    type Reply = ScriptReply;

    async fn run(&self, conn: Conn) -> RedisResult<ScriptReply> {
        match (self.non_atomic, self.run.counters.cluster) {
            (true, _) => self.run.execute_non_atomic(self.items, conn).await,
            (false, true) => self.run.execute_per_key(self.items, conn).await,
            (false, false) => self.run.execute(self.items, conn).await,
        }
    }
}

/// Splits each item's verdict among its checks, in order of arrival: the first ones are allowed.
fn split_verdicts(items: &[Item], verdicts: &[Verdict], indices: &[usize]) -> Vec<Outcome> {
    let mut given = vec![0; items.len()];
    let decide = |&index: &usize| {
        let verdict = verdicts.get(index).ok_or(NotDecided(Reason::Refused))?;
        let item = &items[index];
        let allowed = verdict.allowed.ok_or(NotDecided(Reason::WrongType))?;
        given[index] += 1;
        let fits = given[index] <= allowed;
        Ok(Decision {
            allowed: fits,
            count: verdict.before + allowed.min(given[index]),
            limit: item.limit,
            wait_ms: if fits { 0 } else { verdict.wait_ms },
        })
    };
    indices.iter().map(decide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::policy::RequestedLimit;

    fn item(wanted: u64) -> Item {
        Item {
            check: Check {
                key: "k".to_owned(),
                requested: RequestedLimit::default(),
            },
            wanted,
            limit: Limit {
                max: 5,
                window_ms: 1_000,
            },
            blocked_until: 0,
            reset: 0,
        }
    }

    #[test]
    fn the_first_of_an_item_are_allowed_and_the_rest_refused() {
        let verdict = Verdict {
            allowed: Some(2),
            before: 3,
            wait_ms: 700,
        };
        let outcomes = split_verdicts(&[item(3)], &[verdict], &[0, 0, 0]);
        let seen: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.unwrap())
            .map(|decision| (decision.allowed, decision.count, decision.wait_ms))
            .collect();
        assert_eq!(seen, [(true, 4, 0), (true, 5, 0), (false, 5, 700)]);
    }

    #[test]
    fn a_key_that_is_no_counter_spoils_only_its_own_checks() {
        let good = Verdict {
            allowed: Some(1),
            before: 0,
            wait_ms: 0,
        };
        let bad = Verdict {
            allowed: None,
            before: 0,
            wait_ms: 0,
        };
        let outcomes = split_verdicts(&[item(1), item(1)], &[bad, good], &[0, 1]);
        assert_eq!(outcomes[0], Err(NotDecided(Reason::WrongType)));
        assert!(outcomes[1].is_ok());
    }
}
