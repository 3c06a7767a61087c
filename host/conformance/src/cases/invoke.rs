//! The effects of invoke. Every backend is a fake.

use std::time::Duration;

use operator_loader::Payload;
use operator_plugin_api::{ActionDefinition, ErrorKind, InvokeRequest, Outcome};
use operator_plugin_fakes::{Exchange, Manner};
use serde_json::{Value, json};

use super::fuzz;
use crate::{
    backends::Mode, case::Case, context::CaseContext, context::DEADLINE, context::LENIENCE,
    context::READS, context::Setup, context::request, samples, samples::InvalidParams,
    verdict::CaseResult, verdict::Status, verdict::Stop, worker::result, worker::shown,
};

pub(super) const CASES: [Case; 12] = [
    Case {
        id: "invoke.unknown-action",
        expects: "an action that is not listed is refused as invalid",
        fix: "return ErrorKind::Invalid for every action that is not listed",
        run: unknown_action,
    },
    Case {
        id: "invoke.missing-param",
        expects: "a call without a required parameter is refused as invalid",
        fix: "use no default for required parameters",
        run: |context| refuses_all(context, missing),
    },
    Case {
        id: "invoke.wrong-type",
        expects: "a parameter of the wrong type is refused as invalid",
        fix: "parse the parameters with Call::params",
        run: |context| refuses_all(context, wrong_type),
    },
    Case {
        id: "invoke.extra-param",
        expects: "a parameter that the schema does not name is refused as invalid",
        fix: "derive #[serde(deny_unknown_fields)] for the parameters",
        run: |context| refuses_all(context, extra),
    },
    Case {
        id: "invoke.out-of-range",
        expects: "a parameter outside the bounds of its schema is refused as invalid",
        fix: "check every bound of the schema in invoke",
        run: |context| refuses_all(context, samples::out_of_range),
    },
    Case {
        id: "invoke.rejects-before-effect",
        expects: "a call that is refused has sent no backend a request for a change",
        fix: "validate every parameter before the first request",
        run: rejects_before_effect,
    },
    Case {
        id: "invoke.idempotent",
        expects: "an action that is declared idempotent requests the same change when it is called again",
        fix: "request a state instead of a step, or do not declare it idempotent",
        run: idempotent,
    },
    Case {
        id: "invoke.deadline",
        expects: "a call whose change is not answered ends within the deadline, with the outcome unknown",
        fix: "limit every request by the deadline, and return Outcome::Unknown once a change was sent",
        run: deadline,
    },
    Case {
        id: "invoke.effect-observable",
        expects: "an action with the outcome done has requested a change or, if it is idempotent, has read the state",
        fix: "return Outcome::Done only if the subject accepted the request",
        run: effect_observable,
    },
    Case {
        id: "invoke.all-listed-callable",
        expects: "every listed action accepts parameters that are valid for its schema",
        fix: "handle every listed action, and state every bound in its schema",
        run: all_listed_callable,
    },
    Case {
        id: "invoke.dry-run",
        expects: "a dry run requests no change from a backend",
        fix: "check Call::dry_run before anything is sent, or do not declare it",
        run: dry_run,
    },
    Case {
        id: "invoke.fuzz",
        expects: "invalid parameters are refused before any request to a backend, and every other call returns an answer",
        fix: "repeat the run with the same --seed and --rounds, and fix the reported round",
        run: fuzz::invoke,
    },
];

type MakeInvalid = fn(&Value, &Value) -> Vec<InvalidParams>;

fn missing(schema: &Value, params: &Value) -> Vec<InvalidParams> {
    let required = schema["required"].as_array().into_iter().flatten();
    let without = required.filter_map(Value::as_str).map(|name| {
        let mut params = params.clone();
        if let Some(members) = params.as_object_mut() {
            members.remove(name);
        }
        let what = format!("no {name}");
        InvalidParams { params, what }
    });
    without.collect()
}

/// One parameter of the wrong type, or another value in place of the object.
fn wrong_type(schema: &Value, params: &Value) -> Vec<InvalidParams> {
    let mut invalid_params = samples::of_wrong_type(schema, params);
    let others = [json!([]), json!("text"), json!(null), json!(7)];
    invalid_params.extend(others.map(|params| InvalidParams {
        what: format!("{params} for parameters"),
        params,
    }));
    invalid_params
}

fn extra(schema: &Value, params: &Value) -> Vec<InvalidParams> {
    if schema["additionalProperties"] != false {
        return Vec::new();
    }
    let mut params = params.clone();
    params["no_such_parameter"] = json!(1);
    let what = "no_such_parameter: 1".to_owned();
    vec![InvalidParams { params, what }]
}

