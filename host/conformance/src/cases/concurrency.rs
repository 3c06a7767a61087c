//! Calls at the same time.

use std::time::Duration;

use operator_loader::{Method, Payload, ProbeRequest, ProbeResponse};
use operator_plugin_fakes::Manner;
use serde_json::json;

use crate::{
    backends::Mode, case::Case, context::CaseContext, context::DEADLINE, context::request,
    verdict::CaseResult, verdict::Status, verdict::Stop, worker, worker::method, worker::shown,
};

pub(super) const CASES: [Case; 5] = [
    Case {
        id: "concurrency.observe-x16",
        expects: "sixteen observe calls of one instance at the same time get the same kind of answer as a single one",
        fix: "protect what observe changes with a Mutex, and hold it only briefly",
        run: observe_x16,
    },
    Case {
        id: "concurrency.observe-with-invoke",
        expects: "observe, check, list_actions and invoke of one instance can run at the same time",
        fix: "always take locks in the same order, and hold none during a request",
        run: observe_with_invoke,
    },
    Case {
        id: "concurrency.two-instances",
        expects: "each of two instances uses its own backends, also at the same time",
        fix: "keep configuration and connections in the subject, not in statics",
        run: two_instances,
    },
    Case {
        id: "concurrency.shutdown-in-flight",
        expects: "an instance is dropped without delay while another observes, and that call still returns",
        fix: "share nothing between instances that Drop waits for or closes",
        run: shutdown_in_flight,
    },
    Case {
        id: "concurrency.no-host-runtime",
        expects: "every call works on any thread, also on a different one than the previous call",
        fix: "use blocking I/O, or a runtime created inside the call; keep nothing in thread locals",
        run: no_host_runtime,
    },
];

fn like(first: &ProbeResponse, other: &ProbeResponse) -> bool {
    match (&first.payload, &other.payload) {
        (Payload::Text(_), Payload::Text(_)) => true,
        (one, other) => one.error_kind().is_some() && one.error_kind() == other.error_kind(),
    }
}

fn concurrent(stop: Stop) -> Stop {
    stop.about("at the same time")
}

fn observe_x16(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let alone = setup.worker.observe(0, DEADLINE)?;
    let asks = (0..16).map(|_| worker::observe(0, DEADLINE));
    let answers = setup
        .worker
        .ask_together(asks.collect())
        .map_err(concurrent)?;
    match answers.iter().find(|answer| !like(&alone, answer)) {
        Some(odd) => {
            let (alone, odd) = (shown(&alone.payload), shown(&odd.payload));
            Err(Stop::fail(format!(
                "alone, it {alone:.100}; as one of sixteen, it {odd}"
            )))
        }
        None => Ok(()),
    }
}

fn observe_with_invoke(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let observation = json!({"observed_at_ms": 0, "data": {}}).to_string();
    let asks = vec![
        worker::observe(0, DEADLINE),
        worker::invoke(0, &request("no_such_action", json!({})))?,
        method(0, Method::Check, observation),
        method(0, Method::ListActions, ""),
    ];
    let alone: Vec<_> = asks
        .iter()
        .map(|ask| setup.worker.ask(ask.clone()))
        .collect::<Result<_, _>>()?;
    for _ in 0..5 {
        let answers = setup
            .worker
            .ask_together(asks.clone())
            .map_err(concurrent)?;
        for (alone, answer) in alone.iter().zip(&answers) {
            if !like(alone, answer) {
                let (alone, odd) = (shown(&alone.payload), shown(&answer.payload));
                return Err(Stop::fail(format!(
                    "alone, it {alone:.100}; together with others, it {odd}"
                )));
            }
        }
    }
    Ok(())
}

fn two_instances(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Error500))?;
    let second = context.backends(&setup.descriptor, Mode::As(Manner::Error500))?;
    setup.worker.create(1, &second.config)?;
    for (instance, own, other) in [(0, &setup.backends, &second), (1, &second, &setup.backends)] {
        let before = (own.reached(), other.reached());
        setup.worker.observe(instance, DEADLINE)?;
        let which = ["first", "second"][usize::from(instance == 1)];
        if other.reached() > before.1 {
            return Err(Stop::fail(format!(
                "the {which} instance used the other's backends"
            )));
        }
        if own.reached() == before.0 {
            let what = format!("the {which} instance did not use its backends");
            return Err(Stop::blocked(&["observe.no-stale"], Status::Fail, what));
        }
    }
    let asks = vec![worker::observe(0, DEADLINE), worker::observe(1, DEADLINE)];
    let answers = setup.worker.ask_together(asks).map_err(concurrent)?;
    if like(&answers[0], &answers[1]) {
        Ok(())
    } else {
        Err(Stop::fail(
            "at the same time, two instances gave different kinds of answers",
        ))
    }
}

fn shutdown_in_flight(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Stall))?;
    let second = context.backends(&setup.descriptor, Mode::As(Manner::Stall))?;
    setup.worker.create(1, &second.config)?;
    // By then the other call is running.
    let pause = DEADLINE / 5;
    let asks = vec![
        worker::observe(0, DEADLINE),
        ProbeRequest::DropAfter {
            instance: 1,
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(0),
        },
    ];
    let answers = setup.worker.ask_together(asks).map_err(concurrent)?;
    let took = |place: usize| Duration::from_micros(answers[place].took_us);
    let dropping = took(1).saturating_sub(pause);
    if dropping > DEADLINE / 2 {
        let took = dropping.as_millis();
        return Err(Stop::fail(format!(
            "the drop took {took} ms while another instance observed"
        )));
    }
    if let Payload::Nothing(why) = &answers[0].payload {
        return Err(Stop::fail(format!("the observation: {why}")));
    }
    Ok(())
}

fn no_host_runtime(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let config = serde_json::Value::Object(setup.backends.config.clone()).to_string();
    let alone = setup.worker.observe(0, DEADLINE)?;
    let create = ProbeRequest::Create {
        module: 0,
        instance: 1,
        config: config.into(),
    };
    // Each on a new thread, one after the other.
    let created = setup.worker.ask_together(vec![create])?;
    if !matches!(created[0].payload, Payload::Text(_)) {
        let what = shown(&created[0].payload);
        return Err(Stop::fail(format!("create on another thread {what}")));
    }
    for instance in [0, 1] {
        let observed = setup
            .worker
            .ask_together(vec![worker::observe(instance, DEADLINE)])?;
        if !like(&alone, &observed[0]) {
            let what = shown(&observed[0].payload);
            return Err(Stop::fail(format!("observe on another thread {what}")));
        }
    }
    let dropped = setup
        .worker
        .ask_together(vec![ProbeRequest::Drop { instance: 1 }])?;
    match &dropped[0].payload {
        Payload::Nothing(why) => Err(Stop::fail(format!("drop on another thread: {why}"))),
        _ => Ok(()),
    }
}
