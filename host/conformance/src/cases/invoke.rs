//! What invoke does, and what it does not do. Every backend is a fake.

use std::time::Duration;

use operator_loader::Payload;
use operator_plugin_api::{ActionDefinition, ErrorKind, InvokeRequest, Outcome};
use operator_plugin_fakes::{Exchange, Manner};
use serde_json::{Value, json};

use super::fuzz;
use crate::{
    backends::Mode, bench::result, bench::shown, case::Case, lab::DEADLINE, lab::LENIENCE,
    lab::Lab, lab::READS, lab::Ready, lab::request, samples, samples::Misfit, verdict::Ran,
    verdict::Status, verdict::Stop,
};

pub(super) const CASES: [Case; 12] = [
    Case {
        id: "invoke.unknown-action",
        expects: "an action that is not listed is refused as invalid",
        fix: "answer ErrorKind::Invalid for every name that actions does not list",
        run: unknown_action,
    },
    Case {
        id: "invoke.missing-param",
        expects: "a call without a required parameter is refused as invalid",
        fix: "give required parameters no default",
        run: |lab| refuses_all(lab, missing),
    },
    Case {
        id: "invoke.wrong-type",
        expects: "a parameter of another type is refused as invalid",
        fix: "parse the parameters with Call::params",
        run: |lab| refuses_all(lab, wrong_type),
    },
    Case {
        id: "invoke.extra-param",
        expects: "a parameter that the schema does not name is refused as invalid",
        fix: "derive #[serde(deny_unknown_fields)] for the parameters",
        run: |lab| refuses_all(lab, extra),
    },
    Case {
        id: "invoke.out-of-range",
        expects: "a parameter beyond the bounds of its schema is refused as invalid",
        fix: "check in invoke every bound that the schema states",
        run: |lab| refuses_all(lab, samples::out_of_range),
    },
    Case {
        id: "invoke.rejects-before-effect",
        expects: "a call that is refused has asked no backend for a change",
        fix: "prove every parameter before the first request",
        run: rejects_before_effect,
    },
    Case {
        id: "invoke.idempotent",
        expects: "an action that says it is idempotent asks for the same change when it is called again",
        fix: "ask for a state and not for a step, or do not declare it idempotent",
        run: idempotent,
    },
    Case {
        id: "invoke.deadline",
        expects: "a change that is not answered in time ends within the deadline, with an outcome of unknown",
        fix: "bound every request by the deadline, and answer Outcome::Unknown once a change was sent",
        run: deadline,
    },
    Case {
        id: "invoke.effect-observable",
        expects: "an action that says done has asked a backend for a change, or, where it is idempotent, has looked",
        fix: "do not answer Outcome::Done unless the subject took the request",
        run: effect_observable,
    },
    Case {
        id: "invoke.all-listed-callable",
        expects: "every listed action takes parameters that fit its schema",
        fix: "handle every name that actions lists, and state every bound in its schema",
        run: all_listed_callable,
    },
    Case {
        id: "invoke.dry-run",
        expects: "a dry run asks no backend for a change",
        fix: "look at Call::dry_run before anything is sent, or do not declare it",
        run: dry_run,
    },
    Case {
        id: "invoke.fuzz",
        expects: "whatever an action is given, what does not fit is refused before any backend is asked, and the rest answered",
        fix: "run the same --seed and --rounds again, and fix what the round shows",
        run: fuzz::invoke,
    },
];

type Misfits = fn(&Value, &Value) -> Vec<Misfit>;

fn missing(schema: &Value, params: &Value) -> Vec<Misfit> {
    let required = schema["required"].as_array().into_iter().flatten();
    let without = required.filter_map(Value::as_str).map(|name| {
        let mut params = params.clone();
        if let Some(members) = params.as_object_mut() {
            members.remove(name);
        }
        let what = format!("no {name}");
        Misfit { params, what }
    });
    without.collect()
}

