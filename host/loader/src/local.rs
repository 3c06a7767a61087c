//! A plugin in the operator's own process, on a thread of its own.
//!
//! Limits of this way: a plugin that exits, aborts or corrupts memory takes the operator with it; a call that does not
//! come back cannot be ended, so that its thread is lost; what the plugin prints is the operator's own output, unmasked;
//! environment, working directory and open files are shared.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::value::RawValue;
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::timeout,
};

use super::{
    call::{Call, Outcome},
    error::CallError,
    session::Session,
};

/// As much as a process's first thread has, since that is where a worker runs the same code.
const STACK: usize = 8 << 20;

/// The thread of one subject.
pub(super) struct Local {
    jobs: mpsc::Sender<Job>,
    /// The call that has passed its deadline and has not come back.
    overdue: Option<Overdue>,
}

struct Job {
    call: Call,
    body: Box<RawValue>,
    answer: oneshot::Sender<Outcome>,
}

struct Overdue {
    call: Call,
    since: Instant,
    answer: oneshot::Receiver<Outcome>,
}

impl Local {
    pub(super) fn start(subject: &str) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        thread::Builder::new()
            .name(format!("plugin-{subject}"))
            .stack_size(STACK)
            .spawn(move || work(&queue))?;
        Ok(Self {
            jobs,
            overdue: None,
        })
    }

    pub(super) async fn call(
        &mut self,
        call: Call,
        body: &RawValue,
        deadline: Duration,
    ) -> Result<Outcome, CallError> {
        self.refuse_while_busy(call)?;
        let since = Instant::now();
        let (answer, mut answered) = oneshot::channel();
        let body = body.to_owned();
        let gone = |call: &'static str| CallError::Died {
            call,
            how: "is gone: its thread has ended".into(),
            log: None,
        };
        self.jobs
            .send(Job { call, body, answer })
            .map_err(|_| gone("between calls"))?;
        if let Ok(outcome) = timeout(deadline, &mut answered).await {
            return outcome.map_err(|_| gone(call.as_str()));
        }
        self.overdue = Some(Overdue {
            call,
            since,
            answer: answered,
        });
        Err(CallError::Deadline {
            call: call.as_str(),
            deadline,
        })
    }

    fn refuse_while_busy(&mut self, call: Call) -> Result<(), CallError> {
        if let Some(overdue) = &mut self.overdue
            && matches!(overdue.answer.try_recv(), Err(TryRecvError::Empty))
        {
            return Err(CallError::Busy {
                call: call.as_str(),
                with: overdue.call.as_str(),
                since: Duration::from_secs(overdue.since.elapsed().as_secs()),
            });
        }
        self.overdue = None;
        Ok(())
    }

    /// Drops the subject; leaves the thread to itself if that takes longer.
    pub(super) async fn close(mut self, grace: Duration) {
        let _ = self.call(Call::Drop, RawValue::NULL, grace).await;
    }
}

fn work(queue: &mpsc::Receiver<Job>) {
    let mut session = Session::default();
    while let Ok(job) = queue.recv() {
        // Nobody waits any more if the call is past its deadline.
        let _ = job.answer.send(session.handle(job.call, job.body.get()));
    }
}
