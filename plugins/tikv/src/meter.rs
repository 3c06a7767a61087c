//! Prometheus's answers from cycle to cycle: queried in every cycle while that is quick, and in the background once it is not.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Http, Prometheus};

use crate::{config::Settings, prometheus::Metrics};

/// Quantiles over a thousand stores are work, and the rest does not wait for them.
const TIMEOUT: Duration = Duration::from_millis(3_600);
/// Queries that take long are work for Prometheus, and their results do not change between two scrapes: no cycle waits for
/// them, and they run no more often than this.
const SLOW: Duration = Duration::from_millis(250);
const PACE_OF_SLOW: Duration = Duration::from_secs(15);

/// What Prometheus answered, when it was asked, and how long that took.
#[derive(Clone)]
pub(crate) struct Measured {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) at: Instant,
    took: Duration,
}

type Answer = Result<Measured, String>;

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
    pub(crate) fn read(&self, end: Deadline) -> Answer {
        if let Some(answer) = self.in_background() {
            return answer;
        }
        let answer = measure(&self.settings, &self.http, end);
        self.with_state(|state| state.last = answer.as_ref().ok().cloned());
        answer
    }

    /// If the last answer was slow, this is it, or the next one if that is there. Sees to it that there will be a next one.
    fn in_background(&self) -> Option<Answer> {
        self.with_state(|state| {
            let last = state.last.clone().filter(|last| last.took > SLOW)?;
            if let Some(asking) = state.under_way.take_if(|asking| asking.is_finished()) {
                let answer = joined(asking);
                state.last = answer.as_ref().ok().cloned();
                return Some(answer);
            }
            if state.under_way.is_none() && last.at.elapsed() >= PACE_OF_SLOW {
                let (settings, http) = (Arc::clone(&self.settings), Arc::clone(&self.http));
                state.under_way = Some(thread::spawn(move || {
                    measure(&settings, &http, Deadline::after(TIMEOUT))
                }));
            }
            Some(Ok(last))
        })
    }

    fn with_state<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(asking) = self.with_state(|state| state.under_way.take()) {
            let _ = asking.join();
        }
    }
}

fn measure(settings: &Settings, http: &Http, end: Deadline) -> Answer {
    let at = Instant::now();
    let deadline = Deadline::after(end.at_most(TIMEOUT));
    let server = Prometheus::new(http, &settings.prometheus)
        .bearer_token(settings.prometheus_token.as_deref());
    let metrics = Metrics::read(server, deadline).map_err(|fault| fault.to_string())?;
    Ok(Measured {
        metrics: Arc::new(metrics),
        at,
        took: at.elapsed(),
    })
}

fn joined(asking: JoinHandle<Answer>) -> Answer {
    asking
        .join()
        .unwrap_or_else(|_| Err("reading it panicked".into()))
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

    fn read(meter: &Meter) -> Answer {
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
