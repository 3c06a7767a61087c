//! Whether the file is one that an operator opens, and what opening it does.

use std::{
    fs,
    time::{Duration, Instant},
};

use operator_loader::{LoadErrorKind, Method, Payload, Plugin, examine};
use operator_plugin_api::{CheckReport, Observation, manifest::Manifest};
use serde_json::{Value, json};

use crate::{
    backends::Mode, bench::Bench, bench::document, bench::method, bench::shown, case::Case,
    lab::Lab, verdict::Ran, verdict::Status, verdict::Stop,
};

pub(super) const CASES: [Case; 12] = [
    Case {
        id: "load.file-integrity",
        expects: "the file is a whole shared library for this machine, and a damaged copy of it is refused unopened",
        fix: "build it with crate-type \"cdylib\" for this target, and copy it whole",
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
        expects: "the plugin speaks this operator's ABI, and a copy that claims another major is refused",
        fix: "build it with operator-plugin-api 1.x",
        run: abi_major,
    },
    Case {
        id: "load.panic-strategy",
        expects: "the plugin unwinds when it panics, and a copy that claims to abort is refused",
        fix: "build it with panic = \"unwind\"",
        run: panic_strategy,
    },
    Case {
        id: "load.undefined-symbol",
        expects: "the dynamic linker finds everything that the library needs",
        fix: "link what it needs into it, or install it",
        run: undefined_symbol,
    },
    Case {
        id: "load.layout",
        expects: "the root module comes up and is of the types of ABI v1",
        fix: "build it with an unchanged operator-plugin-api 1.x",
        run: layout,
    },
    Case {
        id: "load.constructor-panic",
        expects: "opening the library neither panics nor ends the process",
        fix: "move work out of constructors and statics into create",
        run: constructor_panic,
    },
    Case {
        id: "load.time",
        expects: "opening the library takes less than two seconds",
        fix: "move work out of constructors and statics into create",
        run: time,
    },
    Case {
        id: "load.no-side-effects",
        expects: "opening and describing starts no thread, opens no descriptor, prints nothing and changes no environment",
        fix: "move what is started into create or observe",
        run: no_side_effects,
    },
    Case {
        id: "load.old-plugin-loads",
        expects: "requests and observations of a later operator, with fields that the plugin does not know, are taken",
        fix: "ignore unknown fields of requests and observations; the SDK does",
        run: later_operator,
    },
    Case {
        id: "load.new-plugin-loads",
        expects: "requests and observations of an earlier operator, without optional fields, are taken",
        fix: "give the fields that ABI 1.0 calls optional a default; the SDK does",
        run: earlier_operator,
    },
];

/// How long opening may take.
const LOAD_TIME: Duration = Duration::from_secs(2);

/// That this very refusal is not the file's.
fn not_refused(lab: &Lab, refusal: LoadErrorKind) -> Result<&Plugin, Stop> {
    match &lab.order.plugin {
        Err((found, why)) if *found == refusal => Err(Stop::fail(why.clone())),
        _ => lab.plugin(),
    }
}

/// That the file's bytes, changed in this way, are refused before they are opened.
fn refused(lab: &Lab, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Ran {
    let bytes = fs::read(&lab.plugin()?.copy).map_err(Stop::error)?;
    let file = lab.file(name);
    let changed = change(bytes.clone());
    if changed == bytes {
        let why = "its manifest is not written as the SDK writes it, so that no copy of it can be made to claim otherwise";
        return Err(Stop::skip(why));
    }
    fs::write(&file, changed).map_err(Stop::error)?;
    match examine(&file) {
        Err(_) => Ok(()),
        Ok(_) => Err(Stop::error(format!("{name} was not refused"))),
    }
}

fn file_integrity(lab: &Lab) -> Ran {
    not_refused(lab, LoadErrorKind::File)?;
    refused(lab, "truncated.so", |mut bytes| {
        bytes.truncate(bytes.len() / 2);
        bytes
    })?;
    refused(lab, "garbage.so", |bytes| {
        bytes.iter().map(|byte| byte ^ 0x5a).collect()
    })?;
    refused(lab, "empty.so", |_| Vec::new())
}

fn manifest(lab: &Lab) -> Ran {
    let plugin = not_refused(lab, LoadErrorKind::Manifest)?;
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
            "its name is {name:?}, which is no crate name"
        )));
    }
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let is_version = numbers.split('.').count() == 3
        && numbers.split('.').all(|part| part.parse::<u64>().is_ok());
    if !is_version {
        return Err(Stop::fail(format!(
            "its version is {version:?}, which is no MAJOR.MINOR.PATCH"
        )));
    }
    Ok(())
}

fn symbol(lab: &Lab) -> Ran {
    not_refused(lab, LoadErrorKind::Symbol).map(drop)
}

fn abi_major(lab: &Lab) -> Ran {
    not_refused(lab, LoadErrorKind::Abi)?;
    refused(lab, "abi.so", |bytes| {
        replaced(bytes, b"\"abi\":\"1.", b"\"abi\":\"9.")
    })
}

fn panic_strategy(lab: &Lab) -> Ran {
    not_refused(lab, LoadErrorKind::Panic)?;
    refused(lab, "abort.so", |bytes| {
        replaced(bytes, b"\"panic\":\"unwind\"", b"\"panic\":\"abort!\"")
    })
}

