//! The one place where a plugin's code is opened.

#![allow(
    unsafe_code,
    reason = "loading a library and trusting its symbols is what this module is for"
)]

use std::{fs, path::Path};

use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use operator_plugin_api::abi::{ROOT_MODULE_SYMBOL, SubjectModuleRef};

use super::error::LoadErrorKind;

/// Opens a library that [`super::Plugin::open`] has examined; in one line why it cannot be opened.
///
/// It stays open for good: threads, thread-locals and destructors of a plugin may outlive every subject of it.
pub(super) fn open(
    path: &Path,
    report: &Path,
) -> Result<SubjectModuleRef, (LoadErrorKind, String)> {
    // SAFETY: the file is a private copy, whole and for this machine. That its constructors behave is what a person said
    // by configuring it; the worker process is there for when they do not.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| (LoadErrorKind::Linker, cannot_open(path, &error)))?;
    // SAFETY: the manifest says that the library was built with our SDK, whose macro puts an `abi_stable` header under
    // this name; `upgrade` checks its magic number and version before anything else of it is read.
    let header: AbiHeaderRef = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_SYMBOL) }
        .map(|symbol| *symbol)
        .map_err(|error| {
            let why = format!("has no root module ({error}); build it again");
            (LoadErrorKind::Symbol, why)
        })?;
    std::mem::forget(library);
    header
        .upgrade()
        .and_then(LibHeader::init_root_module::<SubjectModuleRef>)
        .map_err(|error| (LoadErrorKind::Layout, incompatible(&error, report)))
}

/// The linker's own words, without the path of the private copy, which means nothing to a person.
fn cannot_open(path: &Path, error: &libloading::Error) -> String {
    let cause = std::error::Error::source(error).unwrap_or(error);
    let text = cause
        .to_string()
        .replace(&format!("{}: ", path.display()), "");
    let fix = if text.contains("failed to map segment") {
        "; is the state directory mounted noexec?"
    } else if text.contains("undefined symbol") {
        "; link what it needs into it"
    } else if text.contains("cannot open shared object file") {
        "; install the library that it needs"
    } else {
        ""
    };
    format!("cannot be opened: {}{fix}", one_line(&text))
}

/// Such errors run to a thousand lines: shows one, and keeps the rest in a file.
fn incompatible(error: &LibraryError, report: &Path) -> String {
    let whole = error.to_string();
    let kept = match fs::write(report, &whole) {
        Ok(()) => format!("the whole comparison is in {}", report.display()),
        Err(error) => format!("the whole comparison cannot be kept: {error}"),
    };
    if let LibraryError::IncompatibleVersionNumber {
        expected_version,
        actual_version,
        ..
    } = error
    {
        return format!(
            "is built with operator-plugin-api {actual_version}, this operator speaks {expected_version}; \
             build it again with that"
        );
    }
    let kind = match error {
        LibraryError::AbiInstability(_) => "its types differ from this operator's",
        LibraryError::RootModule { .. } => "its root module does not come up",
        _ => "it is built with another abi_stable",
    };
    format!(
        "{kind}: {}; build it again with operator-plugin-api 1.x; {kept}",
        one_line(&whole)
    )
}

/// The first line that says something, cut to a length that one reads.
fn one_line(text: &str) -> String {
    let is_said = |line: &&str| line.chars().any(char::is_alphanumeric);
    let line = text.lines().map(str::trim).find(is_said).unwrap_or("");
    line.chars().take(200).collect()
}
