//! A plugin on a thread of the operator's own process (`isolation = "none"`).
//!
//! Nothing isolates the operator: a plugin that exits, aborts or corrupts memory ends the operator; a call that does not return
//! cannot be ended, and keeps its thread; the plugin's output is not masked; environment, working directory and open files are
//! shared.

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

use crate::{
    error::CallError,
    worker::{
        protocol::{Call, Reply},
        session::Session,
    },
};

/// The usual size for the first thread of a process, on which a worker runs the same code. Bytes.
const STACK: usize = 8 << 20;

/// The thread of one subject's plugin.
pub(crate) struct PluginThread {
    jobs: mpsc::Sender<Job>,
    /// The call that has passed its deadline and has not returned.
    overdue: Option<Overdue>,
}

struct Job {
    call: Call,
    body: Box<RawValue>,
    reply: oneshot::Sender<Reply>,
}

struct Overdue {
    call: Call,
    since: Instant,
    reply: oneshot::Receiver<Reply>,
}

impl PluginThread {
    pub(crate) fn start(subject: &str) -> std::io::Result<Self> {
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

    pub(crate) async fn call(
        &mut self,
        call: Call,
        body: &RawValue,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        self.refuse_while_busy(call)?;
        let since = Instant::now();
        let (reply, mut received) = oneshot::channel();
        let body = body.to_owned();
        let thread_ended = |call: &'static str| CallError::Died {
            call,
            how: "ended its thread".into(),
            log: None,
        };
        self.jobs
            .send(Job { call, body, reply })
            .map_err(|_| thread_ended("between calls"))?;
        if let Ok(reply) = timeout(deadline, &mut received).await {
            return reply.map_err(|_| thread_ended(call.as_str()));
        }
        self.overdue = Some(Overdue {
            call,
            since,
            reply: received,
        });
        Err(CallError::Deadline {
            call: call.as_str(),
            deadline,
        })
    }

    fn refuse_while_busy(&mut self, call: Call) -> Result<(), CallError> {
        if let Some(overdue) = &mut self.overdue
            && matches!(overdue.reply.try_recv(), Err(TryRecvError::Empty))
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

    /// Drops the subject. The thread is abandoned if that takes longer.
    pub(crate) async fn close(mut self, grace: Duration) {
        let _ = self.call(Call::Drop, RawValue::NULL, grace).await;
    }
}

fn work(queue: &mpsc::Receiver<Job>) {
    let mut session = Session::default();
    while let Ok(job) = queue.recv() {
        // The receiver is gone if the call has passed its deadline.
        let _ = job.reply.send(session.handle(job.call, job.body.get()));
    }
}