/// Invalid calls, each with what is wrong with it.
fn invalid_params(
    setup: &mut Setup,
    make: MakeInvalid,
) -> Result<Vec<(InvokeRequest, String)>, Stop> {
    let (calls, _) = setup.calls()?;
    let actions = setup.worker.actions(0)?;
    let mut found = Vec::new();
    for call in calls {
        let schema = schema_of(&actions, &call.action);
        for InvalidParams { params, what } in make(schema, &call.params) {
            found.push((request(&call.action, params), what));
        }
    }
    if found.is_empty() {
        return Err(Stop::skip(
            "no action has parameters that can be invalid in this way",
        ));
    }
    Ok(found)
}

fn schema_of<'a>(actions: &'a [ActionDefinition], name: &str) -> &'a Value {
    let action = actions.iter().find(|action| action.name == name);
    action.map_or(&Value::Null, |action| &action.params_schema)
}

/// A plugin whose backends accept every change.
fn agreeable(context: &CaseContext) -> Result<Setup, Stop> {
    context.set_up_with_backends(Mode::As(Manner::Agree(READS[0])))
}

fn unknown_action(context: &CaseContext) -> CaseResult {
    let mut setup = agreeable(context)?;
    for name in ["no_such_action", "", "../etc/passwd", "NO SUCH ACTION"] {
        let payload = setup.worker.invoke(0, &request(name, json!({})))?.payload;
        is_refusal(&payload).map_err(|what| Stop::fail(format!("{name:?}: it {what}")))?;
    }
    Ok(())
}

fn is_refusal(payload: &Payload) -> Result<(), String> {
    match payload.error_kind() {
        Some(ErrorKind::Invalid | ErrorKind::Unsupported) => Ok(()),
        _ => Err(shown(payload)),
    }
}

fn refuses_all(context: &CaseContext, make: MakeInvalid) -> CaseResult {
    let mut setup = agreeable(context)?;
    for (call, what) in invalid_params(&mut setup, make)? {
        let payload = setup.worker.invoke(0, &call)?.payload;
        if payload.error_kind() != Some(ErrorKind::Invalid) {
            let what = format!("`{}` with {what} {}", call.action, shown(&payload));
            return Err(Stop::fail(what));
        }
    }
    Ok(())
}

fn rejects_before_effect(context: &CaseContext) -> CaseResult {
    let mut setup = agreeable(context)?;
    let all: [MakeInvalid; 4] = [missing, wrong_type, extra, samples::out_of_range];
    let mut calls = vec![(
        request("no_such_action", json!({})),
        "an unknown name".to_owned(),
    )];
    for make in all {
        calls.extend(invalid_params(&mut setup, make).unwrap_or_default());
    }
    for reads in READS {
        setup.backends.behave(Manner::Agree(reads));
        for (call, what) in &calls {
            setup.backends.forget();
            let payload = setup.worker.invoke(0, call)?.payload;
            // A call that is not refused is the finding of other cases.
            if is_refusal(&payload).is_ok()
                && let Some(change) = setup.backends.changes().first()
            {
                let line = &change.line;
                let what = format!("`{}` with {what}: it sent `{line:.200}`", call.action);
                return Err(Stop::fail(what));
            }
        }
    }
    Ok(())
}

/// Actions for which a call can be made, as they are declared.
fn callable(setup: &mut Setup) -> Result<Vec<(ActionDefinition, InvokeRequest)>, Stop> {
    let (calls, _) = setup.calls()?;
    let mut actions = setup.worker.actions(0)?;
    let paired = calls.into_iter().filter_map(|call| {
        let place = actions
            .iter()
            .position(|action| action.name == call.action)?;
        Some((actions.remove(place), call))
    });
    Ok(paired.collect())
}

fn asked(changes: &[Exchange]) -> Vec<(String, Vec<u8>)> {
    let asked = changes.iter();
    asked
        .map(|change| (change.line.clone(), change.body.clone()))
        .collect()
}

fn idempotent(context: &CaseContext) -> CaseResult {
    let mut setup = agreeable(context)?;
    let mut tried = 0;
    for (action, call) in callable(&mut setup)? {
        if !action.idempotent
            || !setup.until_changed(Manner::Agree, |b| b.invoke(0, &call).map(drop))?
        {
            continue;
        }
        tried += 1;
        // The call before was a warm-up: it may have read something first.
        let mut seen = Vec::new();
        for _ in 0..2 {
            setup.backends.forget();
            let payload = setup.worker.invoke(0, &call)?.payload;
            let outcome = result(payload)?.outcome;
            seen.push((outcome, asked(&setup.backends.changes())));
        }
        if seen[0] != seen[1] {
            let first = |place: usize| seen[place].1.first().map_or("nothing", |(line, _)| line);
            return Err(Stop::fail(format!(
                "`{}` requested other changes the second time: `{:.100}` and `{:.100}`, outcomes {:?} and {:?}",
                action.name,
                first(0),
                first(1),
                seen[0].0,
                seen[1].0
            )));
        }
    }
    if tried == 0 {
        return Err(Stop::skip(
            "no idempotent action requests a change from a fake backend",
        ));
    }
    Ok(())
}

