//! Input and output of the batch script. Equal checks of a batch become one item with a count.

use std::collections::HashMap;
use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind};

use super::limit::Limit;
use super::policy::{Policy, RequestedLimit, keys};
use super::redis_client::Conn;
use super::store::CounterKeys;

const SOURCE: &str = include_str!("check.lua");
static HASH: LazyLock<String> = LazyLock::new(|| Script::new(SOURCE).get_hash().to_owned());

/// The limit under `ignore_limits`; a number that Lua represents exactly.
const NO_LIMIT: u64 = 1 << 53;

/// The part of a check that decides which item it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Check {
    pub(crate) key: String,
    pub(crate) requested: RequestedLimit,
}

/// Equal checks of one batch, and the limit that applies to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) check: Check,
    pub(crate) wanted: u64,
    pub(crate) limit: Limit,
    pub(crate) blocked_until: u64,
    pub(crate) reset: u64,
}

/// The items of a batch, and for each check the index of its item.
pub(crate) fn group<'a>(
    checks: impl Iterator<Item = &'a Check>,
    policy: &Policy,
    default: Limit,
) -> (Vec<Item>, Vec<usize>) {
    let mut items: Vec<Item> = Vec::new();
    let mut index_of: HashMap<&Check, usize> = HashMap::new();
    let indices = checks
        .map(|check| {
            let index = *index_of.entry(check).or_insert_with(|| {
                items.push(Item {
                    check: check.clone(),
                    wanted: 0,
                    limit: policy.limit_for(&check.key, default, check.requested),
                    blocked_until: policy.blocked_until(&check.key),
                    reset: policy.last_reset(&check.key),
                });
                items.len() - 1
            });
            items[index].wanted += 1;
            index
        })
        .collect();
    (items, indices)
}

impl Item {
    /// The suffix of a counter's members: the index of the item in the batch and, if the check itself gave a limit, that
    /// limit, for readers of the counter.
    pub(crate) fn member_suffix(&self, place: usize) -> String {
        if self.check.requested.is_empty() {
            return format!(".{place}");
        }
        format!(".{place}|{}|{}", self.limit.max, self.limit.window_ms)
    }
}

/// The limit under which a member of a counter was admitted, if its check gave one.
pub(crate) fn limit_in_member(member: &str) -> Option<Limit> {
    let mut parts = member.rsplit('|');
    let window_ms = parts.next()?.parse().ok()?;
    let max = parts.next()?.parse().ok()?;
    Some(Limit { max, window_ms })
}

/// The parameters of a batch.
pub(crate) struct ScriptCall<'a> {
    pub(crate) version: &'a str,
    /// Used instead of Redis's clock.
    pub(crate) clock_ms: Option<u64>,
    pub(crate) ignore_limits: bool,
    pub(crate) member_prefix: &'a str,
    pub(crate) counters: CounterKeys,
    /// Deletes the counters in the same step: for a trial, of which no reader may see anything.
    pub(crate) leave_no_trace: bool,
}

/// The result for one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `None` if the key holds something that is not a counter.
    pub(crate) allowed: Option<u64>,
    pub(crate) before: u64,
    pub(crate) wait_ms: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ScriptReply {
    /// The policy has another version; nothing was done.
    OtherPolicy,
    Decided {
        now_ms: u64,
        verdicts: Vec<Verdict>,
    },
}

