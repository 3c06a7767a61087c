//! Prints lines from a separate thread: a reader that stalls must not keep the daemon from handling its signals.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

/// How many lines may wait for a slow reader before some are dropped.
const BACKLOG: usize = 1024;

/// A thread that prints, and the lines that wait for it.
#[derive(Debug)]
pub(super) struct Printer {
    lines: SyncSender<String>,
    /// Disconnected once everything has been printed.
    done: Receiver<()>,
    /// Since there was last room.
    missed: u64,
}

impl Printer {
    /// A printer that hands each line to `print`, which may block.
    pub(super) fn new(print: impl FnMut(&str) + Send + 'static) -> io::Result<Self> {
        Self::with_backlog(BACKLOG, print)
    }

    fn with_backlog(
        backlog: usize,
        mut print: impl FnMut(&str) + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<String>(backlog);
        let (doing, done) = sync_channel(0);
        thread::Builder::new()
            .name("printer".to_owned())
            .spawn(move || {
                let _doing: SyncSender<()> = doing;
                for line in waiting {
                    print(&line);
                }
            })?;
        Ok(Self {
            lines,
            done,
            missed: 0,
        })
    }

    /// Prints a line as soon as the reader takes it. Never waits: without room, the line is missed, and `of_missed`
    /// words how many were once there is room again.
    pub(super) fn print(&mut self, line: String, of_missed: impl FnOnce(u64) -> String) {
        if self.missed > 0 && self.lines.try_send(of_missed(self.missed)).is_ok() {
            self.missed = 0;
        }
        if self.lines.try_send(line).is_err() {
            self.missed += 1;
        }
    }

    /// Waits until everything has been printed, but not longer than this.
    pub(super) fn finish(self, grace: Duration) {
        drop(self.lines);
        // Both ways of ending are an end.
        let _ = self.done.recv_timeout(grace);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, time::Instant};

    use super::*;

    fn of_missed(missed: u64) -> String {
        format!("{missed} missed")
    }

    #[test]
    fn what_a_slow_reader_missed_is_counted_and_reported() {
        let (go, gate) = channel::<()>();
        let (sent, printed) = channel();
        let mut printer = Printer::with_backlog(2, move |line| {
            let _ = sent.send(line.to_owned());
            let _ = gate.recv();
        })
        .expect("a thread");
        printer.print("first".into(), of_missed);
        assert_eq!(printed.recv().as_deref(), Ok("first"));
        for line in ["second", "third", "fourth", "fifth"] {
            printer.print(line.into(), of_missed);
        }
        for _ in 0..2 {
            go.send(()).expect("the printer waits");
        }
        assert_eq!(printed.recv().as_deref(), Ok("second"));
        assert_eq!(printed.recv().as_deref(), Ok("third"));
        printer.print("sixth".into(), of_missed);
        drop(go);
        printer.finish(Duration::from_secs(10));
        let rest: Vec<_> = printed.iter().collect();
        assert_eq!(rest, ["2 missed", "sixth"]);
    }

    #[test]
    fn a_reader_that_stalls_is_not_waited_for() {
        let (_stalled, gate) = channel::<()>();
        let mut printer = Printer::new(move |_| {
            let _ = gate.recv();
        })
        .expect("a thread");
        printer.print("never read".into(), of_missed);
        let begun = Instant::now();
        printer.finish(Duration::from_millis(50));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
