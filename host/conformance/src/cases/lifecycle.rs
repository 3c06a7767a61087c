//! The end of an instance, and the next one.

use std::time::{Duration, Instant};

use operator_loader::{Payload, ProbeRequest};
use operator_plugin_fakes::Manner;

use super::load::twin;
use crate::{
    backends::Mode, bench, bench::shown, case::Case, lab::DEADLINE, lab::LENIENCE, lab::Lab,
    verdict::Ran, verdict::Status, verdict::Stop,
};

pub(super) const CASES: [Case; 6] = [
    Case {
        id: "lifecycle.shutdown-idempotent",
        expects: "a subject can be created and dropped again and again in one process, and works each time",
        fix: "leave nothing in statics that the next instance finds used up",
        run: shutdown_idempotent,
    },
    Case {
        id: "lifecycle.shutdown-deadline",
        expects: "a subject is dropped within a second, also while its backends stall",
        fix: "do not ask or wait for anything in Drop",
        run: shutdown_deadline,
    },
    Case {
        id: "lifecycle.errors-after-shutdown",
        expects: "after one instance is dropped, the others answer as before",
        fix: "free in Drop only what is the instance's own",
        run: errors_after_shutdown,
    },
    Case {
        id: "lifecycle.threads-gone",
        expects: "with the last instance its threads are gone",
        fix: "end and join in Drop every thread of the subject",
        run: threads_gone,
    },
    Case {
        id: "lifecycle.reload-new-code",
        expects: "a new file of the plugin works in a process that has used the old one, and is what is used",
        fix: "register nothing in the process that a second copy finds taken",
        run: reload_new_code,
    },
    Case {
        id: "lifecycle.reload-100x",
        expects: "a hundred times opened, described, created and dropped, the plugin works as at first",
        fix: "take nothing when the library is opened that is not given back",
        run: reload_100x,
    },
];

/// How long a drop may take.
const DROP: Duration = Duration::from_secs(1);
/// For threads that were told to end.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// Whether two answers are of the same sort.
fn alike(one: &Payload, other: &Payload) -> bool {
    match (one, other) {
        (Payload::Text(_), Payload::Text(_)) => true,
        _ => one.error_kind().is_some() && one.error_kind() == other.error_kind(),
    }
}

fn as_before(what: &str, before: &Payload, after: &Payload) -> Ran {
    if alike(before, after) {
        return Ok(());
    }
    let (before, after) = (shown(before), shown(after));
    Err(Stop::fail(format!(
        "{what} observe {after}; before it {before:.100}"
    )))
}

fn shutdown_idempotent(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let config = ready.backends.config.clone();
    let first = ready.bench.observe(0, DEADLINE)?.payload;
    for life in 2..=4 {
        ready.bench.drop_instance(0)?;
        ready.bench.drop_instance(0)?;
        ready
            .bench
            .create(0, &config)
            .map_err(|stop| again(stop).about(&format!("the {life}. time")))?;
        let payload = ready.bench.observe(0, DEADLINE)?.payload;
        as_before(&format!("the {life}. time"), &first, &payload)?;
    }
    Ok(())
}

/// What create refuses only after the first time is this group's finding.
fn again(stop: Stop) -> Stop {
    match stop {
        Stop::Blocked {
            status: Status::Fail,
            ..
        } => stop.of_this(),
        other => other,
    }
}

fn shutdown_deadline(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Stall))?;
    ready.bench.observe(0, DEADLINE)?;
    let answer = ready.bench.drop_instance(0).map_err(|stop| match stop {
        Stop::Blocked {
            status: Status::Hang,
            ..
        } => stop.of_this(),
        other => other,
    })?;
    let took = Duration::from_micros(answer.took_us);
    if took > DROP {
        return Err(Stop::fail(format!("it took {} ms", took.as_millis())));
    }
    Ok(())
}

