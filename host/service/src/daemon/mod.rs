//! The daemon: from a configuration to running loops, and to a graceful shutdown.

mod audit;
mod clock;
mod housekeeping;
mod input;
mod lost;
mod report;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use operator_actions::{ENGINE_PERIOD, Engine, Shutdown};
use operator_config::SubjectConfig;
use operator_model::{Assessment, OPERATOR};
use operator_monitor::{Connect, Event, Hub, SharedLedger, StallTickets, Watch};
use operator_store::Store;
use operator_subject::{self as subject, PreparedSubject};
use operator_supervisor::{LoopSpec, Supervisor, Turns};
use tokio::{
    sync::{Mutex, Notify, mpsc, watch},
    time::MissedTickBehavior,
};

use crate::{Service, ServiceError, Stop, no_subject};

use audit::AuditFollower;
use clock::ClockFollower;
use report::Reporter;

/// At most this many assessments wait for the engine.
const ASSESSMENTS: usize = 256;
/// Between the first cycles of two subjects, at most.
const APART: Duration = Duration::from_millis(10);
/// Between two checks for stalled loops.
const STALLS: Duration = Duration::from_secs(1);
/// After its last call the engine still has to record it, on a database that may be busy.
const RECORDING: Duration = Duration::from_mins(1);

const WATCH: &str = "watch";
const ENGINE: &str = "engine";
const HOUSEKEEPING: &str = "housekeeping";
const AUDIT: &str = "audit";
const STATUS: &str = "status";
const STALL_TICKETS: &str = "stalls";
const CLOCK: &str = "clock";

/// A daemon that has been set up and does not run yet.
pub struct Daemon {
    service: Service,
    store: Store,
    hub: Hub,
    assessments: mpsc::Receiver<Assessment>,
    /// The number of the audit's last entry when the daemon was set up.
    audit_head: i64,
    /// The tickets of each subject, as its loop knows them.
    ledgers: BTreeMap<String, SharedLedger>,
    /// The instances that proved their subjects; each loop goes on with its own.
    proven: BTreeMap<String, PreparedSubject>,
    /// Whether the store is lost, and could not be replaced.
    is_without_store: bool,
}

impl Daemon {
    /// Checks the configuration and opens the store. Watches nothing yet. What its loops do reaches everyone who has subscribed
    /// to the service.
    pub async fn new(service: Service) -> Result<Self, ServiceError> {
        if service.loaded().config.subjects.is_empty() {
            return Err(no_subject());
        }
        let proven = input::refuse_bad_input(&service).await?;
        let store = service.store().await?.clone();
        let audit_head = store.audit_head().await?.n;
        let subjects = service.loaded().config.subjects.iter();
        let ledgers = subjects.map(|subject| (subject.name.clone(), SharedLedger::default()));
        let ledgers = ledgers.collect();
        Ok(Self {
            proven,
            ..Self::over(service, store, ledgers, audit_head)
        })
    }

    fn over(
        service: Service,
        store: Store,
        ledgers: BTreeMap<String, SharedLedger>,
        audit_head: i64,
    ) -> Self {
        let (send_assessments, assessments) = mpsc::channel(ASSESSMENTS);
        let hub = service.publisher().hub().clone();
        Self {
            service,
            store,
            hub: hub.with_assessments(send_assessments),
            assessments,
            audit_head,
            ledgers,
            proven: BTreeMap::new(),
            is_without_store: false,
        }
    }

    /// Watches every subject until it is asked to end, and then finishes the cycles and the calls under way.
    pub async fn run(self, stop: Stop) {
        let asked = stop.listen();
        let mut next = Some(self);
        while let Some(daemon) = next {
            next = Box::pin(daemon.watch(&asked)).await;
        }
    }

