//! A hook for tests: the process ends at a chosen point of an execution, as if by `kill -9`. Only in debug builds.

/// The points, in their order: `approved` (nothing is recorded yet), `begun` (the intent is recorded, the call not yet
/// made), `answered` (the call has ended, and that is not recorded), `recorded`, `refuted` (it is known that the action did not
/// help, and nothing has been done about it), `undoing`.
#[cfg(debug_assertions)]
pub(super) fn crash_point(point: &str) {
    if std::env::var("OPERATOR_TEST_CRASH_AT").is_ok_and(|wanted| wanted == point) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing in a release.
#[cfg(not(debug_assertions))]
pub(super) fn crash_point(_point: &str) {}
