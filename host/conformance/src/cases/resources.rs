//! Resources that calls do not release.

use operator_loader::{Method, ProbeRequest};
use operator_plugin_fakes::Manner;
use serde_json::json;

use crate::{
    backends::Mode, case::Case, context::CaseContext, context::DEADLINE, context::Setup,
    verdict::CaseResult, verdict::Stop, worker, worker::Worker, worker::method,
};

pub(super) const CASES: [Case; 5] = [
    Case {
        id: "resources.memory",
        expects: "memory does not grow over a thousand calls after a warm-up",
        fix: "limit what is kept from cycle to cycle",
        run: memory,
    },
    Case {
        id: "resources.descriptors",
        expects: "calls leave no files open",
        fix: "close files in the call that opened them",
        run: descriptors,
    },
    Case {
        id: "resources.sockets",
        expects: "calls leave no more sockets open than there are backends",
        fix: "close connections at the end of the call, or keep one for each backend",
        run: sockets,
    },
    Case {
        id: "resources.threads",
        expects: "calls leave no threads running",
        fix: "join the threads that a call starts before it returns",
        run: threads,
    },
    Case {
        id: "resources.create-drop",
        expects: "dropped instances leave no memory, descriptors or threads behind",
        fix: "release in Drop what create acquired",
        run: create_drop,
    },
];

/// Rounds before the measurement: allocators, pools and caches fill.
const WARM_UP: u32 = 40;
/// Rounds of the measurement.
const CALLS: u32 = 250;
/// Calls in one round.
const ROUND: u32 = 4;
/// Memory that an allocator keeps or returns at any time. Bytes.
const SLACK: u64 = 1 << 20;
/// Instances that are created and dropped.
const INSTANCES: u32 = 60;

/// One round: the calls of a cycle.
fn round(context: &CaseContext) -> Vec<ProbeRequest> {
    let observation = context.golden.any().cloned();
    let observation = observation.unwrap_or_else(|_| json!({"observed_at_ms": 0, "data": {}}));
    let unknown = json!({"action": "no_such_action", "params": {}, "deadline_ms": 1000, "idempotency_key": "1"});
    vec![
        worker::observe(0, DEADLINE),
        method(0, Method::Check, observation.to_string()),
        method(0, Method::ListActions, ""),
        method(0, Method::Invoke, unknown.to_string()),
    ]
}

/// In pieces that end within the limit of one call.
fn repeat(worker: &mut Worker, asks: &[ProbeRequest], times: u32) -> CaseResult {
    const PIECE: u32 = 10;
    for _ in 0..times.div_ceil(PIECE) {
        worker.repeat(asks.to_vec(), PIECE)?;
    }
    Ok(())
}

fn warm(context: &CaseContext) -> Result<(Setup, Vec<ProbeRequest>), Stop> {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let asks = round(context);
    repeat(&mut setup.worker, &asks, WARM_UP)?;
    Ok((setup, asks))
}

fn memory(context: &CaseContext) -> CaseResult {
    let (mut setup, asks) = warm(context)?;
    let process = setup.worker.process()?;
    let mut grown = Vec::new();
    for _ in 0..2 {
        let before = process.memory()?;
        repeat(&mut setup.worker, &asks, CALLS / 2)?;
        grown.push(process.memory()?.saturating_sub(before));
    }
    // Growth in only one half is a cache that has found its size.
    if grown.iter().all(|bytes| *bytes > SLACK / 2) {
        let (kib, calls) = (grown.iter().sum::<u64>() / 1024, CALLS * ROUND);
        return Err(Stop::fail(format!(
            "it grew by {kib} KiB in {calls} calls, steadily"
        )));
    }
    Ok(())
}

fn descriptors(context: &CaseContext) -> CaseResult {
    let (mut setup, asks) = warm(context)?;
    let process = setup.worker.process()?;
    let files = || -> Result<usize, Stop> {
        let open = process.descriptors()?;
        Ok(open
            .values()
            .filter(|is| !is.starts_with("socket:"))
            .count())
    };
    let before = files()?;
    repeat(&mut setup.worker, &asks, WARM_UP)?;
    let after = files()?;
    if after > before + 1 {
        let calls = WARM_UP * ROUND;
        return Err(Stop::fail(format!(
            "{calls} calls left {} file(s) open",
            after - before
        )));
    }
    Ok(())
}

fn sockets(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let process = setup.worker.process()?;
    let before = process.sockets()?;
    repeat(&mut setup.worker, &round(context), WARM_UP)?;
    let most = before + 2 * setup.backends.fakes.len();
    let after = process.sockets()?;
    if after > most {
        let calls = WARM_UP * ROUND;
        return Err(Stop::fail(format!(
            "{calls} calls left {} socket(s) open",
            after - before
        )));
    }
    Ok(())
}

fn threads(context: &CaseContext) -> CaseResult {
    let (mut setup, asks) = warm(context)?;
    let process = setup.worker.process()?;
    let before = process.threads()?;
    repeat(&mut setup.worker, &asks, WARM_UP)?;
    let after = process.threads()?;
    if after > before + 1 {
        let calls = WARM_UP * ROUND;
        return Err(Stop::fail(format!(
            "{calls} calls left {} thread(s) running",
            after - before
        )));
    }
    Ok(())
}

fn create_drop(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let config = serde_json::Value::Object(setup.backends.config.clone()).to_string();
    let life = vec![
        ProbeRequest::Create {
            module: 0,
            instance: 1,
            config: config.into(),
        },
        worker::observe(1, DEADLINE),
        ProbeRequest::Drop { instance: 1 },
    ];
    repeat(&mut setup.worker, &life, INSTANCES / 2)?;
    let process = setup.worker.process()?;
    let measure = || {
        Ok((
            process.threads()?,
            process.descriptors()?.len(),
            process.memory()?,
        ))
    };
    let before: (usize, usize, u64) = measure()?;
    repeat(&mut setup.worker, &life, INSTANCES / 2)?;
    let middle: (usize, usize, u64) = measure()?;
    repeat(&mut setup.worker, &life, INSTANCES / 2)?;
    let after: (usize, usize, u64) = measure()?;
    let left = |what: String| {
        Err(Stop::fail(format!(
            "{INSTANCES} instances left {what} behind"
        )))
    };
    if after.0 > before.0 + 1 {
        return left(format!("{} thread(s)", after.0 - before.0));
    }
    if after.1 > before.1 + 1 {
        return left(format!("{} descriptor(s)", after.1 - before.1));
    }
    let grew = |from: u64, to: u64| to.saturating_sub(from) > SLACK / 2;
    if grew(before.2, middle.2) && grew(middle.2, after.2) {
        return left(format!("{} KiB", (after.2 - before.2) / 1024));
    }
    Ok(())
}
