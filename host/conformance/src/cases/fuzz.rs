//! Rounds of chance, each of which can be repeated by its number and the seed.

use operator_loader::Payload;
use operator_plugin_api::{ErrorKind, InvokeRequest, Outcome};
use operator_plugin_fakes::Manner;
use serde_json::{Value, json};

use super::{
    check::judged,
    strange::{holds, is_declared, is_fault},
};
use crate::{
    backends::Mode, bench::Bench, bench::result, bench::shown, lab::Lab, lab::Ready, lab::request,
    random::Random, samples::anything, samples::places, samples::remove, samples::validator,
    verdict::Ran, verdict::Stop,
};

/// The cases that put single faults of parameters to the plugin.
const SINGLE_FAULTS: [&str; 6] = [
    "invoke.missing-param",
    "invoke.wrong-type",
    "invoke.extra-param",
    "invoke.out-of-range",
    "invoke.rejects-before-effect",
    "invoke.effect-observable",
];
/// The most changes in one round.
const MOST_CHANGES: usize = 4;

fn in_round(lab: &Lab, round: u32) -> impl Fn(Stop) -> Stop {
    let seed = lab.order.seed;
    move |stop| {
        if is_fault(&stop) {
            stop.about(&format!("seed {seed}, round {round}"))
        } else {
            stop
        }
    }
}

/// One changed observation.
struct Mutant {
    text: String,
    /// The invariant that was violated, and of which only knowledge was taken away.
    still_broken: Option<String>,
}

pub(super) fn check(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let bases = bases(lab, &mut ready)?;
    let schema = ready.descriptor.observation_schema.clone();
    for round in 0..lab.order.rounds {
        let about = in_round(lab, round);
        let mutant = mutant(&mut Random::new(lab.order.seed, round), &bases, &schema);
        let payload = ready.bench.check(0, &mutant.text).map_err(&about)?;
        let report = judged(&ready.descriptor, payload).map_err(&about)?;
        if let (Some(invariant), Some(report)) = (mutant.still_broken, report)
            && holds(&report, &invariant)
        {
            let what = format!("it calls {invariant} healthy in {:.300}", mutant.text);
            return Err(about(Stop::fail(what).of_another(&["check.wrong-shape"])));
        }
    }
    Ok(())
}

/// Observations, and the invariant that each violates.
fn bases(lab: &Lab, ready: &mut Ready) -> Result<Vec<(Option<String>, Value)>, Stop> {
    let healthy = lab.golden.healthy.values();
    let mut bases: Vec<_> = healthy.map(|document| (None, document.clone())).collect();
    for (invariant, document) in &lab.golden.violations {
        let is_violated = !holds(&ready.bench.report(0, document)?, invariant);
        bases.push((is_violated.then(|| invariant.clone()), document.clone()));
    }
    if bases.is_empty() {
        bases.push((None, json!({"observed_at_ms": 0, "data": {}})));
    }
    Ok(bases)
}

fn mutant(random: &mut Random, bases: &[(Option<String>, Value)], schema: &Value) -> Mutant {
    let (invariant, document) = random.pick(bases).cloned().unwrap_or_default();
    let mut changed = document;
    let mut still_broken = invariant;
    for _ in 0..=random.below(MOST_CHANGES) {
        let places = places(&changed);
        let Some(place) = random.pick(&places) else {
            break;
        };
        if random.below(2) == 0 {
            if !is_declared(schema, place) {
                still_broken = None;
            }
            remove(&mut changed, place);
        } else {
            still_broken = None;
            if let Some(there) = changed.pointer_mut(place) {
                *there = anything(random);
            }
        }
    }
    let mut text = changed.to_string();
    if random.below(16) == 0 {
        let cut = text.floor_char_boundary(random.below(text.len()));
        text.truncate(cut);
        // Now it is the whole that is not known, which another case asks.
        still_broken = None;
    }
    Mutant { text, still_broken }
}

pub(super) fn invoke(lab: &Lab) -> Ran {
    invoke_rounds(lab).map_err(|stop| stop.of_another(&SINGLE_FAULTS))
}

fn invoke_rounds(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::As(Manner::Refuse))?;
    let (calls, _) = ready.calls()?;
    let actions = ready.bench.actions(0)?;
    ready.backends.forget();
    for round in 0..lab.order.rounds {
        let about = in_round(lab, round);
        let mut random = Random::new(!lab.order.seed, round);
        let Some(call) = random.pick(&calls) else {
            break;
        };
        let call = InvokeRequest {
            params: random_params(&mut random, &call.params),
            ..request(&call.action, Value::Null)
        };
        let action = actions.iter().find(|action| action.name == call.action);
        let fits = action
            .and_then(|action| validator(&action.params_schema))
            .is_some_and(|validator| validator.is_valid(&call.params));
        answers(&mut ready.bench, &call, fits).map_err(&about)?;
        if !fits && !ready.backends.exchanges().is_empty() {
            let what = format!("it asked a backend for {:.200}", call.params.to_string());
            return Err(about(Stop::fail(what)));
        }
        ready.backends.forget();
    }
    Ok(())
}

fn random_params(random: &mut Random, params: &Value) -> Value {
    let mut params = params.clone();
    for _ in 0..=random.below(2) {
        let places = places(&params);
        match (random.below(4), random.pick(&places)) {
            (0, _) => params["no_such_parameter"] = anything(random),
            (1, Some(place)) => {
                remove(&mut params, place);
            }
            (_, Some(place)) => {
                if let Some(there) = params.pointer_mut(place) {
                    *there = anything(random);
                }
            }
            (_, None) => return anything(random),
        }
        if !params.is_object() {
            break;
        }
    }
    params
}

/// What does not fit is refused as invalid; what fits gets any honest answer but success, since every backend refuses.
fn answers(bench: &mut Bench, call: &InvokeRequest, fits: bool) -> Ran {
    let payload = bench.invoke(0, call)?.payload;
    let wrong = |payload: &Payload| {
        let params = call.params.to_string();
        Err(Stop::fail(format!(
            "`{}` with {params:.200} {}",
            call.action,
            shown(payload)
        )))
    };
    match payload.error_kind() {
        Some(ErrorKind::Panic | ErrorKind::Internal) => wrong(&payload),
        Some(ErrorKind::Invalid | ErrorKind::Unsupported) => Ok(()),
        Some(_) if fits => Ok(()),
        None if fits => {
            let outcome = result(payload.clone())?.outcome;
            if outcome == Outcome::Done {
                wrong(&payload)
            } else {
                Ok(())
            }
        }
        _ => wrong(&payload),
    }
}
