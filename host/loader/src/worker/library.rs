//! Opens a plugin's library.

#![allow(
    unsafe_code,
    reason = "a library cannot be loaded, nor its symbols be trusted, in safe code"
)]

use std::{fs, path::Path};

use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use operator_plugin_api::abi::{ROOT_MODULE_SYMBOL, SubjectModuleRef};

use crate::file::error::LoadErrorKind;

/// Opens a library that [`Plugin::open`](crate::Plugin::open) has examined. An error is one line; `report` receives an
/// explanation that is longer.
///
/// The library is never closed: threads, thread-locals and destructors of a plugin can outlive all of its subjects.
pub(crate) fn open(
    path: &Path,
    report: &Path,
) -> Result<SubjectModuleRef, (LoadErrorKind, String)> {
    // SAFETY: the file is a private copy, complete and built for this machine. Its constructors run arbitrary code: whoever
    // configures a plugin trusts it with that, and the worker process contains the damage if they do not behave.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| (LoadErrorKind::Linker, cannot_open(path, &error)))?;
    // SAFETY: according to the manifest the library was built with our SDK, whose macro exports an `abi_stable` header with
    // this name. `upgrade` checks its magic number and version before anything else of it is read.
    let header: AbiHeaderRef = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_SYMBOL) }
        .map(|symbol| *symbol)
        .map_err(|error| {
            let why = format!("has no root module ({error}); rebuild it");
            (LoadErrorKind::Symbol, why)
        })?;
    std::mem::forget(library);
    header
        .upgrade()
        .and_then(LibHeader::init_root_module::<SubjectModuleRef>)
        .map_err(|error| (LoadErrorKind::Layout, incompatible(&error, report)))
}

/// The linker's message without the path of the private copy, which a person does not know.
fn cannot_open(path: &Path, error: &libloading::Error) -> String {
    let cause = std::error::Error::source(error).unwrap_or(error);
    let text = cause
        .to_string()
        .replace(&format!("{}: ", path.display()), "");
    let fix = if text.contains("failed to map segment") {
        "; is the state directory mounted noexec?"
    } else if text.contains("undefined symbol") {
        "; link the library that defines it"
    } else if text.contains("cannot open shared object file") {
        "; install the missing library"
    } else {
        ""
    };
    format!("cannot be opened: {}{fix}", one_line(&text))
}

/// Such errors have up to a thousand lines: returns one, and writes all of them to a file.
fn incompatible(error: &LibraryError, report: &Path) -> String {
    let whole = error.to_string();
    let kept = match fs::write(report, &whole) {
        Ok(()) => format!("the full comparison is in {}", report.display()),
        Err(error) => format!("the full comparison cannot be written: {error}"),
    };
    if let LibraryError::IncompatibleVersionNumber {
        expected_version,
        actual_version,
        ..
    } = error
    {
        return format!(
            "is built with operator-plugin-api {actual_version}, this operator needs {expected_version}; \
             rebuild it with that version"
        );
    }
    let kind = match error {
        LibraryError::AbiInstability(_) => "its types differ from this operator's",
        LibraryError::RootModule { .. } => "its root module fails to load",
        _ => "it is built with another version of abi_stable",
    };
    format!(
        "{kind}: {}; rebuild it with operator-plugin-api 1.x; {kept}",
        one_line(&whole)
    )
}

/// The first line with letters or digits, shortened to a readable length.
fn one_line(text: &str) -> String {
    let has_text = |line: &&str| line.chars().any(char::is_alphanumeric);
    let line = text.lines().map(str::trim).find(has_text).unwrap_or("");
    line.chars().take(200).collect()
}
