//! What calls leave behind.

use operator_loader::{Method, ProbeRequest};
use operator_plugin_fakes::Manner;
use serde_json::json;

use crate::{
    backends::Mode, bench, bench::Bench, bench::method, case::Case, lab::DEADLINE, lab::Lab,
    lab::Ready, verdict::Ran, verdict::Stop,
};

pub(super) const CASES: [Case; 5] = [
    Case {
        id: "resources.memory",
        expects: "a thousand calls leave no memory behind once the first are done",
        fix: "bound what is remembered from cycle to cycle",
        run: memory,
    },
    Case {
        id: "resources.descriptors",
        expects: "calls leave no file open",
        fix: "close files with the call that opened them",
        run: descriptors,
    },
    Case {
        id: "resources.sockets",
        expects: "calls leave no more sockets open than there are backends",
        fix: "close connections with the call, or keep one for each backend",
        run: sockets,
    },
    Case {
        id: "resources.threads",
        expects: "calls leave no thread behind",
        fix: "join with the call what it has started",
        run: threads,
    },
    Case {
        id: "resources.create-drop",
        expects: "instances that were dropped leave neither memory nor descriptors nor threads behind",
        fix: "free in Drop what create has taken",
        run: create_drop,
    },
];

/// Calls before anything is measured: allocators, pools and caches fill.
const WARM_UP: u32 = 40;
/// Calls over which it is measured.
const CALLS: u32 = 250;
/// Of four calls in one round.
const ROUND: u32 = 4;
/// What an allocator keeps or gives back as it likes. Bytes.
const SLACK: u64 = 1 << 20;
/// Instances that come and go.
const INSTANCES: u32 = 60;

/// One round: all that is asked of a plugin in a cycle.
fn round(lab: &Lab) -> Vec<ProbeRequest> {
    let observation = lab.golden.any().cloned();
    let observation = observation.unwrap_or_else(|_| json!({"observed_at_ms": 0, "data": {}}));
    let unknown = json!({"action": "no_such_action", "params": {}, "deadline_ms": 1000, "idempotency_key": "1"});
    vec![
        bench::observe(0, DEADLINE),
        method(0, Method::Check, observation.to_string()),
        method(0, Method::ListActions, ""),
        method(0, Method::Invoke, unknown.to_string()),
    ]
}

/// In pieces that end within a call's deadline.
fn repeat(bench: &mut Bench, asks: &[ProbeRequest], times: u32) -> Ran {
    const PIECE: u32 = 10;
    for _ in 0..times.div_ceil(PIECE) {
        bench.repeat(asks.to_vec(), PIECE)?;
    }
    Ok(())
}

fn warm(lab: &Lab) -> Result<(Ready, Vec<ProbeRequest>), Stop> {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let asks = round(lab);
    repeat(&mut ready.bench, &asks, WARM_UP)?;
    Ok((ready, asks))
}

fn memory(lab: &Lab) -> Ran {
    let (mut ready, asks) = warm(lab)?;
    let process = ready.bench.process()?;
    let mut grown = Vec::new();
    for _ in 0..2 {
        let before = process.memory()?;
        repeat(&mut ready.bench, &asks, CALLS / 2)?;
        grown.push(process.memory()?.saturating_sub(before));
    }
    // What grows only once has found its size.
    if grown.iter().all(|bytes| *bytes > SLACK / 2) {
        let (kib, calls) = (grown.iter().sum::<u64>() / 1024, CALLS * ROUND);
        return Err(Stop::fail(format!(
            "it grew by {kib} KiB in {calls} calls, steadily"
        )));
    }
    Ok(())
}

fn descriptors(lab: &Lab) -> Ran {
    let (mut ready, asks) = warm(lab)?;
    let process = ready.bench.process()?;
    let files = || -> Result<usize, Stop> {
        let open = process.descriptors()?;
        Ok(open
            .values()
            .filter(|is| !is.starts_with("socket:"))
            .count())
    };
    let before = files()?;
    repeat(&mut ready.bench, &asks, WARM_UP)?;
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

fn sockets(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let process = ready.bench.process()?;
    let before = process.sockets()?;
    repeat(&mut ready.bench, &round(lab), WARM_UP)?;
    let most = before + 2 * ready.backends.fakes.len();
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

fn threads(lab: &Lab) -> Ran {
    let (mut ready, asks) = warm(lab)?;
    let process = ready.bench.process()?;
    let before = process.threads()?;
    repeat(&mut ready.bench, &asks, WARM_UP)?;
    let after = process.threads()?;
    if after > before + 1 {
        let calls = WARM_UP * ROUND;
        return Err(Stop::fail(format!(
            "{calls} calls left {} thread(s) behind",
            after - before
        )));
    }
    Ok(())
}

fn create_drop(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let config = serde_json::Value::Object(ready.backends.config.clone()).to_string();
    let life = vec![
        ProbeRequest::Create {
            module: 0,
            instance: 1,
            config: config.into(),
        },
        bench::observe(1, DEADLINE),
        ProbeRequest::Drop { instance: 1 },
    ];
    repeat(&mut ready.bench, &life, INSTANCES / 2)?;
    let process = ready.bench.process()?;
    let look = || {
        Ok((
            process.threads()?,
            process.descriptors()?.len(),
            process.memory()?,
        ))
    };
    let before: (usize, usize, u64) = look()?;
    repeat(&mut ready.bench, &life, INSTANCES / 2)?;
    let middle: (usize, usize, u64) = look()?;
    repeat(&mut ready.bench, &life, INSTANCES / 2)?;
    let after: (usize, usize, u64) = look()?;
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
