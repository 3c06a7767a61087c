//! The PD servers: which of them are alive, and which of them leads.

use super::{Nanos, SECOND};

/// The leader's lease: how long nobody can replace it.
const LEASE: Nanos = 5 * SECOND;
/// Delay between an accepted transfer command and the change.
const HANDOVER: Nanos = SECOND;

/// State of a PD process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PdProcess {
    Running,
    /// The process is not running.
    Killed,
    /// The process accepts connections and never replies.
    Hung,
    /// It was removed from the cluster.
    Removed,
}

/// One PD server.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) id: u64,
    pub(crate) client_url: String,
    pub(crate) peer_url: String,
    pub(crate) priority: i64,
    pub(crate) process: PdProcess,
}

#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) list: Vec<Member>,
    pub(crate) leader: Option<usize>,
    pub(crate) leader_since: Nanos,
    /// Since when the leader is unavailable or without a quorum.
    away_since: Option<Nanos>,
    handover: Option<(usize, Nanos)>,
}

impl Members {
    pub(crate) fn new(list: Vec<Member>, now: Nanos) -> Self {
        Self {
            leader: (!list.is_empty()).then_some(0),
            list,
            leader_since: now,
            away_since: None,
            handover: None,
        }
    }

    pub(crate) fn present(&self) -> impl Iterator<Item = (usize, &Member)> {
        let list = self.list.iter().enumerate();
        list.filter(|(_, member)| member.process != PdProcess::Removed)
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let found = self.present().find(|(_, member)| member.name == name);
        found.map(|(place, _)| place)
    }

    pub(crate) fn has_quorum(&self) -> bool {
        let running = self
            .present()
            .filter(|(_, member)| member.process == PdProcess::Running);
        running.count() * 2 > self.present().count()
    }

    fn is_running(&self, place: usize) -> bool {
        self.list[place].process == PdProcess::Running
    }

    /// Transfers the leadership; false if no member can take it.
    pub(crate) fn hand_over(&mut self, to: Option<usize>, now: Nanos) -> bool {
        let could = |place: &usize| Some(*place) != self.leader && self.is_running(*place);
        let other = || self.present().map(|(place, _)| place).find(could);
        let Some(to) = to.or_else(other) else {
            return false;
        };
        self.handover = Some((to, now + HANDOVER));
        true
    }

    /// Advances time; true if a new leader takes over.
    pub(crate) fn tick(&mut self, now: Nanos) -> bool {
        if let Some((to, _)) = self.handover.take_if(|(_, due)| *due <= now)
            && self.is_running(to)
            && self.has_quorum()
            && self.leader.is_some_and(|leader| leader != to)
        {
            return self.lead(to, now);
        }
        let works = self.has_quorum();
        if self
            .leader
            .is_some_and(|leader| works && self.is_running(leader))
        {
            self.away_since = None;
            return false;
        }
        let since = *self.away_since.get_or_insert(now);
        if now - since < LEASE {
            return false;
        }
        self.leader = None;
        works && self.elect(now)
    }

    fn elect(&mut self, now: Nanos) -> bool {
        let running = self
            .present()
            .filter(|(_, member)| member.process == PdProcess::Running);
        // The first of those with the highest priority.
        let best = running.min_by_key(|(_, member)| -member.priority);
        let best = best.map(|(place, _)| place);
        best.is_some_and(|place| self.lead(place, now))
    }

    fn lead(&mut self, place: usize, now: Nanos) -> bool {
        self.leader = Some(place);
        self.leader_since = now;
        self.away_since = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        let list = (0..3).map(|number| Member {
            name: format!("pd{number}"),
            id: number,
            client_url: String::new(),
            peer_url: String::new(),
            priority: 0,
            process: PdProcess::Running,
        });
        Members::new(list.collect(), 0)
    }

    #[test]
    fn another_leads_once_the_lease_of_a_dead_leader_is_over() {
        let mut members = members();
        members.list[0].process = PdProcess::Killed;
        assert!(!members.tick(SECOND));
        assert_eq!(members.leader, Some(0));
        assert!(members.tick(SECOND + LEASE));
        assert_eq!(members.leader, Some(1));
    }

    #[test]
    fn without_a_quorum_there_is_no_leader() {
        let mut members = members();
        members.list[1].process = PdProcess::Hung;
        members.list[2].process = PdProcess::Killed;
        members.tick(0);
        assert!(!members.tick(LEASE));
        assert_eq!(members.leader, None);
        members.list[1].process = PdProcess::Running;
        assert!(members.tick(LEASE + SECOND));
        assert_eq!(members.leader, Some(0));
    }

    #[test]
    fn leadership_is_transferred_after_a_delay() {
        let mut members = members();
        assert!(members.hand_over(Some(2), 0));
        assert!(!members.tick(0));
        assert!(members.tick(HANDOVER));
        assert_eq!(members.leader, Some(2));
    }

    #[test]
    fn a_single_member_stays_leader() {
        let mut members = members();
        members.list.truncate(1);
        assert!(!members.hand_over(None, 0));
    }
}