fn errors_after_shutdown(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let config = ready.backends.config.clone();
    ready.bench.create(1, &config)?;
    let before = ready.bench.observe(1, DEADLINE)?.payload;
    ready.bench.observe(0, DEADLINE)?;
    ready.bench.drop_instance(0)?;
    let after = ready.bench.observe(1, DEADLINE)?.payload;
    as_before("after another was dropped,", &before, &after)
}

fn threads_gone(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let config = ready.backends.config.clone();
    let process = ready.bench.process()?;
    ready.bench.drop_instance(0)?;
    // What the first instance starts for all later ones stays.
    let before = process.threads()?;
    ready.bench.create(0, &config)?;
    ready.bench.observe(0, DEADLINE)?;
    ready.bench.drop_instance(0)?;
    let until = Instant::now() + LAST_MOMENTS;
    while process.threads()? > before && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = process.threads()?.saturating_sub(before);
    if left > 0 {
        return Err(Stop::fail(format!("{left} thread(s) outlive it")));
    }
    Ok(())
}

fn reload_new_code(lab: &Lab) -> Ran {
    let new = twin(lab, "new")?;
    let mut ready = lab.ready(Mode::As(Manner::Error500))?;
    let before = ready.bench.observe(0, DEADLINE)?.payload;
    ready.bench.drop_instance(0)?;
    let of_new = |stop: Stop| stop.about("the new file");
    ready.bench.load_other(&new.copy).map_err(of_new)?;
    let ask = ProbeRequest::Create {
        module: 1,
        instance: 0,
        config: serde_json::Value::Object(ready.backends.config.clone())
            .to_string()
            .into(),
    };
    let payload = ready.bench.ask(ask).map_err(of_new)?.payload;
    if !matches!(payload, Payload::Text(_)) {
        return Err(Stop::fail(format!(
            "of the new file create {}",
            shown(&payload)
        )));
    }
    let after = ready
        .bench
        .ask(bench::observe(0, DEADLINE))
        .map_err(of_new)?
        .payload;
    as_before("of the new file", &before, &after)?;
    if !ready.bench.process()?.maps(&new.sha256)? {
        return Err(Stop::error("the new file was not opened"));
    }
    Ok(())
}

fn reload_100x(lab: &Lab) -> Ran {
    const TIMES: u32 = 100;
    let mut ready = lab.ready(Mode::Closed)?;
    let config = serde_json::Value::Object(ready.backends.config.clone()).to_string();
    let expected = ready
        .bench
        .ask(ProbeRequest::Describe { module: 0 })?
        .payload;
    let process = ready.bench.process()?;
    let library = lab.plugin()?.copy.clone();
    let life = vec![
        ProbeRequest::Load { library },
        ProbeRequest::Describe { module: 0 },
        ProbeRequest::Create {
            module: 0,
            instance: 1,
            config: config.into(),
        },
        ProbeRequest::Drop { instance: 1 },
    ];
    ready.bench.repeat(life.clone(), 2)?;
    let before = (process.threads()?, process.descriptors()?.len());
    for time in 1..=TIMES / 10 {
        let answers = ready.bench.repeat(life.clone(), 10)?;
        let odd = answers
            .iter()
            .find(|answer| !matches!(answer.payload, Payload::Text(_)));
        if let Some(odd) = odd {
            return Err(Stop::fail(format!(
                "before the {}. time it {}",
                10 * time,
                shown(&odd.payload)
            )));
        }
        if answers[1].payload != expected {
            let what = "it described itself otherwise the next time";
            return Err(Stop::blocked(&["describe.stable"], Status::Fail, what));
        }
    }
    let after = (process.threads()?, process.descriptors()?.len());
    if after.0 > before.0 + 1 || after.1 > before.1 + 1 {
        return Err(Stop::fail(format!(
            "from {} threads and {} descriptors it went to {} and {}",
            before.0, before.1, after.0, after.1
        )));
    }
    ready.bench.observe(0, DEADLINE + LENIENCE).map(drop)
}