    /// Until it is asked to end, or the store is lost: then all loops end too, and the daemon that goes on is returned.
    async fn watch(self, asked: &watch::Receiver<bool>) -> Option<Self> {
        let own = Stop::default();
        let stop = own.listen();
        let hub = self.hub.clone();
        let mut supervisor = Supervisor::new(stop.clone(), move |subject, message| {
            let subject = subject.unwrap_or(OPERATOR).to_owned();
            hub.publish(Event::Trouble { subject, message });
        });
        let (end, ending) = watch::channel(Shutdown::None);
        let store = self.store.clone();
        let reporter = Reporter::new(store.clone());
        let mut clock = ClockFollower::new(
            store.clone(),
            self.hub.clone(),
            &self.service.loaded().config,
        );
        // Before anything is judged by times that were written before the clock was set. The loop tries again.
        if let Err(message) = clock.turn().await {
            let subject = OPERATOR.to_owned();
            self.hub.publish(Event::Trouble { subject, message });
        }
        Self::start_clock(&mut supervisor, clock, &stop);
        let (service, ledgers, hub) =
            (self.service.clone(), self.ledgers.clone(), self.hub.clone());
        let (audit_head, has_failed) = (self.audit_head, self.is_without_store);
        self.start(&mut supervisor, &reporter, &stop, ending);
        let loss = tokio::select! {
            () = stopped(asked.clone()) => None,
            loss = lost::lost(&store, has_failed) => Some(loss),
        };
        own.request();
        end.send_replace(Shutdown::Graceful);
        supervisor.drained().await;
        let Some(loss) = loss.filter(|_| !*asked.borrow()) else {
            reporter.withdraw().await;
            store.close().await;
            return None;
        };
        Some(match lost::replace(&store, loss, &ledgers, &hub).await {
            Some(store) => {
                let head = store.audit_head().await.map_or(0, |head| head.n);
                Self::over(service.over(store.clone()), store, ledgers, head)
            }
            None => Self {
                is_without_store: true,
                ..Self::over(service, store, ledgers, audit_head)
            },
        })
    }

    fn start(
        mut self,
        supervisor: &mut Supervisor,
        reporter: &Reporter,
        stop: &watch::Receiver<bool>,
        ending: watch::Receiver<Shutdown>,
    ) {
        let nudges = self.start_watches(supervisor, stop);
        self.start_housekeeping(supervisor, stop);
        self.start_reports(supervisor, reporter, stop);
        self.start_audit(supervisor, stop);
        self.start_engine(supervisor, nudges, ending);
    }

    /// What requests a cycle of each subject.
    fn start_watches(
        &mut self,
        supervisor: &mut Supervisor,
        stop: &watch::Receiver<bool>,
    ) -> BTreeMap<String, Arc<Notify>> {
        let mut proven = std::mem::take(&mut self.proven);
        let all = self.subjects().len();
        let subjects = self.subjects().iter().enumerate();
        let started = subjects.map(|(position, subject)| {
            let first = Arc::new(StdMutex::new(proven.remove(&subject.name)));
            let mut offset = offset(position, all, subject.interval);
            let nudge = Arc::new(Notify::new());
            let (service, stop) = (self.service.clone(), stop.clone());
            let (store, hub) = (self.store.clone(), self.hub.clone());
            let (config, nudged) = (subject.clone(), nudge.clone());
            let ledger = self.ledgers.get(&subject.name).cloned().unwrap_or_default();
            let spec = LoopSpec::new(WATCH, subject.interval)
                .of_subject(&subject.name)
                .with_longest_turn(longest_cycle(subject));
            supervisor.start(spec, move |turns| {
                let watch = Watch {
                    config: config.clone(),
                    connect: connector(config.clone(), service.clone(), first.clone()),
                    store: store.clone(),
                    hub: hub.clone(),
                    ledger: ledger.clone(),
                    // Of its first start alone.
                    offset: std::mem::take(&mut offset),
                    nudge: nudged.clone(),
                };
                watch.run(turns, stop.clone())
            });
            (subject.name.clone(), nudge)
        });
        started.collect()
    }

    /// A restart of the loop goes on with the same engine, and so with the calls under way.
    fn start_engine(
        self,
        supervisor: &mut Supervisor,
        nudges: BTreeMap<String, Arc<Notify>>,
        ending: watch::Receiver<Shutdown>,
    ) {
        let subjects = &self.service.loaded().config.subjects;
        let stages = subjects.iter().map(|subject| {
            self.service
                .action_context(subject, self.store.clone(), ending.clone())
        });
        let longest_call = subjects.iter().map(|subject| subject.deadlines.invoke);
        let spec = LoopSpec::new(ENGINE, ENGINE_PERIOD)
            // To find an inverse it starts the plugin.
            .with_longest_turn(subjects.iter().map(longest_cycle).max().unwrap_or_default())
            .with_shutdown(longest_call.max().unwrap_or_default() + RECORDING);
        let engine = Engine::new(
            self.store.clone(),
            stages,
            nudges,
            self.hub.wants_assessments().clone(),
            self.assessments,
        );
        let engine = Arc::new(Mutex::new(engine));
        supervisor.start(spec, move |turns| {
            let (engine, ending) = (engine.clone(), ending.clone());
            async move { engine.lock().await.run(turns, ending).await }
        });
    }

