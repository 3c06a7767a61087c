//! The glue between [`Subject`] and the ABI: JSON in and out, with panics caught in every call.

use std::{
    any::Any,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use abi_stable::{
    sabi_trait::TD_Opaque,
    std_types::{RResult, RStr},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    abi::{BoxedSubject, PluginError, Reply, SubjectObject, SubjectObject_TO},
    document::{
        ActionList, CheckReport, Descriptor, InvokeRequest, Observation, ObserveRequest, Unknown,
    },
    error::{Error, ErrorKind},
    subject::{Call, Deadline, Subject},
};

/// A subject behind the ABI.
struct Exported<S: Subject> {
    subject: ManuallyDrop<S>,
    /// Names that `check` reports as unknown when an observation cannot be read.
    invariants: Vec<String>,
}

impl<S: Subject> Drop for Exported<S> {
    #[allow(
        unsafe_code,
        reason = "a panicking drop must be caught, and only ManuallyDrop lets it be"
    )]
    fn drop(&mut self) {
        let dropped = guard("drop", || {
            // SAFETY: this is the only place that drops it, and nothing uses it afterwards.
            unsafe { ManuallyDrop::drop(&mut self.subject) };
            Ok(())
        });
        if let Err(error) = dropped {
            eprintln_error(&error);
        }
    }
}

#[allow(
    clippy::print_stderr,
    reason = "a destructor can report in no other way, and a plugin's stderr is its log"
)]
fn eprintln_error(error: &Error) {
    eprintln!("{error}");
}

impl<S: Subject> SubjectObject for Exported<S> {
    fn observe(&self, request: RStr<'_>) -> Reply {
        reply("observe", || {
            let request: ObserveRequest = parse("observe request", request.as_str())?;
            let deadline = Deadline::after(Duration::from_millis(request.deadline_ms));
            self.subject
                .observe_again(deadline, request.memory.as_ref())
        })
    }

    fn check(&self, observation: RStr<'_>) -> Reply {
        reply("check", || {
            let observation: Result<Observation<S::Data>, _> =
                parse("observation", observation.as_str());
            Ok(match observation {
                Ok(observation) => self.subject.check(&observation),
                Err(error) => all_unknown(&self.invariants, &error),
            })
        })
    }

    fn list_actions(&self) -> Reply {
        reply("list_actions", || {
            Ok(ActionList {
                actions: self.subject.actions(),
            })
        })
    }

    fn invoke(&self, request: RStr<'_>) -> Reply {
        reply("invoke", || {
            let request: InvokeRequest = parse("invoke request", request.as_str())?;
            self.subject.invoke(&Call {
                deadline: Deadline::after(Duration::from_millis(request.deadline_ms)),
                action: request.action,
                params: request.params,
                idempotency_key: request.idempotency_key,
                dry_run: request.dry_run,
            })
        })
    }

    fn extension(&self, id: RStr<'_>, payload: RStr<'_>) -> Reply {
        guard("extension", || {
            self.subject.extension(id.as_str(), payload.as_str())
        })
        .map(Into::into)
        .map_err(PluginError::from)
        .into()
    }
}

/// `describe` of the root module.
#[doc(hidden)]
pub fn describe<S: Subject>() -> Reply {
    reply("describe", || {
        let description = S::describe();
        Ok(Descriptor {
            subject: description.subject.into(),
            description: description.description.into(),
            config_schema: schemars::schema_for!(S::Config).to_value(),
            observation_schema: schemars::schema_for!(S::Data).to_value(),
            invariants: description.invariants,
            slos: description.slos,
        })
    })
}

/// `create` of the root module.
#[doc(hidden)]
pub fn create<S: Subject>(config: RStr<'_>) -> RResult<BoxedSubject, PluginError> {
    guard("create", || {
        let wrong = |error| Error::new(ErrorKind::Config, format!("configuration: {error}"));
        // Serde would read a list as a struct as well.
        let keys: Map<String, Value> = serde_json::from_str(config.as_str()).map_err(wrong)?;
        let config = S::Config::deserialize(Value::Object(keys)).map_err(wrong)?;
        let invariants = S::describe().invariants;
        Ok(Exported {
            subject: ManuallyDrop::new(S::create(config)?),
            invariants: invariants.into_iter().map(|i| i.name).collect(),
        })
    })
    .map(|exported| SubjectObject_TO::from_value(exported, TD_Opaque))
    .map_err(PluginError::from)
    .into()
}

