//! Whether the plugin's documents keep to the bounds, beyond which the operator refuses them.

use operator_loader::{Method, Payload, ProbeRequest, check_descriptor, check_document};
use operator_plugin_fakes::Manner;

use super::{
    actions::listed,
    check_report::{check_all, texts},
    observe::some_observation,
};
use crate::{
    backends::Mode, case::Case, context::CaseContext, context::READS, verdict::CaseResult,
    verdict::Stop, worker::shown,
};

pub(super) const CASES: [Case; 5] = [
    Case {
        id: "bounds.descriptor",
        expects: "the descriptor keeps to the bounds: its size, names, texts and schemas",
        fix: "compare it with the bounds in the guide of operator-plugin-api",
        run: descriptor,
    },
    Case {
        id: "bounds.observation",
        expects: "an observation keeps to the bounds: its size, depth, lists, names and memory",
        fix: "observe only as much as the bounds allow, and say in the summary what is left out",
        run: observation,
    },
    Case {
        id: "bounds.report",
        expects: "a report keeps to the bounds: its size, depth, and numbers of violations and unknowns",
        fix: "put few numbers into evidence, and report the worst resources where there are too many",
        run: report,
    },
    Case {
        id: "bounds.actions",
        expects: "the list of actions keeps to the bounds: its size, names, descriptions and schemas",
        fix: "compare it with the bounds in the guide of operator-plugin-api",
        run: actions,
    },
    Case {
        id: "bounds.result",
        expects: "the result of an action keeps to the bounds: its size and depth",
        fix: "put only what an inverse needs, and a part of what the subject answered, into details",
        run: result,
    },
];

fn descriptor(context: &CaseContext) -> CaseResult {
    let asked = context
        .loaded()?
        .ask(ProbeRequest::Describe { module: 0 })?;
    match asked.payload {
        Payload::Text(text) => check_descriptor(&text),
        other => Err(format!("describe {}", shown(&other))),
    }
    .map_err(|why| Stop::fail(why).attributed_to(&["describe.valid"]))
}

fn observation(context: &CaseContext) -> CaseResult {
    let (_, text) = some_observation(context)?;
    check_document(Method::Observe, &text)
        .map_err(|why| Stop::fail(why).attributed_to(&["memory.size"]))
}

fn report(context: &CaseContext) -> CaseResult {
    let documents = texts(context)?;
    let mut setup = context.set_up(Mode::Closed)?;
    for payload in check_all(&mut setup.worker, &documents)? {
        if let Payload::Text(text) = payload {
            check_document(Method::Check, &text).map_err(Stop::fail)?;
        }
    }
    Ok(())
}

fn actions(context: &CaseContext) -> CaseResult {
    let text = listed(context).map_err(|stop| stop.attributed_to(&["actions.params-typed"]))?;
    check_document(Method::ListActions, &text).map_err(Stop::fail)
}

fn result(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Agree(READS[0])))?;
    let (calls, _) = setup.calls()?;
    for call in &calls {
        if let Payload::Text(text) = setup.worker.invoke(0, call)?.payload {
            check_document(Method::Invoke, &text).map_err(Stop::fail)?;
        }
    }
    Ok(())
}
