//! Whether the operator can open the file, and the effects of opening it.

use std::{
    fs,
    time::{Duration, Instant},
};

use operator_loader::{LoadErrorKind, Method, Payload, Plugin, examine};
use operator_plugin_api::{CheckReport, Observation, manifest::Manifest};
use serde_json::{Value, json};

use crate::{
    backends::Mode, case::Case, context::CaseContext, verdict::CaseResult, verdict::Status,
    verdict::Stop, worker::Worker, worker::document, worker::method, worker::shown,
};

pub(super) const CASES: [Case; 12] = [
    Case {
        id: "load.file-integrity",
        expects: "the file is a complete shared library for this machine, and a damaged copy is refused before it is opened",
        fix: "build it with crate-type \"cdylib\" for this target, and copy it completely",
        run: file_integrity,
    },
    Case {
        id: "load.manifest",
        expects: "the file carries a manifest that names plugin, version, ABI, SDK, compiler and target",
        fix: "use export_subject! of operator-plugin-api, and do not strip its section",
        run: manifest,
    },
    Case {
        id: "load.symbol",
        expects: "the file exports the root module of an operator plugin",
        fix: "use export_subject! once, and link without a version script",
        run: symbol,
    },
    Case {
        id: "load.abi-major",
        expects: "the plugin is built for this operator's ABI, and a copy that declares another major version is refused",
        fix: "build it with operator-plugin-api 1.x",
        run: abi_major,
    },
    Case {
        id: "load.panic-strategy",
        expects: "the plugin unwinds when it panics, and a copy that declares to abort is refused",
        fix: "build it with panic = \"unwind\"",
        run: panic_strategy,
    },
    Case {
        id: "load.undefined-symbol",
        expects: "the dynamic linker finds every symbol and library that the plugin needs",
        fix: "link the missing library statically, or install it",
        run: undefined_symbol,
    },
    Case {
        id: "load.layout",
        expects: "the root module loads and has the types of ABI v1",
        fix: "build it with an unchanged operator-plugin-api 1.x",
        run: layout,
    },
    Case {
        id: "load.constructor-panic",
        expects: "opening the library neither panics nor ends the process",
        fix: "move work from constructors and statics into create",
        run: constructor_panic,
    },
    Case {
        id: "load.time",
        expects: "opening the library takes less than two seconds",
        fix: "move work from constructors and statics into create",
        run: time,
    },
    Case {
        id: "load.no-side-effects",
        expects: "opening the library and describe start no thread, open no descriptor, print nothing and leave the environment as it is",
        fix: "start it in create or observe instead",
        run: no_side_effects,
    },
    Case {
        id: "load.old-plugin-loads",
        expects: "requests and observations of a later operator, with unknown fields, are accepted",
        fix: "ignore unknown fields of requests and observations; the SDK does",
        run: later_operator,
    },
    Case {
        id: "load.new-plugin-loads",
        expects: "requests and observations of an earlier operator, without optional fields, are accepted",
        fix: "use a default for the fields that are optional in ABI 1.0; the SDK does",
        run: earlier_operator,
    },
];

/// How long opening may take.
const LOAD_TIME: Duration = Duration::from_secs(2);

/// That the file was not refused for this reason.
fn not_refused(context: &CaseContext, refusal: LoadErrorKind) -> Result<&Plugin, Stop> {
    match &context.input.plugin {
        Err((found, why)) if *found == refusal => Err(Stop::fail(why.clone())),
        _ => context.plugin(),
    }
}

