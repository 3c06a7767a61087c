//! Hooks for tests, only in debug builds: a loop that panics or hangs, and stalls that are found sooner.

use std::time::Duration;

/// At the start of each turn. In the folder `OPERATOR_TEST_LOOPS` a file `LOOP.panic` is removed, and the turn panics; a file
/// `LOOP.hang` holds the turn up for as long as it is there. `LOOP` is like `engine` or `watch:db`.
#[cfg(debug_assertions)]
pub(crate) async fn fault_point(id: &str) {
    const AGAIN: Duration = Duration::from_millis(20);
    let Some(folder) = std::env::var_os("OPERATOR_TEST_LOOPS") else {
        return;
    };
    let file = |fault| std::path::Path::new(&folder).join(format!("{id}.{fault}"));
    let must_panic = std::fs::remove_file(file("panic")).is_ok();
    assert!(!must_panic, "a test made the loop {id} panic");
    while file("hang").exists() {
        tokio::time::sleep(AGAIN).await;
    }
}

/// Nothing in a release.
#[cfg(not(debug_assertions))]
pub(crate) async fn fault_point(_id: &str) {}

/// The longest turn of a loop, at most `OPERATOR_TEST_LONGEST_TURN_MS`.
#[cfg(debug_assertions)]
pub(crate) fn shortened(longest_turn: Duration) -> Duration {
    let wanted = std::env::var("OPERATOR_TEST_LONGEST_TURN_MS");
    let wanted = wanted.ok().and_then(|text| text.parse().ok());
    wanted.map_or(longest_turn, |ms| {
        longest_turn.min(Duration::from_millis(ms))
    })
}

/// As it is, in a release.
#[cfg(not(debug_assertions))]
pub(crate) fn shortened(longest_turn: Duration) -> Duration {
    longest_turn
}
