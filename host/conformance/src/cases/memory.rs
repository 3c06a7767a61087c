//! What a plugin knows of earlier observations: over restarts, and when a source no longer answers.

use operator_loader::Payload;
use operator_plugin_api::{
    CheckReport, Descriptor, MAX_MEMORY, Observation, Violation, document::Resource,
};
use operator_plugin_fakes::Manner;
use serde_json::Value;

use crate::{
    backends::Mode,
    case::Case,
    context::{CaseContext, DEADLINE, READS, Setup},
    verdict::{CaseResult, Stop},
    worker::{self, document},
};

pub(super) const CASES: [Case; 4] = [
    Case {
        id: "memory.size",
        expects: "the memory of an observation has at most 64 KiB, no matter how often it was observed",
        fix: "keep in `memory` only what must be known again, and forget the oldest of it",
        run: size,
    },
    Case {
        id: "memory.restart",
        expects: "a new instance with the memory of an old one lists every resource that the old one lists, and holds nothing \
                  for healthy that the old one reports as violated",
        fix: "implement observe_again, and put everything into `memory` that later observations are made of",
        run: restart,
    },
    Case {
        id: "memory.forgotten",
        expects: "a new instance without a memory reports as unknown, and not as healthy, what was violated before and cannot \
                  be read",
        fix: "report as unknown what was never read; an empty list that nobody answered is not a list",
        run: forgotten,
    },
    Case {
        id: "memory.vanished-source",
        expects: "what was violated becomes unknown, and not healthy, when its source answers no longer or with garbage",
        fix: "judge by what this observation has read, and report the rest as unknown",
        run: vanished_source,
    },
];

/// How a source answers that has answered well before.
const VANISHED: [Manner; 4] = [
    Manner::Error500,
    Manner::Html,
    Manner::Nonsense,
    Manner::Refuse,
];
/// Long enough to find a memory that grows with every observation.
const OBSERVATIONS: usize = 30;

/// One observation, judged.
struct Judged {
    observation: Observation,
    report: CheckReport,
}

impl Judged {
    /// Whether it says that an invariant holds.
    fn holds(&self, violation: &Violation, descriptor: &Descriptor) -> bool {
        let (invariant, resource) = (&violation.invariant, &violation.resource);
        let is_violated = self
            .report
            .violations
            .iter()
            .any(|one| one.invariant == *invariant && one.resource == *resource);
        let is_unknown = self.report.unknown.iter().any(|one| {
            one.invariant == *invariant && (one.resource.is_none() || one.resource == *resource)
        });
        let mut declared = descriptor.invariants.iter();
        let declared = declared.find(|one| one.name == *invariant);
        let is_unlisted = match (declared.and_then(|one| one.on.as_ref()), resource) {
            (Some(kind), Some(resource)) => !self.lists(kind, resource),
            _ => false,
        };
        !is_violated && !is_unknown && !is_unlisted
    }

    fn lists(&self, kind: &str, id: &str) -> bool {
        let is_it = |one: &Resource| one.kind == kind && one.id == id;
        self.observation.resources.iter().any(is_it)
    }
}

/// Observes and judges; nothing where the plugin reports that nothing could be read.
fn look(setup: &mut Setup, instance: u32, memory: Option<&Value>) -> Result<Option<Judged>, Stop> {
    let ask = worker::observe_again(instance, DEADLINE, memory.cloned());
    let Payload::Text(text) = setup.worker.ask(ask)?.payload else {
        return Ok(None);
    };
    let payload = setup.worker.check(instance, &text)?;
    let observation = document("observe", Payload::Text(text))
        .map_err(|stop| stop.attributed_to(&["observe.json-object"]))?;
    let report = document("check", payload)
        .map_err(|stop| stop.attributed_to(&["check.violation-shape"]))?;
    Ok(Some(Judged {
        observation,
        report,
    }))
}

fn size(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Agree(READS[0])))?;
    let mut memory = None;
    for manner in READS
        .map(Manner::Agree)
        .into_iter()
        .cycle()
        .take(OBSERVATIONS)
    {
        setup.backends.behave(manner);
        let judged = look(&mut setup, 0, memory.as_ref())?;
        let latest = judged.and_then(|judged| judged.observation.memory);
        let length = latest.as_ref().map_or(0, |memory| memory.to_string().len());
        if length > MAX_MEMORY {
            return Err(Stop::fail(format!(
                "the memory of an observation has {length} bytes"
            )));
        }
        memory = latest.or(memory);
    }
    Ok(())
}

/// Has an old and another instance observe sources that have vanished, and compares what they say.
///
/// `number` is of the other instance, `is_given` whether that has the memory of the old one.
fn compare(
    context: &CaseContext,
    number: u32,
    is_given: bool,
    agree: impl Fn(&Judged, &Judged, &Judged, &Descriptor) -> CaseResult,
) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Agree(READS[0])))?;
    let config = setup.backends.config.clone();
    let mut next = number;
    for reads in READS {
        for vanished in VANISHED {
            setup.backends.behave(Manner::Agree(reads));
            let Some(good) = look(&mut setup, 0, None)? else {
                continue;
            };
            setup.backends.behave(vanished);
            let memory = good.observation.memory.clone();
            let Some(old) = look(&mut setup, 0, memory.as_ref())? else {
                continue;
            };
            let memory = old.observation.memory.clone().or(memory);
            if number > 0 {
                setup.worker.create(next, &config)?;
            }
            let given = memory.as_ref().filter(|_| is_given);
            let other = look(&mut setup, next, given)?;
            if number > 0 {
                setup.worker.drop_instance(next)?;
                next += 1;
            }
            let Some(other) = other else { continue };
            let about = |stop: Stop| stop.about(&format!("{vanished:?} after {reads:?}"));
            agree(&good, &old, &other, &setup.descriptor).map_err(about)?;
        }
    }
    Ok(())
}

/// That nothing holds for the later observation that the earlier one reports as violated.
fn none_healed(earlier: &Judged, later: &Judged, descriptor: &Descriptor) -> CaseResult {
    let mut violations = earlier.report.violations.iter();
    match violations.find(|violation| later.holds(violation, descriptor)) {
        None => Ok(()),
        Some(healed) => {
            let resource = healed.resource.as_deref().unwrap_or_default();
            let name = format!("{} {resource}", healed.invariant);
            let name = name.trim();
            Err(Stop::fail(format!(
                "`{name}` was violated, and holds since its source does not answer"
            )))
        }
    }
}

fn restart(context: &CaseContext) -> CaseResult {
    compare(context, 1, true, |_, old, new, descriptor| {
        none_healed(old, new, descriptor)?;
        let mut listed = old.observation.resources.iter();
        match listed.find(|one| !new.lists(&one.kind, &one.id)) {
            None => Ok(()),
            Some(lost) => Err(Stop::fail(format!(
                "the {} {} is listed by the instance that has seen it, and not by a new one with its memory",
                lost.kind, lost.id
            ))),
        }
    })
}

fn forgotten(context: &CaseContext) -> CaseResult {
    compare(context, 1, false, |good, _, new, descriptor| {
        none_healed(good, new, descriptor)
    })
}

fn vanished_source(context: &CaseContext) -> CaseResult {
    compare(context, 0, true, |good, old, _, descriptor| {
        none_healed(good, old, descriptor)
    })
}
