//! A hook for tests: the process ends at a chosen point of an execution, like after `kill -9`. Only in debug builds.

/// The points, in their order: `approved` (nothing is recorded yet), `begun` (the intent is recorded, the call not yet
/// made), `answered` (the call has ended, and that is not recorded), `recorded`, `refuted` (the verification has failed, and
/// nothing has been done about it), `undoing`.
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