impl ScriptCall<'_> {
    /// Takes one round trip, or two if Redis has not cached the script yet.
    pub(crate) async fn execute(&self, items: &[Item], mut conn: Conn) -> RedisResult<ScriptReply> {
        let by_hash = self.command("EVALSHA", &HASH, items);
        let numbers: RedisResult<Vec<i64>> = by_hash.query_async(&mut conn).await;
        match numbers {
            Err(error) if is_unknown(&error) => {
                let by_source = self.command("EVAL", SOURCE, items);
                by_source
                    .query_async(&mut conn)
                    .await
                    .map(|numbers: Vec<i64>| parse(&numbers))
            }
            numbers => numbers.map(|numbers| parse(&numbers)),
        }
    }

    /// Like [`ScriptCall::execute`], but on a cluster, where each key has its own slot: reads the version, then runs all
    /// keys in parallel.
    ///
    /// The limits were in force when the version was read, which is during each check of the batch. So every check sees
    /// each change that was acknowledged before it began.
    pub(crate) async fn execute_per_key(
        &self,
        items: &[Item],
        mut conn: Conn,
    ) -> RedisResult<ScriptReply> {
        let version: Option<String> = Cmd::get(keys::VERSION).query_async(&mut conn).await?;
        if version.unwrap_or_default() != self.version {
            return Ok(ScriptReply::OtherPolicy);
        }
        let one_by_one = items.chunks(1).enumerate().map(|(index, item)| {
            let member_prefix = &format!("{}.{index}", self.member_prefix);
            let commands = [
                ScriptCall {
                    member_prefix,
                    ..*self
                }
                .command("EVALSHA", &HASH, item),
                ScriptCall {
                    member_prefix,
                    ..*self
                }
                .command("EVAL", SOURCE, item),
            ];
            tokio::spawn(run_either(commands, conn.clone()))
        });
        let (mut now_ms, mut verdicts) = (0, Vec::with_capacity(items.len()));
        for running in one_by_one.collect::<Vec<_>>() {
            let reply = running.await.map_err(std::io::Error::other)??;
            if let ScriptReply::Decided {
                now_ms: now,
                verdicts: verdict,
            } = reply
            {
                now_ms = now_ms.max(now);
                verdicts.extend(verdict);
            }
        }
        Ok(ScriptReply::Decided { now_ms, verdicts })
    }

    fn command(&self, name: &str, script: &str, items: &[Item]) -> Cmd {
        let mut cmd = redis::cmd(name);
        let versioned = usize::from(!self.counters.cluster);
        cmd.arg(script).arg(items.len() + versioned);
        for item in items {
            cmd.arg(self.counters.of(&item.check.key));
        }
        if !self.counters.cluster {
            cmd.arg(keys::VERSION);
        }
        cmd.arg(self.version);
        match self.clock_ms {
            Some(now) => cmd.arg(now),
            None => cmd.arg(""),
        };
        cmd.arg(self.member_prefix).arg(items.len());
        for (place, item) in items.iter().enumerate() {
            let max = if self.ignore_limits {
                NO_LIMIT
            } else {
                item.limit.max
            };
            cmd.arg(item.wanted)
                .arg(max)
                .arg(item.limit.window_ms)
                .arg(item.blocked_until)
                .arg(item.member_suffix(place));
        }
        if self.leave_no_trace {
            cmd.arg("leave no trace");
        }
        cmd
    }
}

async fn run_either([by_hash, by_source]: [Cmd; 2], mut conn: Conn) -> RedisResult<ScriptReply> {
    let numbers: RedisResult<Vec<i64>> = by_hash.query_async(&mut conn).await;
    match numbers {
        Err(error) if is_unknown(&error) => by_source
            .query_async(&mut conn)
            .await
            .map(|numbers: Vec<i64>| parse(&numbers)),
        numbers => numbers.map(|numbers| parse(&numbers)),
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn parse(numbers: &[i64]) -> ScriptReply {
    let natural = |number: i64| u64::try_from(number).unwrap_or_default();
    let Some((now, rest)) = numbers.split_first() else {
        return ScriptReply::OtherPolicy;
    };
    let verdict = |parts: &[i64]| Verdict {
        allowed: u64::try_from(parts[0]).ok(),
        before: natural(parts[1]),
        wait_ms: natural(parts[2]),
    };
    ScriptReply::Decided {
        now_ms: natural(*now),
        verdicts: rest.chunks_exact(3).map(verdict).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, max: Option<u64>) -> Check {
        let requested = RequestedLimit {
            max,
            window_ms: None,
        };
        Check {
            key: key.to_owned(),
            requested,
        }
    }

    #[test]
    fn equal_checks_become_one_item() {
        let checks = [
            check("a", None),
            check("b", None),
            check("a", None),
            check("a", Some(5)),
        ];
        let default = Limit {
            max: 9,
            window_ms: 1_000,
        };
        let (items, indices) = group(checks.iter(), &Policy::default(), default);
        assert_eq!(indices, [0, 1, 0, 2]);
        let wanted: Vec<_> = items
            .iter()
            .map(|item| (item.wanted, item.limit.max))
            .collect();
        assert_eq!(wanted, [(2, 9), (1, 9), (1, 5)]);
    }

    #[test]
    fn a_member_contains_the_limit_of_its_check() {
        let default = Limit {
            max: 9,
            window_ms: 1_000,
        };
        let checks = [check("a", Some(5)), check("b", None)];
        let (items, _) = group(checks.iter(), &Policy::default(), default);
        let member = format!("n.1.1{}", items[0].member_suffix(0));
        assert_eq!(
            limit_in_member(&member),
            Some(Limit {
                max: 5,
                window_ms: 1_000
            })
        );
        assert_eq!(
            limit_in_member(&format!("n.1.1{}", items[1].member_suffix(1))),
            None
        );
        assert_eq!(limit_in_member("1700000000000:17"), None);
    }

    #[test]
    fn an_empty_reply_means_another_policy() {
        assert_eq!(parse(&[]), ScriptReply::OtherPolicy);
    }

    #[test]
    fn a_reply_has_a_time_and_three_numbers_per_item() {
        let verdicts = vec![
            Verdict {
                allowed: Some(2),
                before: 3,
                wait_ms: 0,
            },
            Verdict {
                allowed: None,
                before: 0,
                wait_ms: 0,
            },
        ];
        let reply = ScriptReply::Decided {
            now_ms: 17,
            verdicts,
        };
        assert_eq!(parse(&[17, 2, 3, 0, -1, 0, 0]), reply);
    }
}