fn deadline(context: &CaseContext) -> CaseResult {
    let mut setup = agreeable(context)?;
    let mut tried = 0;
    for (action, call) in callable(&mut setup)? {
        let mut answer = None;
        let was_sent = setup.until_changed(Manner::StallChanges, |worker| {
            let given = worker.invoke(0, &call).map_err(|stop| match stop {
                Stop::Blocked {
                    status: Status::Hang,
                    ..
                } => stop.attributed_here(),
                other => other,
            })?;
            answer = Some(given);
            Ok(())
        })?;
        let Some(answer) = answer else { continue };
        let about = |what: String| Err(Stop::fail(format!("`{}`: {what}", action.name)));
        let took = Duration::from_micros(answer.took_us);
        if took > DEADLINE + LENIENCE {
            let limit = DEADLINE.as_millis();
            return about(format!(
                "it took {} ms, its deadline was {limit} ms",
                took.as_millis()
            ));
        }
        tried += u32::from(was_sent);
        if was_sent && !is_unknown(&answer.payload)? {
            return about(format!(
                "a change was sent and not answered, but it {}",
                shown(&answer.payload)
            ));
        }
    }
    if tried == 0 {
        return Err(Stop::skip(
            "no action requests a change from a fake backend",
        ));
    }
    Ok(())
}

/// Whether an answer leaves open what was done.
fn is_unknown(payload: &Payload) -> Result<bool, Stop> {
    use ErrorKind::{Config, Invalid, Refused, Unsupported};
    Ok(match payload.error_kind() {
        Some(Config | Invalid | Unsupported | Refused) => false,
        Some(_) => true,
        None => result(payload.clone())?.outcome == Outcome::Unknown,
    })
}

fn effect_observable(context: &CaseContext) -> CaseResult {
    let mut setup = agreeable(context)?;
    let mut done = 0;
    for (action, call) in callable(&mut setup)? {
        for reads in READS {
            setup.backends.behave(Manner::Agree(reads));
            setup.backends.forget();
            let payload = setup.worker.invoke(0, &call)?.payload;
            if payload.error_kind().is_some() || result(payload)?.outcome != Outcome::Done {
                continue;
            }
            done += 1;
            let exchanges = setup.backends.exchanges();
            // Whether a request on plain TCP is a change is not known.
            let asked = exchanges.iter().any(|e| e.changes() != Some(false));
            // An idempotent action may read the state and find nothing to do.
            let found_done = action.idempotent && !exchanges.is_empty();
            if !asked && !found_done {
                let what = format!("`{}` returned done and requested nothing", action.name);
                return Err(Stop::fail(what));
            }
        }
    }
    if done == 0 {
        return Err(Stop::skip("no action returns done with fake backends"));
    }
    Ok(())
}

fn all_listed_callable(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::Closed)?;
    let (calls, without) = setup.calls()?;
    for call in calls {
        let payload = setup.worker.invoke(0, &call)?.payload;
        if let Some(ErrorKind::Invalid | ErrorKind::Internal | ErrorKind::Config) =
            payload.error_kind()
        {
            let params = call.params.to_string();
            let what = format!("`{}` with {params:.200} {}", call.action, shown(&payload));
            return Err(Stop::fail(what));
        }
        if payload.error_kind().is_none() && result(payload)?.outcome == Outcome::Done {
            let what = format!(
                "`{}` returned done while every backend was unreachable",
                call.action
            );
            return Err(Stop::blocked(
                &["invoke.effect-observable"],
                Status::Fail,
                what,
            ));
        }
    }
    if without.is_empty() {
        return Ok(());
    }
    let names = without.join(", ");
    Err(Stop::skip(format!(
        "no parameters could be made for {names}; give their schemas `examples`"
    )))
}

fn dry_run(context: &CaseContext) -> CaseResult {
    let mut setup = agreeable(context)?;
    let mut tried = 0;
    for (action, mut call) in callable(&mut setup)? {
        if !action.dry_run {
            continue;
        }
        tried += 1;
        call.dry_run = true;
        for reads in READS {
            setup.backends.behave(Manner::Agree(reads));
            setup.worker.invoke(0, &call)?;
        }
        if let Some(change) = setup.backends.changes().first() {
            let what = format!("a dry run of `{}` sent `{:.200}`", action.name, change.line);
            return Err(Stop::fail(what));
        }
    }
    if tried == 0 {
        return Err(Stop::skip("no action declares a dry run"));
    }
    Ok(())
}
