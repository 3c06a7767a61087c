//! Dropping instances and creating new ones.

use std::time::{Duration, Instant};

use operator_loader::{Payload, ProbeRequest};
use operator_plugin_fakes::Manner;

use super::load::twin;
use crate::{
    backends::Mode, case::Case, context::CaseContext, context::DEADLINE, context::LENIENCE,
    verdict::CaseResult, verdict::Status, verdict::Stop, worker, worker::shown,
};

pub(super) const CASES: [Case; 6] = [
    Case {
        id: "lifecycle.shutdown-idempotent",
        expects: "a subject can be created and dropped repeatedly in one process, and works each time",
        fix: "leave no used-up state in statics",
        run: shutdown_idempotent,
    },
    Case {
        id: "lifecycle.shutdown-deadline",
        expects: "a subject is dropped within a second, even while its backends stall",
        fix: "send no request and wait for nothing in Drop",
        run: shutdown_deadline,
    },
    Case {
        id: "lifecycle.errors-after-shutdown",
        expects: "after one instance is dropped, the others work as before",
        fix: "free in Drop only what belongs to the instance",
        run: errors_after_shutdown,
    },
    Case {
        id: "lifecycle.threads-gone",
        expects: "the threads of an instance end with it",
        fix: "stop and join every thread of the subject in Drop",
        run: threads_gone,
    },
    Case {
        id: "lifecycle.reload-new-code",
        expects: "a new file of the plugin works in a process that has used the old one, and its code runs",
        fix: "register nothing in the process that a second copy cannot register again",
        run: reload_new_code,
    },
    Case {
        id: "lifecycle.reload-100x",
        expects: "after it was opened, described, created and dropped a hundred times, the plugin works as before",
        fix: "release everything that opening the library acquires",
        run: reload_100x,
    },
];

/// How long a drop may take.
const DROP: Duration = Duration::from_secs(1);
/// How long threads may take to end.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// Whether two answers are of the same sort.
fn alike(one: &Payload, other: &Payload) -> bool {
    match (one, other) {
        (Payload::Text(_), Payload::Text(_)) => true,
        _ => one.error_kind().is_some() && one.error_kind() == other.error_kind(),
    }
}

fn as_before(what: &str, before: &Payload, after: &Payload) -> CaseResult {
    if alike(before, after) {
        return Ok(());
    }
    let (before, after) = (shown(before), shown(after));
    Err(Stop::fail(format!(
        "{what} observe {after}; before, it {before:.100}"
    )))
}

fn shutdown_idempotent(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let config = setup.backends.config.clone();
    let first = setup.worker.observe(0, DEADLINE)?.payload;
    for life in 2..=4 {
        setup.worker.drop_instance(0)?;
        setup.worker.drop_instance(0)?;
        setup
            .worker
            .create(0, &config)
            .map_err(|stop| again(stop).about(&format!("creation {life}")))?;
        let payload = setup.worker.observe(0, DEADLINE)?.payload;
        as_before(&format!("after creation {life},"), &first, &payload)?;
    }
    Ok(())
}

/// A refusal after the first creation is the finding of this case.
fn again(stop: Stop) -> Stop {
    match stop {
        Stop::Blocked {
            status: Status::Fail,
            ..
        } => stop.attributed_here(),
        other => other,
    }
}

fn shutdown_deadline(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Stall))?;
    setup.worker.observe(0, DEADLINE)?;
    let answer = setup.worker.drop_instance(0).map_err(|stop| match stop {
        Stop::Blocked {
            status: Status::Hang,
            ..
        } => stop.attributed_here(),
        other => other,
    })?;
    let took = Duration::from_micros(answer.took_us);
    if took > DROP {
        return Err(Stop::fail(format!("it took {} ms", took.as_millis())));
    }
    Ok(())
}

fn errors_after_shutdown(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let config = setup.backends.config.clone();
    setup.worker.create(1, &config)?;
    let before = setup.worker.observe(1, DEADLINE)?.payload;
    setup.worker.observe(0, DEADLINE)?;
    setup.worker.drop_instance(0)?;
    let after = setup.worker.observe(1, DEADLINE)?.payload;
    as_before("after another was dropped,", &before, &after)
}

fn threads_gone(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let config = setup.backends.config.clone();
    let process = setup.worker.process()?;
    setup.worker.drop_instance(0)?;
    // Threads that the first instance starts for all later ones may stay.
    let before = process.threads()?;
    setup.worker.create(0, &config)?;
    setup.worker.observe(0, DEADLINE)?;
    setup.worker.drop_instance(0)?;
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

fn reload_new_code(context: &CaseContext) -> CaseResult {
    let new = twin(context, "new")?;
    let mut setup = context.set_up(Mode::As(Manner::Error500))?;
    let before = setup.worker.observe(0, DEADLINE)?.payload;
    setup.worker.drop_instance(0)?;
    let of_new = |stop: Stop| stop.about("the new file");
    setup.worker.load_other(&new.copy).map_err(of_new)?;
    let ask = ProbeRequest::Create {
        module: 1,
        instance: 0,
        config: serde_json::Value::Object(setup.backends.config.clone())
            .to_string()
            .into(),
    };
    let payload = setup.worker.ask(ask).map_err(of_new)?.payload;
    if !matches!(payload, Payload::Text(_)) {
        return Err(Stop::fail(format!(
            "create of the new file {}",
            shown(&payload)
        )));
    }
    let after = setup
        .worker
        .ask(worker::observe(0, DEADLINE))
        .map_err(of_new)?
        .payload;
    as_before("with the new file,", &before, &after)?;
    if !setup.worker.process()?.maps(&new.sha256)? {
        return Err(Stop::error("the new file was not opened"));
    }
    Ok(())
}

fn reload_100x(context: &CaseContext) -> CaseResult {
    const TIMES: u32 = 100;
    let mut setup = context.set_up(Mode::Closed)?;
    let config = serde_json::Value::Object(setup.backends.config.clone()).to_string();
    let expected = setup
        .worker
        .ask(ProbeRequest::Describe { module: 0 })?
        .payload;
    let process = setup.worker.process()?;
    let library = context.plugin()?.copy.clone();
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
    setup.worker.repeat(life.clone(), 2)?;
    let before = (process.threads()?, process.descriptors()?.len());
    for time in 1..=TIMES / 10 {
        let answers = setup.worker.repeat(life.clone(), 10)?;
        let odd = answers
            .iter()
            .find(|answer| !matches!(answer.payload, Payload::Text(_)));
        if let Some(odd) = odd {
            return Err(Stop::fail(format!(
                "within {} rounds, it {}",
                10 * time,
                shown(&odd.payload)
            )));
        }
        if answers[1].payload != expected {
            let what = "it returned another descriptor after a reload";
            return Err(Stop::blocked(&["describe.stable"], Status::Fail, what));
        }
    }
    let after = (process.threads()?, process.descriptors()?.len());
    if after.0 > before.0 + 1 || after.1 > before.1 + 1 {
        return Err(Stop::fail(format!(
            "it went from {} threads and {} descriptors to {} and {}",
            before.0, before.1, after.0, after.1
        )));
    }
    setup.worker.observe(0, DEADLINE + LENIENCE).map(drop)
}