/// Milliseconds since the Unix epoch, for [`Observation::observed_at_ms`].
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

fn all_unknown(invariants: &[String], error: &Error) -> CheckReport {
    let reason = format!("the observation cannot be read: {error}");
    let unknown = invariants
        .iter()
        .map(|invariant| Unknown::new(invariant, &reason));
    CheckReport {
        unknown: unknown.collect(),
        ..CheckReport::default()
    }
}

fn parse<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, Error> {
    serde_json::from_str(json)
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("{what}: {error}")))
}

fn reply<T: Serialize>(call: &str, run: impl FnOnce() -> Result<T, Error>) -> Reply {
    guard(call, || {
        serde_json::to_string(&run()?).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                format!("{call}: the answer is not JSON: {error}"),
            )
        })
    })
    .map(Into::into)
    .map_err(PluginError::from)
    .into()
}

/// Runs an author's code; a panic in it becomes a typed error.
fn guard<T>(call: &str, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(payload) => {
            let message = format!("{call} panicked: {}", panic_message(payload.as_ref()));
            // A payload can panic when it is dropped.
            std::mem::forget(payload);
            Err(Error::new(ErrorKind::Panic, message))
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Makes a `cdylib` crate an Operator plugin: `export_subject!(MySubject);`, once, where `MySubject` implements
/// [`Subject`].
///
/// A plugin that needs more than every plugin may do requests it with named arguments, in any order:
///
/// | argument | requests |
/// |---|---|
/// | `exec = "kubectl, which lists the pods"` | to start programs: which, and why; plain text without backslashes, quotes and line breaks |
/// | `memory_mib = 8192` | address space, in MiB |
/// | `open_files = 4096` | open files and connections |
///
/// ```
/// # use operator_plugin_api::{schemars::{self, JsonSchema}, serde::{Deserialize, Serialize}, *};
/// # struct Pods;
/// # #[derive(Serialize, Deserialize, JsonSchema)]
/// # #[serde(crate = "operator_plugin_api::serde")]
/// # struct Nothing {}
/// # impl Subject for Pods {
/// #     type Config = Nothing;
/// #     type Data = Nothing;
/// #     fn describe() -> Description { Description::new("pods", "Pods") }
/// #     fn create(_: Nothing) -> Result<Self, Error> { Ok(Self) }
/// #     fn observe(&self, _: Deadline) -> Result<Observation<Nothing>, Error> { Ok(Observation::new(Nothing {})) }
/// #     fn check(&self, _: &Observation<Nothing>) -> CheckReport { CheckReport::default() }
/// # }
/// export_subject!(Pods, memory_mib = 8192, exec = "kubectl, which lists the pods");
/// # fn main() {}
/// ```
///
/// The names and the values are checked when the plugin is compiled:
///
/// ```compile_fail
/// # use operator_plugin_api::{schemars::{self, JsonSchema}, serde::{Deserialize, Serialize}, *};
/// # struct Pods;
/// # #[derive(Serialize, Deserialize, JsonSchema)]
/// # #[serde(crate = "operator_plugin_api::serde")]
/// # struct Nothing {}
/// # impl Subject for Pods {
/// #     type Config = Nothing;
/// #     type Data = Nothing;
/// #     fn describe() -> Description { Description::new("pods", "Pods") }
/// #     fn create(_: Nothing) -> Result<Self, Error> { Ok(Self) }
/// #     fn observe(&self, _: Deadline) -> Result<Observation<Nothing>, Error> { Ok(Observation::new(Nothing {})) }
/// #     fn check(&self, _: &Observation<Nothing>) -> CheckReport { CheckReport::default() }
/// # }
/// // `memory` is not an argument of export_subject!; the arguments are exec, memory_mib and open_files
/// export_subject!(Pods, memory = 8192, exec = "kubectl, which lists the pods");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_subject {
    ($subject:ty $(, $need:ident = $value:literal)* $(,)?) => {
        #[doc(hidden)]
        #[allow(unsafe_code, missing_docs, unreachable_pub)]
        mod __operator_plugin {
            use $crate::__private::{
                BoxedSubject, CheckTypeLayout, LibHeader, PluginError, PrefixTypeTrait as _,
                RResult, RStr, Reply, RootModuleResult, SubjectModule, SubjectModuleRef,
                call_root_module,
            };

            #[allow(unused_imports)]
            use super::*;

            extern "C" fn describe() -> Reply {
                $crate::__private::describe::<$subject>()
            }

            extern "C" fn create(config: RStr<'_>) -> RResult<BoxedSubject, PluginError> {
                $crate::__private::create::<$subject>(config)
            }

            fn root_module() -> SubjectModuleRef {
                SubjectModule { describe, create }.leak_into_prefix()
            }

            extern "C" fn erased_root_module() -> RootModuleResult {
                call_root_module(root_module)
            }

            // The name is `operator_plugin_api::abi::ROOT_MODULE_SYMBOL`; a test of the SDK compares them.
            // SAFETY: `erased_root_module` returns the module that the header is declared for, and the name is reserved
            // for this purpose.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static ROOT_MODULE: LibHeader = unsafe {
                LibHeader::from_constructor::<SubjectModuleRef>(
                    erased_root_module,
                    CheckTypeLayout::Yes,
                )
            };

            // SAFETY: the section and the symbol are reserved for this purpose, and the bytes are never written.
            #[unsafe(export_name = "operator_plugin_manifest")]
            #[cfg_attr(
                not(target_vendor = "apple"),
                unsafe(link_section = ".operator_manifest")
            )]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__op_manifest"))]
            pub static MANIFEST: [u8; $crate::manifest::MANIFEST_LEN] = $crate::manifest::join(&[
                "{\"name\":\"",
                ::core::env!("CARGO_PKG_NAME"),
                "\",\"version\":\"",
                ::core::env!("CARGO_PKG_VERSION"),
                "\",\"abi\":\"",
                $crate::abi::ABI_VERSION,
                "\",\"sdk\":\"",
                $crate::manifest::SDK_VERSION,
                "\",\"rustc\":\"",
                $crate::manifest::RUSTC_VERSION,
                "\",\"target\":\"",
                $crate::manifest::TARGET,
                "\",\"panic\":\"",
                if ::core::cfg!(panic = "unwind") {
                    "unwind"
                } else {
                    "abort"
                },
                "\"",
                $crate::__needs!($($need = $value),*),
                "}",
            ]);

            $($crate::__check_need!($need = $value);)*
            const _: () = ::core::assert!(
                $crate::manifest::are_different(&[$(::core::stringify!($need)),*]),
                "export_subject!: an argument is given twice"
            );
        }
    };
    ($subject:ty, $($arguments:tt)*) => {
        ::core::compile_error!(
            "export_subject!: after the subject come arguments of the form NAME = LITERAL, such as memory_mib = 8192"
        );
    };
}

