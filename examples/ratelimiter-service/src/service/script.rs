//! The batch script: what goes in, what comes out. Equal checks of a batch become one item that asks for several.

use std::collections::HashMap;
use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, Script, ServerErrorKind};

use super::limit::Limit;
use super::link::Conn;
use super::policy::{Asked, Policy, keys};
use super::store::CounterKeys;

const SOURCE: &str = include_str!("check.lua");
static HASH: LazyLock<String> = LazyLock::new(|| Script::new(SOURCE).get_hash().to_owned());

/// What a check with `ignore_limits` is held to; exact as a number of Lua's.
const NO_LIMIT: u64 = 1 << 53;

/// A check as the batch sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) key: String,
    pub(crate) asked: Asked,
}

/// Equal checks of one batch, and what they are held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) question: Question,
    pub(crate) wanted: u64,
    pub(crate) limit: Limit,
    pub(crate) blocked_until: u64,
    pub(crate) reset: u64,
}

/// The items of a batch, and for each check the index of its item.
pub(crate) fn fold<'a>(
    questions: impl Iterator<Item = &'a Question>,
    policy: &Policy,
    default: Limit,
) -> (Vec<Item>, Vec<usize>) {
    let mut items: Vec<Item> = Vec::new();
    let mut index_of: HashMap<&Question, usize> = HashMap::new();
    let indices = questions
        .map(|question| {
            let index = *index_of.entry(question).or_insert_with(|| {
                items.push(Item {
                    question: question.clone(),
                    wanted: 0,
                    limit: policy.limit_for(&question.key, default, question.asked),
                    blocked_until: policy.blocked_until(&question.key),
                    reset: policy.last_reset(&question.key),
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
    /// What a member of the counter ends in: the place of its item in the batch, and the limit, where the check itself
    /// named one, for those who read the counter.
    pub(crate) fn member_suffix(&self, place: usize) -> String {
        if self.question.asked.is_nothing() {
            return format!(".{place}");
        }
        format!(".{place}|{}|{}", self.limit.max, self.limit.window_ms)
    }
}

/// The limit that a member of a counter was let in under, where its check named it.
pub(crate) fn limit_in_member(member: &str) -> Option<Limit> {
    let mut parts = member.rsplit('|');
    let window_ms = parts.next()?.parse().ok()?;
    let max = parts.next()?.parse().ok()?;
    Some(Limit { max, window_ms })
}

/// How a batch is to be run.
pub(crate) struct Run<'a> {
    pub(crate) version: &'a str,
    /// In place of Redis's clock.
    pub(crate) clock_ms: Option<u64>,
    pub(crate) ignore_limits: bool,
    pub(crate) member_prefix: &'a str,
    pub(crate) counters: CounterKeys,
}

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// None: the key holds something that is no counter.
    pub(crate) allowed: Option<u64>,
    pub(crate) before: u64,
    pub(crate) wait_ms: u64,
}

/// The answer of the script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The policy has another version; nothing was done.
    OtherPolicy,
    Decided {
        now_ms: u64,
        verdicts: Vec<Verdict>,
    },
}

impl Run<'_> {
    /// One round trip, two where Redis does not know the script yet.
    pub(crate) async fn execute(&self, items: &[Item], mut conn: Conn) -> RedisResult<Answer> {
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

    /// As [`Run::execute`] on a cluster, where each key has its own slot: the version first, then all keys side by side.
    ///
    /// The limits were in force when the version was read, which is within each check of the batch. A change that
    /// was acknowledged before a check began is therefore always seen by it.
    pub(crate) async fn execute_apart(
        &self,
        items: &[Item],
        mut conn: Conn,
    ) -> RedisResult<Answer> {
        let version: Option<String> = Cmd::get(keys::VERSION).query_async(&mut conn).await?;
        if version.unwrap_or_default() != self.version {
            return Ok(Answer::OtherPolicy);
        }
        let one_by_one = items.chunks(1).enumerate().map(|(index, item)| {
            let member_prefix = &format!("{}.{index}", self.member_prefix);
            let commands = [
                Run {
                    member_prefix,
                    ..*self
                }
                .command("EVALSHA", &HASH, item),
                Run {
                    member_prefix,
                    ..*self
                }
                .command("EVAL", SOURCE, item),
            ];
            tokio::spawn(run_either(commands, conn.clone()))
        });
        let (mut now_ms, mut verdicts) = (0, Vec::with_capacity(items.len()));
        for running in one_by_one.collect::<Vec<_>>() {
            let answer = running.await.map_err(std::io::Error::other)??;
            if let Answer::Decided {
                now_ms: now,
                verdicts: verdict,
            } = answer
            {
                now_ms = now_ms.max(now);
                verdicts.extend(verdict);
            }
        }
        Ok(Answer::Decided { now_ms, verdicts })
    }

    fn command(&self, name: &str, script: &str, items: &[Item]) -> Cmd {
        let mut cmd = redis::cmd(name);
        let versioned = usize::from(!self.counters.cluster);
        cmd.arg(script).arg(items.len() + versioned);
        for item in items {
            cmd.arg(self.counters.of(&item.question.key));
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
        cmd
    }
}

async fn run_either([by_hash, by_source]: [Cmd; 2], mut conn: Conn) -> RedisResult<Answer> {
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

fn parse(numbers: &[i64]) -> Answer {
    let natural = |number: i64| u64::try_from(number).unwrap_or_default();
    let Some((now, rest)) = numbers.split_first() else {
        return Answer::OtherPolicy;
    };
    let verdict = |parts: &[i64]| Verdict {
        allowed: u64::try_from(parts[0]).ok(),
        before: natural(parts[1]),
        wait_ms: natural(parts[2]),
    };
    Answer::Decided {
        now_ms: natural(*now),
        verdicts: rest.chunks_exact(3).map(verdict).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(key: &str, max: Option<u64>) -> Question {
        let asked = Asked {
            max,
            window_ms: None,
        };
        Question {
            key: key.to_owned(),
            asked,
        }
    }

    #[test]
    fn equal_checks_become_one_item() {
        let questions = [
            question("a", None),
            question("b", None),
            question("a", None),
            question("a", Some(5)),
        ];
        let default = Limit {
            max: 9,
            window_ms: 1_000,
        };
        let (items, indices) = fold(questions.iter(), &Policy::default(), default);
        assert_eq!(indices, [0, 1, 0, 2]);
        let wanted: Vec<_> = items
            .iter()
            .map(|item| (item.wanted, item.limit.max))
            .collect();
        assert_eq!(wanted, [(2, 9), (1, 9), (1, 5)]);
    }

    #[test]
    fn a_member_tells_the_limit_its_check_named() {
        let default = Limit {
            max: 9,
            window_ms: 1_000,
        };
        let questions = [question("a", Some(5)), question("b", None)];
        let (items, _) = fold(questions.iter(), &Policy::default(), default);
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
    fn an_empty_answer_means_another_policy() {
        assert_eq!(parse(&[]), Answer::OtherPolicy);
    }

    #[test]
    fn an_answer_has_a_time_and_three_numbers_per_item() {
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
        let answer = Answer::Decided {
            now_ms: 17,
            verdicts,
        };
        assert_eq!(parse(&[17, 2, 3, 0, -1, 0, 0]), answer);
    }
}
