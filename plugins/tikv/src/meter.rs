//! Prometheus's answers from cycle to cycle: queried in every cycle while that is quick, and in the background once it is not.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Fault, Http, Prometheus};

use crate::{
    config::Settings,
    prometheus::{Exposed, Metrics, NotTold},
};

/// Quantiles over a thousand stores are work, and the rest does not wait for them.
const TIMEOUT: Duration = Duration::from_millis(3_600);
/// Queries that take long are work for Prometheus, and their results do not change between two scrapes: no cycle waits for
/// them, and they run no more often than this.
const SLOW: Duration = Duration::from_millis(250);
const PACE_OF_SLOW: Duration = Duration::from_secs(15);
/// The queries may take a twentieth of Prometheus's time.
const SHARE: u32 = 20;
/// A Prometheus that did not answer in time may still be at work on what it was asked; it is left alone for this long.
const PAUSE: Duration = Duration::from_secs(10);
/// Which counters exist changes with the first event of each, and when the scrape configuration does.
const PACE_OF_EXPOSED: Duration = Duration::from_secs(15);

/// What Prometheus answered, when it was asked, and how long that took.
#[derive(Clone)]
pub(crate) struct Measured {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) at: Instant,
    took: Duration,
}

type Answer = Result<Measured, Missing>;

/// Why there is no answer.
#[derive(Debug, Clone)]
struct Missing {
    why: String,
    /// Until when it may still be at work.
    pause_until: Option<Instant>,
}

impl Missing {
    fn new(fault: &Fault) -> Self {
        let timed_out = matches!(fault, Fault::TimedOut(_));
        Self {
            why: fault.to_string(),
            pause_until: timed_out.then(|| Instant::now() + PAUSE),
        }
    }

    fn panicked() -> Self {
        Self {
            why: "reading it panicked".into(),
            pause_until: None,
        }
    }
}

/// Who exposes which counter, and when that was read.
type KnownExposed = Arc<Mutex<Option<(Instant, Result<Exposed, NotTold>)>>>;

/// Asks Prometheus for one subject. Dropping it waits for what is under way.
pub(crate) struct Meter {
    settings: Arc<Settings>,
    http: Arc<Http>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None after a fault: then the next cycle asks, and waits.
    last: Option<Measured>,
    /// The last fault, while it lasts.
    paused: Option<Missing>,
    exposed: KnownExposed,
    under_way: Option<JoinHandle<Answer>>,
}

impl Meter {
    pub(crate) fn new(settings: Arc<Settings>, http: Arc<Http>) -> Self {
        Self {
            settings,
            http,
            state: Mutex::default(),
        }
    }

    /// The newest answer that no cycle has to wait long for; its age is in it.
    pub(crate) fn read(&self, end: Deadline) -> Result<Measured, String> {
        let answer = self.in_background().unwrap_or_else(|| {
            let exposed = self.with_state(|state| Arc::clone(&state.exposed));
            let answer = measure(&self.settings, &self.http, &exposed, end);
            self.with_state(|state| state.learn(&answer));
            answer
        });
        answer.map_err(|missing| missing.why)
    }

    /// The answer of a cycle that does not ask: the last one while it is new enough for what it cost, and the last fault
    /// while Prometheus may still be at work. If the last answer was slow, sees to it that there will be a next one.
    fn in_background(&self) -> Option<Answer> {
        self.with_state(|state| {
            let is_paused = |until: Instant| until > Instant::now();
            if let Some(paused) = state.paused.clone()
                && paused.pause_until.is_some_and(is_paused)
            {
                return Some(Err(paused));
            }
            let last = state.last.clone()?;
            if last.took <= SLOW {
                return (last.at.elapsed() < last.took * SHARE).then_some(Ok(last));
            }
            if let Some(asking) = state.under_way.take_if(|asking| asking.is_finished()) {
                let answer = joined(asking);
                state.learn(&answer);
                return Some(answer);
            }
            let pace = PACE_OF_SLOW.max(last.took * SHARE);
            if state.under_way.is_none() && last.at.elapsed() >= pace {
                let (settings, http) = (Arc::clone(&self.settings), Arc::clone(&self.http));
                let exposed = Arc::clone(&state.exposed);
                state.under_way = Some(thread::spawn(move || {
                    measure(&settings, &http, &exposed, Deadline::after(TIMEOUT))
                }));
            }
            Some(Ok(last))
        })
    }

