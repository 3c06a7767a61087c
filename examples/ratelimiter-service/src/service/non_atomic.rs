//! The fault `non_atomic`: counts in one round trip and adds in another, so that additions by others in between are missed.

use std::time::Duration;

use redis::{Cmd, RedisResult};

use super::policy::keys;
use super::redis_client::Conn;
use super::script::{Item, ScriptCall, ScriptReply, Verdict};

/// Delay between count and addition: all checks that reach any node in this time decide on the same old count. Without
/// it, whether a burst overshoots would depend on the load of the machine. A fraction of the operation timeout.
const RACE_WINDOW: Duration = Duration::from_millis(25);

impl ScriptCall<'_> {
    /// Like [`ScriptCall::execute`], but not atomic: every check of the batch decides on the count before any of them added.
    pub(crate) async fn execute_non_atomic(
        &self,
        items: &[Item],
        mut conn: Conn,
    ) -> RedisResult<ScriptReply> {
        let version: Option<String> = Cmd::get(keys::VERSION).query_async(&mut conn).await?;
        if version.unwrap_or_default() != self.version {
            return Ok(ScriptReply::OtherPolicy);
        }
        let now_ms = match self.clock_ms {
            Some(now) => now,
            None => redis_now(&mut conn).await?,
        };
        let mut verdicts = Vec::with_capacity(items.len());
        for item in items {
            verdicts.push(self.count(item, now_ms, &mut conn).await?);
        }
        tokio::time::sleep(RACE_WINDOW).await;
        for (index, (item, verdict)) in items.iter().zip(&verdicts).enumerate() {
            self.add(item, index, verdict, now_ms, &mut conn).await?;
        }
        Ok(ScriptReply::Decided { now_ms, verdicts })
    }

    async fn count(&self, item: &Item, now_ms: u64, conn: &mut Conn) -> RedisResult<Verdict> {
        let oldest = format!("({}", now_ms.saturating_sub(item.limit.window_ms));
        let count = Cmd::zcount(self.counters.of(&item.check.key), oldest, "+inf");
        let before: u64 = count.query_async(conn).await?;
        let fits = before < item.limit.max || self.ignore_limits;
        let blocked_ms = item.blocked_until.saturating_sub(now_ms);
        let allowed = if fits && blocked_ms == 0 {
            item.wanted
        } else {
            0
        };
        let wait_ms = if blocked_ms > 0 {
            blocked_ms
        } else {
            item.limit.window_ms
        };
        Ok(Verdict {
            allowed: Some(allowed),
            before,
            wait_ms,
        })
    }

    async fn add(
        &self,
        item: &Item,
        index: usize,
        verdict: &Verdict,
        now_ms: u64,
        conn: &mut Conn,
    ) -> RedisResult<()> {
        let allowed = verdict.allowed.unwrap_or_default();
        if allowed == 0 {
            return Ok(());
        }
        let (name, suffix) = (self.counters.of(&item.check.key), item.member_suffix(index));
        let member = |i| (now_ms, format!("{}.{i}{suffix}", self.member_prefix));
        let members: Vec<(u64, String)> = (0..allowed).map(member).collect();
        Cmd::zadd_multiple(&name, &members).exec_async(conn).await?;
        let window_ms = i64::try_from(item.limit.window_ms).unwrap_or(i64::MAX);
        Cmd::pexpire(&name, window_ms).exec_async(conn).await
    }
}

async fn redis_now(conn: &mut Conn) -> RedisResult<u64> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(conn).await?;
    Ok(seconds * 1_000 + micros / 1_000)
}
