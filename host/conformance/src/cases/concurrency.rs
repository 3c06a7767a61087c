//! What happens when several things are asked at once.

use std::time::Duration;

use operator_loader::{Method, Payload, ProbeRequest, ProbeResponse};
use operator_plugin_fakes::Manner;
use serde_json::json;

use crate::{
    backends::Mode, bench, bench::method, bench::shown, case::Case, lab::DEADLINE, lab::Lab,
    lab::request, verdict::Ran, verdict::Status, verdict::Stop,
};

pub(super) const CASES: [Case; 5] = [
    Case {
        id: "concurrency.observe-x16",
        expects: "sixteen observations of one instance at once are all answered as one alone is",
        fix: "guard what observe changes with a Mutex, and hold it only briefly",
        run: observe_x16,
    },
    Case {
        id: "concurrency.observe-with-invoke",
        expects: "observe, check, list_actions and invoke of one instance can run at the same time",
        fix: "never take two locks in different orders, and hold none over a request",
        run: observe_with_invoke,
    },
    Case {
        id: "concurrency.two-instances",
        expects: "each of two instances asks its own backends, also at the same time",
        fix: "keep configuration and connections in the subject, not in statics",
        run: two_instances,
    },
    Case {
        id: "concurrency.shutdown-in-flight",
        expects: "an instance is dropped at once while another observes, which goes on and answers",
        fix: "share nothing between instances that a drop waits for or closes",
        run: shutdown_in_flight,
    },
    Case {
        id: "concurrency.no-host-runtime",
        expects: "every call works on any thread, and on another one than the call before",
        fix: "use blocking I/O, or a runtime of your own inside the call; keep nothing in thread locals",
        run: no_host_runtime,
    },
];

fn like(first: &ProbeResponse, other: &ProbeResponse) -> bool {
    match (&first.payload, &other.payload) {
        (Payload::Text(_), Payload::Text(_)) => true,
        (one, other) => one.error_kind().is_some() && one.error_kind() == other.error_kind(),
    }
}

/// A call that does not come back when others run beside it is this group's finding, unless it never does.
fn beside(stop: Stop) -> Stop {
    stop.about("at the same time")
}

fn observe_x16(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let alone = ready.bench.observe(0, DEADLINE)?;
    let asks = (0..16).map(|_| bench::observe(0, DEADLINE));
    let answers = ready.bench.ask_together(asks.collect()).map_err(beside)?;
    match answers.iter().find(|answer| !like(&alone, answer)) {
        Some(odd) => {
            let (alone, odd) = (shown(&alone.payload), shown(&odd.payload));
            Err(Stop::fail(format!(
                "alone it {alone:.100}; among sixteen it {odd}"
            )))
        }
        None => Ok(()),
    }
}

fn observe_with_invoke(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let observation = json!({"observed_at_ms": 0, "data": {}}).to_string();
    let asks = vec![
        bench::observe(0, DEADLINE),
        bench::invoke(0, &request("no_such_action", json!({})))?,
        method(0, Method::Check, observation),
        method(0, Method::ListActions, ""),
    ];
    let alone: Vec<_> = asks
        .iter()
        .map(|ask| ready.bench.ask(ask.clone()))
        .collect::<Result<_, _>>()?;
    for _ in 0..5 {
        let answers = ready.bench.ask_together(asks.clone()).map_err(beside)?;
        for (alone, answer) in alone.iter().zip(&answers) {
            if !like(alone, answer) {
                let (alone, odd) = (shown(&alone.payload), shown(&answer.payload));
                return Err(Stop::fail(format!(
                    "alone it {alone:.100}; beside others it {odd}"
                )));
            }
        }
    }
    Ok(())
}

fn two_instances(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::As(Manner::Error500))?;
    let second = lab.backends(&ready.descriptor, Mode::As(Manner::Error500))?;
    ready.bench.create(1, &second.config)?;
    for (instance, own, other) in [(0, &ready.backends, &second), (1, &second, &ready.backends)] {
        let before = (own.reached(), other.reached());
        ready.bench.observe(instance, DEADLINE)?;
        let which = ["first", "second"][usize::from(instance == 1)];
        if other.reached() > before.1 {
            return Err(Stop::fail(format!(
                "the {which} instance asked the other's backends"
            )));
        }
        if own.reached() == before.0 {
            let what = format!("the {which} instance did not ask its backends");
            return Err(Stop::blocked(&["observe.no-stale"], Status::Fail, what));
        }
    }
    let asks = vec![bench::observe(0, DEADLINE), bench::observe(1, DEADLINE)];
    let answers = ready.bench.ask_together(asks).map_err(beside)?;
    if like(&answers[0], &answers[1]) {
        Ok(())
    } else {
        Err(Stop::fail(
            "at the same time, two instances answered differently",
        ))
    }
}

fn shutdown_in_flight(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::As(Manner::Stall))?;
    let second = lab.backends(&ready.descriptor, Mode::As(Manner::Stall))?;
    ready.bench.create(1, &second.config)?;
    // So that the other one is certain to be under way.
    let pause = DEADLINE / 5;
    let asks = vec![
        bench::observe(0, DEADLINE),
        ProbeRequest::DropAfter {
            instance: 1,
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(0),
        },
    ];
    let answers = ready.bench.ask_together(asks).map_err(beside)?;
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

fn no_host_runtime(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let config = serde_json::Value::Object(ready.backends.config.clone()).to_string();
    let alone = ready.bench.observe(0, DEADLINE)?;
    let create = ProbeRequest::Create {
        module: 0,
        instance: 1,
        config: config.into(),
    };
    // Each on a thread of its own, one after the other.
    let created = ready.bench.ask_together(vec![create])?;
    if !matches!(created[0].payload, Payload::Text(_)) {
        let what = shown(&created[0].payload);
        return Err(Stop::fail(format!("create on another thread {what}")));
    }
    for instance in [0, 1] {
        let observed = ready
            .bench
            .ask_together(vec![bench::observe(instance, DEADLINE)])?;
        if !like(&alone, &observed[0]) {
            let what = shown(&observed[0].payload);
            return Err(Stop::fail(format!("observe on another thread {what}")));
        }
    }
    let dropped = ready
        .bench
        .ask_together(vec![ProbeRequest::Drop { instance: 1 }])?;
    match &dropped[0].payload {
        Payload::Nothing(why) => Err(Stop::fail(format!("drop on another thread: {why}"))),
        _ => Ok(()),
    }
}