/// One parameter of another type, or something else in place of all of them.
fn wrong_type(schema: &Value, params: &Value) -> Vec<Misfit> {
    let mut misfits = samples::of_wrong_type(schema, params);
    let others = [json!([]), json!("text"), json!(null), json!(7)];
    misfits.extend(others.map(|params| Misfit {
        what: format!("{params} for parameters"),
        params,
    }));
    misfits
}

fn extra(schema: &Value, params: &Value) -> Vec<Misfit> {
    if schema["additionalProperties"] != false {
        return Vec::new();
    }
    let mut params = params.clone();
    params["no_such_parameter"] = json!(1);
    let what = "no_such_parameter: 1".to_owned();
    vec![Misfit { params, what }]
}

/// Calls that do not fit, with what is wrong with each.
fn misfits(ready: &mut Ready, make: Misfits) -> Result<Vec<(InvokeRequest, String)>, Stop> {
    let (calls, _) = ready.calls()?;
    let actions = ready.bench.actions(0)?;
    let mut found = Vec::new();
    for call in calls {
        let schema = schema_of(&actions, &call.action);
        for Misfit { params, what } in make(schema, &call.params) {
            found.push((request(&call.action, params), what));
        }
    }
    if found.is_empty() {
        return Err(Stop::skip(
            "no action has parameters that could be wrong in this way",
        ));
    }
    Ok(found)
}

fn schema_of<'a>(actions: &'a [ActionDefinition], name: &str) -> &'a Value {
    let action = actions.iter().find(|action| action.name == name);
    action.map_or(&Value::Null, |action| &action.params_schema)
}

/// A plugin whose backends take everything.
fn agreeable(lab: &Lab) -> Result<Ready, Stop> {
    lab.ready_with_backends(Mode::As(Manner::Agree(READS[0])))
}