/// That a changed copy of the file is refused before it is opened.
fn refused(
    context: &CaseContext,
    name: &str,
    change: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> CaseResult {
    let bytes = fs::read(&context.plugin()?.copy).map_err(Stop::error)?;
    let file = context.file(name);
    let changed = change(bytes.clone());
    if changed == bytes {
        let why =
            "its manifest is not in the form that the SDK writes, so no changed copy can be made";
        return Err(Stop::skip(why));
    }
    fs::write(&file, changed).map_err(Stop::error)?;
    match examine(&file) {
        Err(_) => Ok(()),
        Ok(_) => Err(Stop::error(format!("{name} was not refused"))),
    }
}

fn file_integrity(context: &CaseContext) -> CaseResult {
    not_refused(context, LoadErrorKind::File)?;
    refused(context, "truncated.so", |mut bytes| {
        bytes.truncate(bytes.len() / 2);
        bytes
    })?;
    refused(context, "garbage.so", |bytes| {
        bytes.iter().map(|byte| byte ^ 0x5a).collect()
    })?;
    refused(context, "empty.so", |_| Vec::new())
}

fn manifest(context: &CaseContext) -> CaseResult {
    let plugin = not_refused(context, LoadErrorKind::Manifest)?;
    let Manifest {
        name,
        version,
        sdk,
        rustc,
        target,
        ..
    } = &plugin.manifest;
    let fields = [
        ("name", name),
        ("version", version),
        ("sdk", sdk),
        ("rustc", rustc),
        ("target", target),
    ];
    for (field, value) in fields {
        if value.trim().is_empty() || value.chars().any(char::is_control) {
            return Err(Stop::fail(format!(
                "`{field}` of the manifest is {value:?}"
            )));
        }
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.chars().all(is_name) {
        return Err(Stop::fail(format!(
            "its name is {name:?}, which is not a crate name"
        )));
    }
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let is_version = numbers.split('.').count() == 3
        && numbers.split('.').all(|part| part.parse::<u64>().is_ok());
    if !is_version {
        return Err(Stop::fail(format!(
            "its version is {version:?}, which is not MAJOR.MINOR.PATCH"
        )));
    }
    Ok(())
}

fn symbol(context: &CaseContext) -> CaseResult {
    not_refused(context, LoadErrorKind::Symbol).map(drop)
}

fn abi_major(context: &CaseContext) -> CaseResult {
    not_refused(context, LoadErrorKind::Abi)?;
    refused(context, "abi.so", |bytes| {
        replaced(bytes, b"\"abi\":\"1.", b"\"abi\":\"9.")
    })
}

fn panic_strategy(context: &CaseContext) -> CaseResult {
    not_refused(context, LoadErrorKind::Panic)?;
    refused(context, "abort.so", |bytes| {
        replaced(bytes, b"\"panic\":\"unwind\"", b"\"panic\":\"abort!\"")
    })
}

/// Replaces every occurrence by other bytes of the same length.
pub(super) fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<_> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from)
        .map(|(place, _)| place)
        .collect();
    for place in places {
        bytes[place..place + from.len()].copy_from_slice(to);
    }
    bytes
}

/// Loads the library; a failure that `own` tests for is the finding of this case.
fn loads(context: &CaseContext, own: &str) -> Result<Worker, Stop> {
    let mut worker = context.start()?;
    worker.load().map_err(|stop| match stop {
        Stop::Blocked { ref by, .. } if by.iter().any(|id| id == own) => stop.attributed_here(),
        other => other,
    })?;
    Ok(worker)
}

fn undefined_symbol(context: &CaseContext) -> CaseResult {
    loads(context, "load.undefined-symbol").map(drop)
}

fn layout(context: &CaseContext) -> CaseResult {
    loads(context, "load.layout").map(drop)
}

fn constructor_panic(context: &CaseContext) -> CaseResult {
    let worker = loads(context, "load.constructor-panic")?;
    let (printed, _) = worker.probe.printed();
    if printed.contains("panicked at") {
        return Err(Stop::fail(format!(
            "it panicked while it was opened: {printed:.200}"
        )));
    }
    Ok(())
}

fn time(context: &CaseContext) -> CaseResult {
    let mut worker = context.start()?;
    let begun = Instant::now();
    let loaded = worker.load();
    let took = begun.elapsed();
    loaded.map_err(|stop| match stop {
        Stop::Blocked { ref by, .. } if by.iter().any(|id| id == "load.time") => {
            stop.attributed_here()
        }
        other => other,
    })?;
    if took > LOAD_TIME {
        return Err(Stop::fail(format!("it took {} ms", took.as_millis())));
    }
    Ok(())
}

