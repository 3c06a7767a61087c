//! The manifest: what a host reads of a plugin file before it runs any of its code.
//!
//! It is one JSON object in a section of its own ([`SECTION_ELF`], [`SECTION_MACHO`]), padded with spaces.

use std::ops::RangeInclusive;

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

/// How much address space can be asked for and granted. MiB. Below, no plugin comes up; above, it is no limit.
pub const MEMORY_MIB: RangeInclusive<u32> = 64..=1 << 20;
/// How many open files can be asked for and granted.
pub const OPEN_FILES: RangeInclusive<u32> = 32..=1 << 20;

/// Version of this SDK.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Version line of the compiler that built this SDK.
pub const RUSTC_VERSION: &str = env!("OPERATOR_RUSTC");
/// Target triple that this SDK was built for.
pub const TARGET: &str = env!("OPERATOR_TARGET");

/// Whether a need, as it is written in [`crate::export_subject`], has a name and a value that a host understands and can
/// grant.
///
/// Evaluated at compile time.
#[doc(hidden)]
pub const fn is_need(name: &str, value: &str) -> bool {
    match name.as_bytes() {
        b"exec" => is_plain_text(value.as_bytes()),
        b"memory_mib" => is_within(number(value.as_bytes()), &MEMORY_MIB),
        b"open_files" => is_within(number(value.as_bytes()), &OPEN_FILES),
        _ => false,
    }
}

/// A literal between quotes that is the same in JSON, and says something.
const fn is_plain_text(literal: &[u8]) -> bool {
    let last = literal.len() - 1;
    if last < 2 || literal[0] != b'"' || literal[last] != b'"' {
        return false;
    }
    let (mut at, mut is_blank) = (1, true);
    while at < last {
        if literal[at] < b' ' || literal[at] == b'"' || literal[at] == b'\\' {
            return false;
        }
        is_blank &= literal[at] == b' ';
        at += 1;
    }
    !is_blank
}

const fn is_within(number: u32, bounds: &RangeInclusive<u32>) -> bool {
    *bounds.start() <= number && number <= *bounds.end()
}

/// The number of a literal of at most nine digits; else none that can be granted.
const fn number(literal: &[u8]) -> u32 {
    let (mut at, mut number) = (0, 0);
    while at < literal.len() {
        if !literal[at].is_ascii_digit() || at == 9 {
            return 0;
        }
        number = 10 * number + (literal[at] - b'0') as u32;
        at += 1;
    }
    number
}

/// Whether no need is named twice.
#[doc(hidden)]
pub const fn are_different(needs: &[&str]) -> bool {
    let mut one = 0;
    while one < needs.len() {
        let mut other = one + 1;
        while other < needs.len() {
            // Their first letters tell them apart.
            if needs[one].as_bytes()[0] == needs[other].as_bytes()[0] {
                return false;
            }
            other += 1;
        }
        one += 1;
    }
    true
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
        assert!(
            at + bytes.len() <= MANIFEST_LEN,
            "the manifest is too long: shorten what the plugin says of its needs"
        );
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
