//! Gathers the checks of one worker into batches, and runs them against Redis.
//!
//! While one batch is under way the next one gathers, so a busy worker asks Redis for many checks at once and an idle
//! one for a single check without waiting. A batch that takes long does not hold up the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisResult;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::limit::Limit;
use super::link::{Conn, Fault, Link, Operation};
use super::node::{Desk, Node};
use super::policy::Policy;
use super::script::{Answer, Item, Question, Run, Verdict, fold};

/// Checks in one script call. Redis does nothing else meanwhile, so this bounds how long others wait.
const MAX_BATCH: usize = 128;
/// Batches under way at once, where Redis is slow.
const MAX_UNDER_WAY: usize = 64;
/// A batch under way for this long no longer holds up the next one.
const SLOW_AFTER: Duration = Duration::from_millis(2);

/// A check that waits for its decision.
pub(crate) struct Pending {
    pub(crate) question: Question,
    pub(crate) since: Instant,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// A decision; or none, for want of Redis.
pub(crate) type Outcome = Result<Decision, NotDecided>;

/// Redis could not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotDecided;

/// What a check is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) count: u64,
    pub(crate) limit: Limit,
    /// How long until the next request fits; 0 when allowed.
    pub(crate) wait_ms: u64,
}

/// One worker's side of the batches.
pub(crate) struct Batcher {
    node: Arc<Node>,
    desk: Arc<Desk>,
    link: Arc<Link>,
    /// Differs for every worker of every process that ever ran.
    tag: String,
    batches: AtomicU64,
}

impl Batcher {
    pub(crate) fn new(node: Arc<Node>, desk: Arc<Desk>, link: Arc<Link>) -> Self {
        let tag = format!("{}.{:x}", node.id(), rand::random::<u64>());
        Self {
            node,
            desk,
            link,
            tag,
            batches: AtomicU64::new(0),
        }
    }

    /// Runs until nobody can ask any more.
    pub(crate) async fn run(self: Arc<Self>, mut questions: mpsc::UnboundedReceiver<Pending>) {
        let mut under_way = JoinSet::new();
        let mut started = Instant::now();
        let mut gathered = Vec::with_capacity(MAX_BATCH);
        loop {
            let slow_at = started + SLOW_AFTER;
            let busy = !under_way.is_empty();
            let may_start = !busy || (under_way.len() < MAX_UNDER_WAY && Instant::now() >= slow_at);
            // First let every connection that has something to ask put it into this batch.
            tokio::task::yield_now().await;
            tokio::select! {
                biased;
                Some(_) = under_way.join_next(), if busy => {}
                taken = questions.recv_many(&mut gathered, MAX_BATCH), if may_start => {
                    if taken == 0 {
                        return;
                    }
                    started = Instant::now();
                    let batch = std::mem::take(&mut gathered);
                    under_way.spawn(self.clone().decide_all(batch));
                }
                () = sleep_until(slow_at), if !may_start && under_way.len() < MAX_UNDER_WAY => {}
            }
        }
    }

    async fn decide_all(self: Arc<Self>, batch: Vec<Pending>) {
        let outcomes = match self.try_decide(&batch).await {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                tracing::debug!(%fault, checks = batch.len(), "checks could not be decided");
                vec![Err(NotDecided); batch.len()]
            }
        };
        for (pending, outcome) in batch.into_iter().zip(outcomes) {
            // Nobody waits where the client has gone away.
            let _gone = pending.reply.send(outcome);
        }
    }

    async fn try_decide(&self, batch: &[Pending]) -> Result<Vec<Outcome>, Fault> {
        if self.link.is_down() {
            return Err(Fault::Down);
        }
        // The oldest check of a batch waits no longer than one operation may take, its time in the queue included.
        let since = batch.first().map_or_else(Instant::now, |first| first.since);
        let deadline = since + self.node.settings.redis_timeout();
        let decided = timeout_at(deadline, self.decide(batch, deadline)).await;
        decided.unwrap_or(Err(Fault::TimedOut { operation: "check" }))
    }

    /// Decides under the policy in force: an answer under an older one is refused by Redis, and the batch asked anew.
    async fn decide(&self, batch: &[Pending], deadline: Instant) -> Result<Vec<Outcome>, Fault> {
        let mut policy = self.node.policy();
        loop {
            let questions = batch.iter().map(|pending| &pending.question);
            let (items, indices) = fold(questions, &policy, self.node.settings.default_rule());
            let asked_at = Instant::now();
            match self.ask(&items, &policy, deadline).await? {
                Answer::OtherPolicy => policy = self.node.load_policy(&self.link).await?,
                Answer::Decided { now_ms, verdicts } => {
                    self.node.clock.learn(now_ms);
                    self.note(&items, &verdicts, now_ms);
                    let when = (asked_at, Instant::now());
                    let mut refused = self.desk.refused();
                    let doubtful = refused.learn(&policy.version, when, &items, &verdicts);
                    self.node.metrics.false_blocks.inc_by(doubtful);
                    return Ok(share_out(&items, &verdicts, &indices));
                }
            }
        }
    }

    async fn ask(
        &self,
        items: &[Item],
        policy: &Policy,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        let faults = self.node.chaos.now();
        let prefix = self.member_prefix();
        let run = Run {
            version: &policy.version,
            clock_ms: (faults.clock_skew_ms != 0)
                .then(|| super::clock::skewed_ms(faults.clock_skew_ms)),
            ignore_limits: faults.ignore_limits,
            member_prefix: &prefix,
            counters: self.node.counter_keys(),
        };
        let asking = Asking {
            run,
            items,
            non_atomic: faults.non_atomic,
        };
        self.link.call("check", deadline, &asking).await
    }

    fn note(&self, items: &[Item], verdicts: &[Verdict], now_ms: u64) {
        let mut ledger = self.desk.ledger();
        for (item, verdict) in items.iter().zip(verdicts) {
            let allowed = verdict.allowed.unwrap_or_default();
            if allowed > 0 {
                let key = &item.question.key;
                ledger.record(key, item.limit.window_ms, allowed, now_ms, item.reset);
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

struct Asking<'a> {
    run: Run<'a>,
    items: &'a [Item],
    non_atomic: bool,
}

impl Operation for Asking<'_> {
    type Answer = Answer;

    async fn run(&self, conn: Conn) -> RedisResult<Answer> {
        match (self.non_atomic, self.run.counters.cluster) {
            (true, _) => self.run.execute_racily(self.items, conn).await,
            (false, true) => self.run.execute_apart(self.items, conn).await,
            (false, false) => self.run.execute(self.items, conn).await,
        }
    }
}

/// Gives each check its part of its item's verdict; those that came first are allowed first.
fn share_out(items: &[Item], verdicts: &[Verdict], indices: &[usize]) -> Vec<Outcome> {
    let mut given = vec![0; items.len()];
    let decide = |&index: &usize| {
        let (item, verdict) = (&items[index], verdicts.get(index).ok_or(NotDecided)?);
        let allowed = verdict.allowed.ok_or(NotDecided)?;
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
    use crate::service::policy::Asked;

    fn item(wanted: u64) -> Item {
        Item {
            question: Question {
                key: "k".to_owned(),
                asked: Asked::default(),
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
        let outcomes = share_out(&[item(3)], &[verdict], &[0, 0, 0]);
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
        let outcomes = share_out(&[item(1), item(1)], &[bad, good], &[0, 1]);
        assert_eq!(outcomes[0], Err(NotDecided));
        assert!(outcomes[1].is_ok());
    }
}