    fn with_state<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn learn(&mut self, answer: &Answer) {
        self.last = answer.as_ref().ok().cloned();
        self.paused = answer.as_ref().err().cloned();
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(asking) = self.with_state(|state| state.under_way.take()) {
            let _ = asking.join();
        }
    }
}

fn measure(settings: &Settings, http: &Http, known: &KnownExposed, end: Deadline) -> Answer {
    let at = Instant::now();
    let deadline = Deadline::after(end.at_most(TIMEOUT));
    let server = Prometheus::new(http, &settings.prometheus)
        .bearer_token(settings.prometheus_token.as_deref());
    let mut metrics = Metrics::read(server, deadline).map_err(|fault| Missing::new(&fault))?;
    if metrics.lacks_counters() {
        metrics = metrics.exposed(exposed(server, known, deadline));
    }
    Ok(Measured {
        metrics: Arc::new(metrics),
        at,
        took: at.elapsed(),
    })
}

fn exposed(
    server: Prometheus<'_>,
    known: &KnownExposed,
    deadline: Deadline,
) -> Result<Exposed, NotTold> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    match &*known {
        Some((at, exposed)) if at.elapsed() < PACE_OF_EXPOSED => exposed.clone(),
        _ => {
            let exposed = Exposed::read(server, deadline);
            *known = Some((Instant::now(), exposed.clone()));
            exposed
        }
    }
}

fn joined(asking: JoinHandle<Answer>) -> Answer {
    asking.join().unwrap_or_else(|_| Err(Missing::panicked()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn meter() -> Meter {
        let config = Config {
            // Nothing listens there.
            prometheus_url: "http://127.0.0.1:1".into(),
            ..Config::default()
        };
        let settings = Settings::new(config).expect("valid");
        Meter::new(Arc::new(settings), Arc::new(crate::http()))
    }

    fn measured(took: Duration, ago: Duration) -> Measured {
        Measured {
            metrics: Arc::default(),
            at: Instant::now().checked_sub(ago).expect("the machine is up"),
            took,
        }
    }

    fn read(meter: &Meter) -> Result<Measured, String> {
        meter.read(Deadline::after(Duration::from_secs(5)))
    }

    #[test]
    fn quick_queries_run_in_every_cycle() {
        let meter = meter();
        meter.with_state(|state| state.last = Some(measured(Duration::ZERO, Duration::ZERO)));
        assert!(read(&meter).is_err());
        assert!(meter.with_state(|state| state.last.is_none()));
    }

    #[test]
    fn the_queries_take_a_twentieth_of_the_time_and_a_silent_server_is_left_alone() {
        let meter = meter();
        let took = Duration::from_millis(200);
        meter.with_state(|state| state.last = Some(measured(took, Duration::ZERO)));
        assert!(read(&meter).is_ok(), "nothing is asked");
        meter.with_state(|state| state.last = Some(measured(took, took * SHARE)));
        assert!(read(&meter).is_err(), "it is asked");

        let silent = Missing::new(&Fault::TimedOut("no answer in time".into()));
        meter.with_state(|state| state.learn(&Err(silent)));
        assert_eq!(read(&meter).err().as_deref(), Some("no answer in time"));
        meter.with_state(|state| {
            let paused = state.paused.as_mut().expect("paused");
            paused.pause_until = Some(Instant::now());
        });
        assert_ne!(read(&meter).err().as_deref(), Some("no answer in time"));
    }

    #[test]
    fn slow_queries_run_in_the_background_and_their_fault_is_reported() {
        let meter = meter();
        let slow = SLOW + Duration::from_millis(1);
        meter.with_state(|state| state.last = Some(measured(slow, Duration::ZERO)));
        assert!(read(&meter).is_ok());
        assert!(meter.with_state(|state| state.under_way.is_none()));

        meter.with_state(|state| state.last = Some(measured(slow, PACE_OF_SLOW)));
        assert!(read(&meter).is_ok());
        let until = Instant::now() + TIMEOUT;
        while meter.with_state(|state| state.under_way.as_ref().is_some_and(|a| !a.is_finished())) {
            assert!(Instant::now() < until, "a closed port answers at once");
            thread::yield_now();
        }
        assert!(read(&meter).is_err());
        assert!(meter.with_state(|state| state.last.is_none() && state.under_way.is_none()));
    }
}