/// Every occurrence replaced by as many other bytes.
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

/// That loading does not stop for the reason that is this case's own.
fn loads(lab: &Lab, own: &str) -> Result<Bench, Stop> {
    let mut bench = lab.start()?;
    bench.load().map_err(|stop| match stop {
        Stop::Blocked { ref by, .. } if by.iter().any(|id| id == own) => stop.of_this(),
        other => other,
    })?;
    Ok(bench)
}

fn undefined_symbol(lab: &Lab) -> Ran {
    loads(lab, "load.undefined-symbol").map(drop)
}

fn layout(lab: &Lab) -> Ran {
    loads(lab, "load.layout").map(drop)
}

fn constructor_panic(lab: &Lab) -> Ran {
    let bench = loads(lab, "load.constructor-panic")?;
    let (printed, _) = bench.probe.printed();
    if printed.contains("panicked at") {
        return Err(Stop::fail(format!(
            "it panicked while it was opened: {printed:.200}"
        )));
    }
    Ok(())
}

fn time(lab: &Lab) -> Ran {
    let mut bench = lab.start()?;
    let begun = Instant::now();
    let loaded = bench.load();
    let took = begun.elapsed();
    loaded.map_err(|stop| match stop {
        Stop::Blocked { ref by, .. } if by.iter().any(|id| id == "load.time") => stop.of_this(),
        other => other,
    })?;
    if took > LOAD_TIME {
        return Err(Stop::fail(format!("it took {} ms", took.as_millis())));
    }
    Ok(())
}

fn no_side_effects(lab: &Lab) -> Ran {
    let mut bench = lab.start()?;
    // The first call may start what the worker itself needs.
    let environment = bench.environment()?;
    let process = bench.process()?;
    let before = (process.threads()?, process.descriptors()?);
    bench.load()?;
    bench.describe()?;
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
    if bench.environment()? != environment {
        return Err(Stop::fail("it changed the environment"));
    }
    let (printed, total) = bench.probe.printed();
    if total > 0 {
        return Err(Stop::fail(format!("it printed {printed:.200?}")));
    }
    Ok(())
}

/// Each of the plugin's calls with documents that were changed in this way.
fn converse(lab: &Lab, change: fn(&mut Value)) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let altered = |mut document: Value| {
        change(&mut document);
        document.to_string()
    };
    let request = altered(json!({"deadline_ms": 1000}));
    let observed = ready
        .bench
        .ask(method(0, Method::Observe, request))?
        .payload;
    not_invalid("observe", &observed)?;
    if let Payload::Text(_) = observed {
        document::<Observation>("observe", observed)?;
    }
    if let Ok(golden) = lab.golden.any() {
        let payload = ready.bench.check(0, &altered(golden.clone()))?;
        let plain = ready.bench.check(0, &golden.to_string())?;
        let changed: CheckReport = document("check", payload)?;
        let plain: CheckReport = document("check", plain)?;
        if changed != plain {
            let what = "check judges such an observation otherwise";
            let memory = ["check.pure-state", "check.deterministic"];
            return Err(Stop::blocked(&memory, Status::Fail, what));
        }
    }
    let Ok((calls, _)) = ready.calls() else {
        return Ok(());
    };
    for call in calls {
        let request = serde_json::to_value(&call).map_err(Stop::error)?;
        let ask = method(0, Method::Invoke, altered(request));
        let payload = ready.bench.ask(ask)?.payload;
        let plain = ready.bench.invoke(0, &call)?.payload;
        // What it refuses in any form is no matter of the form.
        if plain.error_kind() != payload.error_kind() {
            let what = format!("invoke `{}` {}", call.action, shown(&payload));
            return Err(Stop::fail(what));
        }
    }
    Ok(())
}

fn not_invalid(call: &str, payload: &Payload) -> Ran {
    use operator_plugin_api::ErrorKind::{Internal, Invalid};
    match payload.error_kind() {
        Some(Invalid | Internal) => Err(Stop::fail(format!("{call} {}", shown(payload)))),
        _ => Ok(()),
    }
}

fn later_operator(lab: &Lab) -> Ran {
    converse(lab, |document| {
        document["field_of_a_later_version"] = json!({"deep": [1, null]});
    })
}

fn earlier_operator(lab: &Lab) -> Ran {
    let plugin = lab.plugin()?;
    // What the frozen documents of ABI 1.0 call optional, and `check` is not about.
    converse(lab, |document| {
        if let Some(members) = document.as_object_mut() {
            for optional in ["dry_run", "summary", "slis", "sources"] {
                members.remove(optional);
            }
        }
    })
    .map_err(|stop| stop.about(&format!("ABI {}", plugin.manifest.abi)))
}

/// For cases that need a second file of the same plugin: the same code under another hash.
pub(super) fn twin(lab: &Lab, name: &str) -> Result<Plugin, Stop> {
    let mut bytes = fs::read(&lab.plugin()?.copy).map_err(Stop::error)?;
    bytes.extend_from_slice(name.as_bytes());
    let file = lab.file(&format!("{name}.so"));
    fs::write(&file, bytes).map_err(Stop::error)?;
    Plugin::open(&file, None, &lab.file("twins")).map_err(|error| {
        Stop::Ended(
            Status::Error,
            format!("a copy of the plugin was refused: {error}"),
        )
    })
}