fn no_side_effects(context: &CaseContext) -> CaseResult {
    let mut worker = context.start()?;
    // The first call may start threads of the worker itself.
    let environment = worker.environment()?;
    let process = worker.process()?;
    let before = (process.threads()?, process.descriptors()?);
    worker.load()?;
    worker.describe()?;
    let after = (process.threads()?, process.descriptors()?);
    if after.0 > before.0 {
        let started = after.0 - before.0;
        return Err(Stop::fail(format!("it started {started} thread(s)")));
    }
    let opened: Vec<_> = after
        .1
        .iter()
        .filter(|(number, _)| !before.1.contains_key(number))
        .map(|(_, target)| target.as_str())
        .collect();
    if !opened.is_empty() {
        return Err(Stop::fail(format!("it opened {}", opened.join(", "))));
    }
    if worker.environment()? != environment {
        return Err(Stop::fail("it changed the environment"));
    }
    let (printed, total) = worker.probe.printed();
    if total > 0 {
        return Err(Stop::fail(format!("it printed {printed:.200?}")));
    }
    Ok(())
}

/// Makes each call with documents that `change` has changed.
fn converse(context: &CaseContext, change: fn(&mut Value)) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let altered = |mut document: Value| {
        change(&mut document);
        document.to_string()
    };
    let request = altered(json!({"deadline_ms": 1000}));
    let observed = setup
        .worker
        .ask(method(0, Method::Observe, request))?
        .payload;
    not_invalid("observe", &observed)?;
    if let Payload::Text(_) = observed {
        document::<Observation>("observe", observed)?;
    }
    if let Ok(golden) = context.golden.any() {
        let payload = setup.worker.check(0, &altered(golden.clone()))?;
        let plain = setup.worker.check(0, &golden.to_string())?;
        let changed: CheckReport = document("check", payload)?;
        let plain: CheckReport = document("check", plain)?;
        if changed != plain {
            let what = "check returned another report for such an observation";
            let memory = ["check.pure-state", "check.deterministic"];
            return Err(Stop::blocked(&memory, Status::Fail, what));
        }
    }
    let Ok((calls, _)) = setup.calls() else {
        return Ok(());
    };
    for call in calls {
        let request = serde_json::to_value(&call).map_err(Stop::error)?;
        let ask = method(0, Method::Invoke, altered(request));
        let payload = setup.worker.ask(ask)?.payload;
        let plain = setup.worker.invoke(0, &call)?.payload;
        // A call that is refused in both forms proves nothing about the form.
        if plain.error_kind() != payload.error_kind() {
            let what = format!("invoke `{}` {}", call.action, shown(&payload));
            return Err(Stop::fail(what));
        }
    }
    Ok(())
}

fn not_invalid(call: &str, payload: &Payload) -> CaseResult {
    use operator_plugin_api::ErrorKind::{Internal, Invalid};
    match payload.error_kind() {
        Some(Invalid | Internal) => Err(Stop::fail(format!("{call} {}", shown(payload)))),
        _ => Ok(()),
    }
}

fn later_operator(context: &CaseContext) -> CaseResult {
    converse(context, |document| {
        document["field_of_a_later_version"] = json!({"deep": [1, null]});
    })
}

fn earlier_operator(context: &CaseContext) -> CaseResult {
    let plugin = context.plugin()?;
    // Optional in the frozen documents of ABI 1.0, and not what `check` judges.
    converse(context, |document| {
        if let Some(members) = document.as_object_mut() {
            for optional in ["dry_run", "summary", "slis", "sources"] {
                members.remove(optional);
            }
        }
    })
    .map_err(|stop| stop.about(&format!("ABI {}", plugin.manifest.abi)))
}

/// A second file of the plugin: the same code with another hash.
pub(super) fn twin(context: &CaseContext, name: &str) -> Result<Plugin, Stop> {
    let mut bytes = fs::read(&context.plugin()?.copy).map_err(Stop::error)?;
    bytes.extend_from_slice(name.as_bytes());
    let file = context.file(&format!("{name}.so"));
    fs::write(&file, bytes).map_err(Stop::error)?;
    Plugin::open(&file, None, &context.file("twins")).map_err(|error| {
        Stop::Ended(
            Status::Error,
            format!("a copy of the plugin was refused: {error}"),
        )
    })
}