/// Checks one argument of [`export_subject!`] by its name.
#[doc(hidden)]
#[macro_export]
macro_rules! __check_need {
    (exec = $value:literal) => {
        const _: () = ::core::assert!(
            $crate::manifest::is_exec(::core::stringify!($value)),
            "export_subject!: `exec` must be plain text without backslashes, quotes and line breaks, and not blank"
        );
    };
    (memory_mib = $value:literal) => {
        const _: () = ::core::assert!(
            $crate::manifest::is_memory_mib(::core::stringify!($value)),
            "export_subject!: `memory_mib` must be a whole number from 64 to 1048576"
        );
    };
    (open_files = $value:literal) => {
        const _: () = ::core::assert!(
            $crate::manifest::is_open_files(::core::stringify!($value)),
            "export_subject!: `open_files` must be a whole number from 32 to 1048576"
        );
    };
    ($other:ident = $value:literal) => {
        ::core::compile_error!(::core::concat!(
            "`",
            ::core::stringify!($other),
            "` is not an argument of export_subject!; the arguments are exec, memory_mib and open_files"
        ));
    };
}

/// The manifest's `needs`, with the comma before it; empty without arguments.
#[doc(hidden)]
#[macro_export]
macro_rules! __needs {
    () => { "" };
    ($need:ident = $value:literal $(, $more:ident = $other:literal)*) => {
        ::core::concat!(
            ",\"needs\":{\"", ::core::stringify!($need), "\":", ::core::stringify!($value),
            $(",\"", ::core::stringify!($more), "\":", ::core::stringify!($other),)*
            "}"
        )
    };
}