    fn start_housekeeping(&self, supervisor: &mut Supervisor, stop: &watch::Receiver<bool>) {
        let retention = housekeeping::retention(&self.service.loaded().config);
        let (service, store, stop) = (self.service.clone(), self.store.clone(), stop.clone());
        let spec = LoopSpec::new(HOUSEKEEPING, housekeeping::PERIOD)
            .with_longest_turn(housekeeping::LONGEST_TURN);
        supervisor.start(spec, move |turns| {
            let (service, store, mut stop) = (service.clone(), store.clone(), stop.clone());
            async move {
                let subjects = service.loaded().config.subjects.iter();
                let watched: Vec<_> = subjects.map(|subject| subject.name.as_str()).collect();
                let mut ticks = ticks(housekeeping::PERIOD);
                while due(&mut ticks, &mut stop).await {
                    turns
                        .logged_turn(housekeeping::turn(&store, &retention, &watched))
                        .await;
                }
            }
        });
    }

    fn start_clock(
        supervisor: &mut Supervisor,
        clock: ClockFollower,
        stop: &watch::Receiver<bool>,
    ) {
        let (clock, stop) = (Arc::new(Mutex::new(clock)), stop.clone());
        supervisor.start(LoopSpec::new(CLOCK, clock::PERIOD), move |turns| {
            let (clock, mut stop) = (clock.clone(), stop.clone());
            async move {
                let mut clock = clock.lock().await;
                let mut ticks = ticks(clock::PERIOD);
                while due(&mut ticks, &mut stop).await {
                    turns.logged_turn(clock.turn()).await;
                }
            }
        });
    }

    /// After the end is asked for it reads once more.
    fn start_audit(&self, supervisor: &mut Supervisor, stop: &watch::Receiver<bool>) {
        let subjects = self.subjects().iter();
        let names = subjects.map(|subject| subject.name.clone()).collect();
        let publisher = self.service.publisher().clone();
        let follower = AuditFollower::new(self.store.clone(), names, publisher, self.audit_head);
        let (follower, stop) = (Arc::new(Mutex::new(follower)), stop.clone());
        supervisor.start(LoopSpec::new(AUDIT, audit::PERIOD), move |turns| {
            let (follower, mut stop) = (follower.clone(), stop.clone());
            async move {
                let mut follower = follower.lock().await;
                let mut ticks = ticks(audit::PERIOD);
                while due(&mut ticks, &mut stop).await {
                    turns.logged_turn(follower.turn()).await;
                }
                turns.logged_turn(follower.turn()).await;
            }
        });
    }

    /// Two loops: one reports the status, one keeps the tickets of stalled loops. Either keeps the ticket of the other.
    fn start_reports(
        &self,
        supervisor: &mut Supervisor,
        reporter: &Reporter,
        stop: &watch::Receiver<bool>,
    ) {
        let tickets = |judged: &[&'static str]| {
            let (store, hub) = (self.store.clone(), self.hub.clone());
            let tickets = StallTickets::new(store, hub, reporter.label(), self.subjects(), judged);
            Arc::new(Mutex::new(tickets))
        };
        let of_others = tickets(&[WATCH, ENGINE, HOUSEKEEPING, AUDIT, STATUS, CLOCK]);
        let of_stalls = tickets(&[STALL_TICKETS]);
        let board = supervisor.board().clone();
        let stopping = stop.clone();
        let spec = LoopSpec::new(STALL_TICKETS, STALLS);
        supervisor.start(spec, move |turns| {
            let (tickets, board, stop) = (of_others.clone(), board.clone(), stopping.clone());
            keeping_tickets(turns, tickets, board, stop)
        });
        let (reporter, board) = (reporter.clone(), supervisor.board().clone());
        let stop = stop.clone();
        supervisor.start(LoopSpec::new(STATUS, report::PERIOD), move |turns| {
            let (tickets, board, stop) = (of_stalls.clone(), board.clone(), stop.clone());
            reporting(turns, reporter.clone(), tickets, board, stop)
        });
    }

    fn subjects(&self) -> &[SubjectConfig] {
        &self.service.loaded().config.subjects
    }
}

async fn keeping_tickets(
    turns: Turns,
    tickets: Arc<Mutex<StallTickets>>,
    board: operator_supervisor::Board,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = ticks(STALLS);
    while due(&mut ticks, &mut stop).await {
        turns.logged_turn(update(&tickets, &board)).await;
    }
}

async fn reporting(
    turns: Turns,
    reporter: Reporter,
    tickets: Arc<Mutex<StallTickets>>,
    board: operator_supervisor::Board,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        // Before the turn: in its own report this loop is as its last turn left it.
        let loops = board.statuses();
        let pause = report::pause(&loops);
        let turn = async {
            reporter.turn(loops).await?;
            update(&tickets, &board).await
        };
        turns.logged_turn(turn).await;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
            () = board.news() => {}
        }
    }
}

