//! The clock stands still unless everything waits.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use operator_model::{LoopState, LoopStatus, TurnResult};
use tokio::sync::{Notify, watch};

use super::*;

const PERIOD: Duration = Duration::from_secs(1);

struct Lab {
    supervisor: Supervisor,
    board: Board,
    stop: watch::Sender<bool>,
    reports: Arc<Mutex<Vec<String>>>,
}

fn lab() -> Lab {
    let (stop, stopped) = watch::channel(false);
    let reports: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = reports.clone();
    let supervisor = Supervisor::new(stopped, move |_, message| {
        sink.lock().expect("no panic").push(message);
    });
    Lab {
        board: supervisor.board().clone(),
        supervisor,
        stop,
        reports,
    }
}

impl Lab {
    fn only(&self) -> LoopStatus {
        self.board.statuses().remove(0)
    }

    async fn drained(self) -> Vec<String> {
        self.stop.send_replace(true);
        self.supervisor.drained().await;
        Arc::into_inner(self.reports)
            .expect("all loops are gone")
            .into_inner()
            .expect("no panic")
    }
}

/// Turns until it is stopped.
async fn turning(turns: Turns, mut stop: watch::Receiver<bool>) {
    loop {
        turns.turn(async { Ok(()) }).await;
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_turns_is_well_and_ends_when_it_is_stopped() {
    let mut lab = lab();
    let stop = lab.stop.subscribe();
    let spec = LoopSpec::new("engine", PERIOD);
    lab.supervisor
        .start(spec, move |turns| turning(turns, stop.clone()));
    tokio::time::sleep(PERIOD * 30).await;
    let status = lab.only();
    assert!(!status.is_unhealthy(), "{status:?}");
    assert!(
        status.iterations >= 30 && status.restarts == 0,
        "{status:?}"
    );
    assert_eq!(status.state, LoopState::Waiting);
    assert_eq!(lab.drained().await, [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_panics_is_started_again_and_its_message_is_kept() {
    let mut lab = lab();
    let starts = Arc::new(AtomicU32::new(0));
    let (count, stop) = (starts.clone(), lab.stop.subscribe());
    lab.supervisor
        .start(LoopSpec::new("engine", PERIOD), move |turns| {
            let (start, stop) = (count.fetch_add(1, Ordering::SeqCst), stop.clone());
            async move {
                assert!(start > 1, "start {start}");
                turning(turns, stop).await;
            }
        });
    tokio::time::sleep(PERIOD * 10).await;
    let status = lab.only();
    assert_eq!((status.restarts, status.result), (2, Some(TurnResult::Ok)));
    let error = status.last_error.expect("an error");
    assert_eq!(error.message, "panicked: start 1");
    assert_eq!(
        lab.drained().await,
        [
            "the loop `engine` panicked: start 0; it is started again in 500ms",
            "the loop `engine` panicked: start 1; it is started again in 1s",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_ends_unasked_is_started_again() {
    let mut lab = lab();
    lab.supervisor
        .start(LoopSpec::new("audit", PERIOD), |_| async {});
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = lab.only();
    assert!(status.restarts >= 2 && status.is_unhealthy(), "{status:?}");
    assert_eq!(
        status.last_error.expect("one").message,
        "ended unexpectedly"
    );
    lab.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_takes_too_long_is_a_stall_until_it_ends() {
    let mut lab = lab();
    let (free, stop) = (Arc::new(Notify::new()), lab.stop.subscribe());
    let freed = free.clone();
    lab.supervisor
        .start(LoopSpec::new("engine", PERIOD), move |turns| {
            let (freed, stop) = (freed.clone(), stop.clone());
            async move {
                let held_up = async {
                    freed.notified().await;
                    Ok(())
                };
                turns.turn(held_up).await;
                turning(turns, stop).await;
            }
        });
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(lab.only().stalled_for_ms, None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(lab.only().stalled_for_ms, Some(16_000));
    free.notify_one();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lab.only().stalled_for_ms, None);
    lab.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_fails_in_every_turn_is_stalled_in_spite_of_its_restarts() {
    let mut lab = lab();
    lab.supervisor
        .start(LoopSpec::new("engine", PERIOD), |turns| async move {
            turns.turn(async { panic!("always") }).await;
        });
    tokio::time::sleep(Duration::from_secs(40)).await;
    let status = lab.only();
    assert!(status.stalled_for_ms > Some(35_000), "{status:?}");
    assert_eq!(status.iterations, 0);
    lab.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_not_a_stall_where_the_period_is_long() {
    let mut lab = lab();
    let hour = Duration::from_hours(1);
    lab.supervisor
        .start(LoopSpec::new("housekeeping", hour), |turns| async move {
            turns.turn(async { Ok(()) }).await;
            std::future::pending::<()>().await;
        });
    tokio::time::sleep(hour * 2).await;
    assert_eq!(lab.only().stalled_for_ms, None);
    tokio::time::sleep(hour * 2).await;
    assert!(lab.only().stalled_for_ms.is_some());
    lab.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_does_not_end_is_aborted() {
    let mut lab = lab();
    lab.supervisor
        .start(LoopSpec::new("audit", PERIOD), |_| std::future::pending());
    let before = tokio::time::Instant::now();
    let reports = lab.drained().await;
    assert_eq!(before.elapsed().as_secs(), 15);
    assert_eq!(
        reports,
        ["the loop `audit` did not end in time at shutdown, and was aborted"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_panics_at_shutdown_gets_one_more_start_to_finish_its_work() {
    let mut lab = lab();
    let work = Arc::new(AtomicU32::new(0));
    let (done, stop) = (work.clone(), lab.stop.subscribe());
    lab.supervisor
        .start(LoopSpec::new("engine", PERIOD), move |_| {
            let (done, mut stop) = (done.clone(), stop.clone());
            async move {
                let _ = stop.wait_for(|stop| *stop).await;
                assert!(done.fetch_add(1, Ordering::SeqCst) > 0, "at the end");
            }
        });
    tokio::task::yield_now().await;
    let reports = lab.drained().await;
    assert_eq!(work.load(Ordering::SeqCst), 2);
    assert_eq!(
        reports,
        ["the loop `engine` panicked: at the end; it is started again to finish its work"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_is_gone_is_a_shutdown() {
    let mut lab = lab();
    let stop = lab.stop.subscribe();
    lab.supervisor
        .start(LoopSpec::new("engine", PERIOD), move |turns| {
            turning(turns, stop.clone())
        });
    tokio::time::sleep(PERIOD).await;
    drop(lab.stop);
    lab.supervisor.drained().await;
    assert_eq!(lab.board.statuses()[0].restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_error_is_reported_once() {
    let mut lab = lab();
    let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let notes = seen.clone();
    lab.supervisor
        .start(LoopSpec::new("audit", PERIOD), move |turns| {
            let notes = notes.clone();
            async move {
                for result in [Err("a"), Err("a"), Ok(()), Err("a"), Err("b")] {
                    let result = result.map_err(str::to_owned);
                    let new = turns.turn(async { result }).await;
                    notes.lock().expect("no panic").push(new);
                }
                std::future::pending::<()>().await;
            }
        });
    tokio::time::sleep(PERIOD).await;
    let status = lab.only();
    assert!(
        status.is_unhealthy() && status.iterations == 5,
        "{status:?}"
    );
    let news = seen.lock().expect("no panic").clone();
    let news: Vec<_> = news.iter().map(Option::as_deref).collect();
    assert_eq!(news, [Some("a"), None, None, Some("a"), Some("b")]);
    lab.drained().await;
}

#[test]
fn a_wait_is_limited_by_the_period_and_a_turn_by_its_longest_duration() {
    let limits = |period, longest_turn| {
        let spec = LoopSpec::new("engine", Duration::from_millis(period))
            .with_longest_turn(Duration::from_secs(longest_turn));
        (spec.wait_limit().as_secs(), spec.turn_limit().as_secs())
    };
    // With the default deadlines a cycle takes up to 17 s.
    assert_eq!(limits(250, 17), (5, 51));
    assert_eq!(limits(1_000, 17), (5, 51));
    assert_eq!(limits(10_000, 17), (30, 51));
    assert_eq!(limits(500, 0), (5, 15));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_starts_no_turn_is_stalled_however_long_its_turns_may_take() {
    let mut lab = lab();
    let spec = LoopSpec::new("engine", Duration::from_millis(250))
        .with_longest_turn(Duration::from_secs(17));
    lab.supervisor.start(spec, |turns| async move {
        turns.turn(async { Ok(()) }).await;
        std::future::pending::<()>().await;
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(lab.only().stalled_for_ms, None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lab.only().stalled_for_ms, Some(6_000));
    lab.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_panics_before_it_is_a_future_is_started_again() {
    let mut lab = lab();
    let (mut starts, stop) = (0, lab.stop.subscribe());
    lab.supervisor
        .start(LoopSpec::new("engine", PERIOD), move |turns| {
            starts += 1;
            assert!(starts > 2, "start {starts}");
            turning(turns, stop.clone())
        });
    tokio::time::sleep(PERIOD * 10).await;
    let status = lab.only();
    assert_eq!((status.restarts, status.result), (2, Some(TurnResult::Ok)));
    assert_eq!(
        lab.drained().await,
        [
            "the loop `engine` panicked: start 1; it is started again in 500ms",
            "the loop `engine` panicked: start 2; it is started again in 1s",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_loop_without_a_turn_is_starting_and_stalled_beyond_its_limit() {
    let mut lab = lab();
    let free = Arc::new(Notify::new());
    let freed = free.clone();
    lab.supervisor
        .start(LoopSpec::new("engine", PERIOD), move |turns| {
            let freed = freed.clone();
            async move {
                tokio::time::sleep(PERIOD).await;
                let held_up = async {
                    freed.notified().await;
                    Ok(())
                };
                turns.turn(held_up).await;
                std::future::pending::<()>().await;
            }
        });
    for quiet in [1, 15] {
        tokio::time::sleep(PERIOD * quiet).await;
        let status = lab.only();
        assert_eq!(status.state, LoopState::Starting);
        assert!(!status.is_unhealthy(), "{status:?}");
    }
    tokio::time::sleep(PERIOD).await;
    let status = lab.only();
    assert_eq!(status.state, LoopState::Starting);
    assert!(status.is_unhealthy(), "{status:?}");
    free.notify_one();
    tokio::time::sleep(PERIOD).await;
    assert_eq!(lab.only().state, LoopState::Waiting);
    lab.drained().await;
}
