//! Fuzzing. A round can be repeated by its number and the seed.

use operator_loader::Payload;
use operator_plugin_api::{ErrorKind, InvokeRequest, Outcome};
use operator_plugin_fakes::Manner;
use serde_json::{Value, json};

use super::check_report::{holds, is_declared, judged};
use crate::{
    backends::Mode, context::CaseContext, context::Setup, context::request, random::Random,
    samples::anything, samples::places, samples::remove, samples::validator, verdict::CaseResult,
    verdict::Status, verdict::Stop, worker::Worker, worker::result, worker::shown,
};

/// The cases that test single faults in parameters.
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

fn in_round(context: &CaseContext, round: u32) -> impl Fn(Stop) -> Stop {
    let seed = context.input.seed;
    move |stop| match &stop {
        Stop::Ended(Status::Error, _)
        | Stop::Blocked {
            status: Status::Error,
            ..
        } => stop,
        _ => stop.about(&format!("seed {seed}, round {round}")),
    }
}

/// One changed observation.
struct Mutant {
    text: String,
    /// The invariant that was violated, if the mutation only removed fields.
    still_broken: Option<String>,
}

pub(super) fn check(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let bases = bases(context, &mut setup)?;
    let schema = setup.descriptor.observation_schema.clone();
    for round in 0..context.input.rounds {
        let about = in_round(context, round);
        let mutant = mutant(&mut Random::new(context.input.seed, round), &bases, &schema);
        let payload = setup.worker.check(0, &mutant.text).map_err(&about)?;
        let report = judged(&setup.descriptor, payload).map_err(&about)?;
        if let (Some(invariant), Some(report)) = (mutant.still_broken, report)
            && holds(&report, &invariant)
        {
            let what = format!("{invariant} holds in {:.300}", mutant.text);
            return Err(about(
                Stop::fail(what).attributed_to(&["check.wrong-shape"]),
            ));
        }
    }
    Ok(())
}

/// Observations, and the invariant that each violates.
fn bases(context: &CaseContext, setup: &mut Setup) -> Result<Vec<(Option<String>, Value)>, Stop> {
    let healthy = context.golden.healthy.values();
    let mut bases: Vec<_> = healthy.map(|document| (None, document.clone())).collect();
    for (invariant, document) in &context.golden.violations {
        let is_violated = !holds(&setup.worker.report(0, document)?, invariant);
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
        // Another case tests text that is not JSON.
        still_broken = None;
    }
    Mutant { text, still_broken }
}

pub(super) fn invoke(context: &CaseContext) -> CaseResult {
    invoke_rounds(context).map_err(|stop| stop.attributed_to(&SINGLE_FAULTS))
}

fn invoke_rounds(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Refuse))?;
    let (calls, _) = setup.calls()?;
    let actions = setup.worker.actions(0)?;
    setup.backends.forget();
    for round in 0..context.input.rounds {
        let about = in_round(context, round);
        let mut random = Random::new(!context.input.seed, round);
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
        answers(&mut setup.worker, &call, fits).map_err(&about)?;
        if !fits && !setup.backends.exchanges().is_empty() {
            let what = format!(
                "it sent a request to a backend for {:.200}",
                call.params.to_string()
            );
            return Err(about(Stop::fail(what)));
        }
        setup.backends.forget();
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

/// Invalid parameters are refused; valid ones get any typed answer except success, since every backend refuses.
fn answers(worker: &mut Worker, call: &InvokeRequest, fits: bool) -> CaseResult {
    let payload = worker.invoke(0, call)?.payload;
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
