//! The manifest: what a host reads of a plugin file before it runs any of its code.
//!
//! It is one JSON object in a section of its own ([`SECTION_ELF`], [`SECTION_MACHO`]), padded with spaces.

use serde::{Deserialize, Serialize};

/// Name of the manifest's section in an ELF file.
pub const SECTION_ELF: &str = ".operator_manifest";
/// Segment and section of the manifest in a Mach-O file.
pub const SECTION_MACHO: &str = "__DATA,__op_manifest";
/// Bytes that a manifest fills. Fixed so that it can be built in a constant.
pub const MANIFEST_LEN: usize = 1024;

/// What a plugin file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's crate name.
    pub name: String,
    /// The plugin's crate version.
    pub version: String,
    /// [`crate::abi::ABI_VERSION`] of the SDK that it was built with: `MAJOR.MINOR`.
    pub abi: String,
    /// Version of the SDK.
    pub sdk: String,
    /// The compiler's version line.
    pub rustc: String,
    /// Target triple.
    pub target: String,
    /// `unwind`, or `abort`, which a host refuses: a panic would end the process that loaded it.
    pub panic: String,
    /// What it asks for.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,
}

/// What a plugin asks for beyond what every plugin in a worker may do and use. Whoever configures the subject grants it,
/// or the subject is not watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// To start programs: which, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<String>,
    /// Address space. MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Open files and connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
}

impl Needs {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Manifest {
    /// The major version of its ABI, if the manifest names one.
    pub fn abi_major(&self) -> Option<u32> {
        self.abi.split('.').next()?.parse().ok()
    }
}

/// Version of this SDK.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Version line of the compiler that built this SDK.
pub const RUSTC_VERSION: &str = env!("OPERATOR_RUSTC");
/// Target triple that this SDK was built for.
pub const TARGET: &str = env!("OPERATOR_TARGET");

/// Whether a need, as it is written in [`crate::export_subject`], has a name and a value that a host understands.
///
/// Evaluated at compile time.
#[doc(hidden)]
pub const fn is_need(name: &str, value: &str) -> bool {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    match name {
        b"exec" => value.len() > 2 && value[0] == b'"' && !contains(value, b'\\'),
        b"memory_mib" | b"open_files" => is_number(value),
        _ => false,
    }
}

const fn contains(bytes: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_number(bytes: &[u8]) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            return false;
        }
        at += 1;
    }
    bytes[0] != b'0'
}

/// Joins the parts, and pads them with spaces to a manifest's length.
///
/// Evaluated at compile time by [`crate::export_subject`]; a manifest that is too long fails the build.
#[doc(hidden)]
pub const fn join(parts: &[&str]) -> [u8; MANIFEST_LEN] {
    let mut joined = [b' '; MANIFEST_LEN];
    let mut at = 0;
    let mut part = 0;
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut byte = 0;
        while byte < bytes.len() {
            joined[at] = bytes[byte];
            at += 1;
            byte += 1;
        }
        part += 1;
    }
    joined
}