fn unknown_action(lab: &Lab) -> Ran {
    let mut ready = agreeable(lab)?;
    for name in ["no_such_action", "", "../etc/passwd", "NO SUCH ACTION"] {
        let payload = ready.bench.invoke(0, &request(name, json!({})))?.payload;
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

fn refuses_all(lab: &Lab, make: Misfits) -> Ran {
    let mut ready = agreeable(lab)?;
    for (call, what) in misfits(&mut ready, make)? {
        let payload = ready.bench.invoke(0, &call)?.payload;
        if payload.error_kind() != Some(ErrorKind::Invalid) {
            let what = format!("`{}` with {what} {}", call.action, shown(&payload));
            return Err(Stop::fail(what));
        }
    }
    Ok(())
}

fn rejects_before_effect(lab: &Lab) -> Ran {
    let mut ready = agreeable(lab)?;
    let all: [Misfits; 4] = [missing, wrong_type, extra, samples::out_of_range];
    let mut calls = vec![(
        request("no_such_action", json!({})),
        "an unknown name".to_owned(),
    )];
    for make in all {
        calls.extend(misfits(&mut ready, make).unwrap_or_default());
    }
    for reads in READS {
        ready.backends.behave(Manner::Agree(reads));
        for (call, what) in &calls {
            ready.backends.forget();
            let payload = ready.bench.invoke(0, call)?.payload;
            // What is not refused is the business of other cases.
            if is_refusal(&payload).is_ok()
                && let Some(change) = ready.backends.changes().first()
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
fn callable(ready: &mut Ready) -> Result<Vec<(ActionDefinition, InvokeRequest)>, Stop> {
    let (calls, _) = ready.calls()?;
    let mut actions = ready.bench.actions(0)?;
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

fn idempotent(lab: &Lab) -> Ran {
    let mut ready = agreeable(lab)?;
    let mut tried = 0;
    for (action, call) in callable(&mut ready)? {
        if !action.idempotent
            || !ready.until_changed(Manner::Agree, |b| b.invoke(0, &call).map(drop))?
        {
            continue;
        }
        tried += 1;
        // The first one is a warm-up: it may have had to find something out.
        let mut seen = Vec::new();
        for _ in 0..2 {
            ready.backends.forget();
            let payload = ready.bench.invoke(0, &call)?.payload;
            let outcome = result(payload)?.outcome;
            seen.push((outcome, asked(&ready.backends.changes())));
        }
        if seen[0] != seen[1] {
            let first = |place: usize| seen[place].1.first().map_or("nothing", |(line, _)| line);
            return Err(Stop::fail(format!(
                "`{}` asked for other changes the second time: `{:.100}` and `{:.100}`, outcomes {:?} and {:?}",
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
            "no idempotent action asks a fake backend for a change",
        ));
    }
    Ok(())
}

fn deadline(lab: &Lab) -> Ran {
    let mut ready = agreeable(lab)?;
    let mut tried = 0;
    for (action, call) in callable(&mut ready)? {
        let mut answer = None;
        let was_sent = ready.until_changed(Manner::StallChanges, |bench| {
            let given = bench.invoke(0, &call).map_err(|stop| match stop {
                Stop::Blocked {
                    status: Status::Hang,
                    ..
                } => stop.of_this(),
                other => other,
            })?;
            answer = Some(given);
            Ok(())
        })?;
        let Some(answer) = answer else { continue };
        let about = |what: String| Err(Stop::fail(format!("`{}`: {what}", action.name)));
        let took = Duration::from_micros(answer.took_us);
        if took > DEADLINE + LENIENCE {
            let told = DEADLINE.as_millis();
            return about(format!(
                "it took {} ms, its deadline was {told} ms",
                took.as_millis()
            ));
        }
        tried += u32::from(was_sent);
        if was_sent && !is_unknown(&answer.payload)? {
            return about(format!(
                "a change was sent and not answered, and it {}",
                shown(&answer.payload)
            ));
        }
    }
    if tried == 0 {
        return Err(Stop::skip("no action asks a fake backend for a change"));
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

fn effect_observable(lab: &Lab) -> Ran {
    let mut ready = agreeable(lab)?;
    let mut done = 0;
    for (action, call) in callable(&mut ready)? {
        for reads in READS {
            ready.backends.behave(Manner::Agree(reads));
            ready.backends.forget();
            let payload = ready.bench.invoke(0, &call)?.payload;
            if payload.error_kind().is_some() || result(payload)?.outcome != Outcome::Done {
                continue;
            }
            done += 1;
            let exchanges = ready.backends.exchanges();
            // Of plain TCP it cannot be told what was asked.
            let asked = exchanges.iter().any(|e| e.changes() != Some(false));
            // What is idempotent may find that nothing is left to do, if it has looked.
            let found_done = action.idempotent && !exchanges.is_empty();
            if !asked && !found_done {
                let what = format!(
                    "`{}` says that it is done, and asked for nothing",
                    action.name
                );
                return Err(Stop::fail(what));
            }
        }
    }
    if done == 0 {
        return Err(Stop::skip("no action is ever done with fake backends"));
    }
    Ok(())
}

fn all_listed_callable(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::Closed)?;
    let (calls, without) = ready.calls()?;
    for call in calls {
        let payload = ready.bench.invoke(0, &call)?.payload;
        if let Some(ErrorKind::Invalid | ErrorKind::Internal | ErrorKind::Config) =
            payload.error_kind()
        {
            let params = call.params.to_string();
            let what = format!("`{}` with {params:.200} {}", call.action, shown(&payload));
            return Err(Stop::fail(what));
        }
        if payload.error_kind().is_none() && result(payload)?.outcome == Outcome::Done {
            let what = format!(
                "`{}` says that it is done while every backend is away",
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

fn dry_run(lab: &Lab) -> Ran {
    let mut ready = agreeable(lab)?;
    let mut tried = 0;
    for (action, mut call) in callable(&mut ready)? {
        if !action.dry_run {
            continue;
        }
        tried += 1;
        call.dry_run = true;
        for reads in READS {
            ready.backends.behave(Manner::Agree(reads));
            ready.bench.invoke(0, &call)?;
        }
        if let Some(change) = ready.backends.changes().first() {
            let what = format!("a dry run of `{}` sent `{:.200}`", action.name, change.line);
            return Err(Stop::fail(what));
        }
    }
    if tried == 0 {
        return Err(Stop::skip("no action declares a dry run"));
    }
    Ok(())
}
