//! Starts loops, starts them again, and ends them.

use std::{
    any::Any,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::{
    board::{Board, Entry, locked},
    spec::LoopSpec,
    turns::Turns,
};

/// Before a loop that failed is started again; doubled each time until a turn has finished.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Gets each failure of a loop: its subject, and what happened, in one line.
type OnFailure = Arc<dyn Fn(Option<&str>, String) + Send + Sync>;

/// The owner of a daemon's loops.
pub struct Supervisor {
    board: Board,
    stop: watch::Receiver<bool>,
    on_failure: OnFailure,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Without any loops. They are to end by themselves when `stop` turns true. `on_failure` reports panics and unexpected
    /// ends.
    pub fn new(
        stop: watch::Receiver<bool>,
        on_failure: impl Fn(Option<&str>, String) + Send + Sync + 'static,
    ) -> Self {
        Self {
            board: Board::default(),
            stop,
            on_failure: Arc::new(on_failure),
            tasks: JoinSet::new(),
        }
    }

    /// How the loops are doing.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Starts a loop. `start` is called again for each restart.
    pub fn start<F, L>(&mut self, spec: LoopSpec, start: F)
    where
        F: FnMut(Turns) -> L + Send + 'static,
        L: Future<Output = ()> + Send + 'static,
    {
        let supervised = Supervised {
            entry: self.board.register(spec),
            stop: self.stop.clone(),
            on_failure: self.on_failure.clone(),
        };
        self.tasks.spawn(supervised.run(start));
    }

    /// Waits until every loop has ended, which they do once `stop` is true. One that takes longer than it may is aborted, and
    /// reported.
    pub async fn drained(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// How one start of a loop came to its end.
enum Ended {
    ByItself,
    Panicked(String),
    /// The shutdown took too long.
    Aborted,
}

/// One loop, over all of its starts.
struct Supervised {
    entry: Arc<Entry>,
    stop: watch::Receiver<bool>,
    on_failure: OnFailure,
}

impl Supervised {
    async fn run<F, L>(self, start: F)
    where
        F: FnMut(Turns) -> L + Send + 'static,
        L: Future<Output = ()> + Send + 'static,
    {
        // `start` may panic as well, so it is called where that is noticed.
        let start = Arc::new(Mutex::new(start));
        let mut pause = FIRST_PAUSE;
        let mut is_last = false;
        loop {
            let (start, turns) = (start.clone(), Turns(self.entry.clone()));
            let running = async move {
                let running = locked(&start)(turns);
                running.await;
            };
            let ended = self.once(running).await;
            let is_stopping = self.is_stopping();
            let why = match ended {
                Ended::ByItself if is_stopping => break,
                Ended::ByItself => "ended unexpectedly".to_owned(),
                Ended::Panicked(message) => format!("panicked: {message}"),
                Ended::Aborted => {
                    self.report("did not end in time at shutdown, and was aborted");
                    break;
                }
            };
            if self.entry.has_recovered() {
                pause = FIRST_PAUSE;
            }
            self.entry.fail(&why);
            if is_last {
                self.report(&format!("{why}, twice during shutdown"));
                break;
            }
            // Once more even at shutdown: it may hold work that has to be finished.
            is_last = is_stopping;
            if is_stopping {
                self.report(&format!("{why}; it is started again to finish its work"));
            } else {
                self.report(&format!("{why}; it is started again in {pause:?}"));
                self.pause(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            self.entry.restart();
        }
        self.entry.end();
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    async fn once(&self, running: impl Future<Output = ()> + Send + 'static) -> Ended {
        // A set, so that the loop ends with its supervisor.
        let mut one = JoinSet::new();
        one.spawn(running);
        tokio::select! {
            ended = one.join_next() => match ended {
                Some(Err(error)) => Ended::Panicked(panic_message(error)),
                Some(Ok(())) | None => Ended::ByItself,
            },
            () = self.shutdown_is_over() => Ended::Aborted,
        }
    }

    async fn shutdown_is_over(&self) {
        stopped(self.stop.clone()).await;
        tokio::time::sleep(self.entry.spec.shutdown_limit()).await;
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(self.stop.clone()) => {}
        }
    }

    fn report(&self, what: &str) {
        let spec = &self.entry.spec;
        let message = format!("the loop `{}` {what}", spec.id());
        (self.on_failure)(spec.subject.as_deref(), message);
    }
}

/// Also when the sender is gone.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn panic_message(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "its task was cancelled".to_owned();
    };
    text_of(panic.as_ref()).unwrap_or_else(|| "without a message".to_owned())
}

fn text_of(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
}