async fn update(
    tickets: &Mutex<StallTickets>,
    board: &operator_supervisor::Board,
) -> Result<(), String> {
    let updated = tickets.lock().await.update(&board.statuses()).await;
    updated.map_err(|error| operator_monitor::chain(&error))
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Waits for the next tick; false when the daemon ends first.
async fn due(ticks: &mut tokio::time::Interval, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => false,
        _ = ticks.tick() => true,
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A plugin is started twice, once to describe itself; then it observes and checks.
fn longest_cycle(subject: &SubjectConfig) -> Duration {
    let deadlines = &subject.deadlines;
    deadlines.create * 2 + deadlines.observe + deadlines.check
}

/// When the first cycle of a subject is due: those of many subjects are spread over the interval, those of a few follow closely.
fn offset(position: usize, all: usize, interval: Duration) -> Duration {
    let (position, all) = (count(position), count(all).max(1));
    (APART.min(interval / all)) * position
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Watching a subject takes its observer alone; the invoker is for the engine. `first` is an instance that runs already.
fn connector(
    subject: SubjectConfig,
    service: Service,
    first: Arc<StdMutex<Option<PreparedSubject>>>,
) -> Connect {
    let (subject, opened) = (Arc::new(subject), service.subject_context().clone());
    let of = subject.clone();
    Connect {
        open: Box::new(move || subject::open(&of, &opened)),
        start: Box::new(move |plugin| {
            let (subject, service) = (subject.clone(), service.clone());
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            Box::pin(async move {
                let started = match first.filter(|first| first.plugin.sha256 == plugin.sha256) {
                    Some(first) => first,
                    None => subject::start(&subject, plugin, service.subject_context()).await?,
                };
                service.connected(&subject, &started).await;
                Ok((started.descriptor, started.observer))
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use operator_model::{DaemonStatus, LoopState};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn first_cycles_are_spread_over_the_interval() {
        let second = Duration::from_secs(1);
        assert_eq!(offset(0, 1, second), Duration::ZERO);
        assert_eq!(offset(2, 3, second), 2 * APART);
        let last = offset(999, 1000, second);
        assert!(last < second && last > second * 9 / 10, "{last:?}");
    }

    /// The daemon's row, once it is as wanted.
    async fn row(store: &Store, is_wanted: impl Fn(&DaemonStatus) -> bool) -> DaemonStatus {
        loop {
            let daemons = store.daemons().await.expect("read");
            if let Some(daemon) = daemons.into_iter().find(|daemon| is_wanted(daemon)) {
                return daemon;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[tokio::test]
    async fn the_first_turns_are_reported_before_the_first_period_is_over() {
        let folder = TempDir::new().expect("a folder");
        let url = format!("sqlite:{}/operator.db", folder.path().display());
        let store = Store::open(&url).await.expect("it opens");
        let (stop, stopped) = watch::channel(false);
        let mut supervisor = Supervisor::new(stopped.clone(), |_, _| {});
        let (reporter, board) = (Reporter::new(store.clone()), supervisor.board().clone());
        let label = reporter.label();
        let tickets = StallTickets::new(store.clone(), Hub::default(), label, &[], &[]);
        let tickets = Arc::new(Mutex::new(tickets));
        let ends = stopped.clone();
        supervisor.start(LoopSpec::new(STATUS, report::PERIOD), move |turns| {
            let (tickets, board, stop) = (tickets.clone(), board.clone(), ends.clone());
            reporting(turns, reporter.clone(), tickets, board, stop)
        });
        supervisor.start(LoopSpec::new(ENGINE, ENGINE_PERIOD), move |turns| {
            let mut stop = stopped.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(500)).await;
                turns.turn(async { Ok(()) }).await;
                let _ = stop.wait_for(|stop| *stop).await;
            }
        });
        let states = |daemon: &DaemonStatus| -> Vec<_> {
            let loops = daemon.loops.iter();
            loops.map(|one| (one.state, one.iterations > 0)).collect()
        };
        let first = row(&store, |_| true).await;
        assert_eq!(states(&first), [(LoopState::Starting, false); 2]);
        let all_turned = |daemon: &DaemonStatus| daemon.loops.iter().all(|one| one.iterations > 0);
        let later = tokio::time::timeout(
            report::PERIOD.saturating_sub(STALLS),
            row(&store, all_turned),
        )
        .await;
        let later = later.expect("a report of the first turns");
        assert_eq!(states(&later), [(LoopState::Waiting, true); 2]);
        stop.send_replace(true);
        supervisor.drained().await;
    }
}
