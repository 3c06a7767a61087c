//! The manifest: what a host reads from a plugin file before it runs any of its code.
//!
//! It is one JSON object in a separate section ([`SECTION_ELF`], [`SECTION_MACHO`]), padded with spaces.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Name of the manifest's section in an ELF file.
pub const SECTION_ELF: &str = ".operator_manifest";
/// Segment and section of the manifest in a Mach-O file.
pub const SECTION_MACHO: &str = "__DATA,__op_manifest";
/// Bytes that a manifest fills. Fixed so that it can be built in a constant.
pub const MANIFEST_LEN: usize = 1024;

/// A plugin file's description of itself.
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
    /// What the plugin needs beyond the defaults.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,
}

/// What a plugin needs beyond what every plugin in a worker may do and use. The subject's configuration must grant it;
/// otherwise the subject is not watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Permission to start programs: which, and why.
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
    /// Whether the defaults are enough.
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

/// How much address space can be requested and granted. MiB. With less no plugin starts; more is not a limit.
pub const MEMORY_MIB: RangeInclusive<u32> = 64..=1 << 20;
/// How many open files can be requested and granted.
pub const OPEN_FILES: RangeInclusive<u32> = 32..=1 << 20;

/// Version of this SDK.
pub const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Version line of the compiler that built this SDK.
pub const RUSTC_VERSION: &str = env!("OPERATOR_RUSTC");
/// Target triple that this SDK was built for.
pub const TARGET: &str = env!("OPERATOR_TARGET");

/// Whether an `exec` argument of [`crate::export_subject`] is plain text. Evaluated at compile time.
#[doc(hidden)]
pub const fn is_exec(literal: &str) -> bool {
    is_plain_text(literal.as_bytes())
}

/// Whether a `memory_mib` argument of [`crate::export_subject`] can be granted. Evaluated at compile time.
#[doc(hidden)]
pub const fn is_memory_mib(literal: &str) -> bool {
    is_within(number(literal.as_bytes()), &MEMORY_MIB)
}

/// Whether an `open_files` argument of [`crate::export_subject`] can be granted. Evaluated at compile time.
#[doc(hidden)]
pub const fn is_open_files(literal: &str) -> bool {
    is_within(number(literal.as_bytes()), &OPEN_FILES)
}

/// A string literal that is the same in JSON, and not blank.
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

/// The value of a literal of at most nine digits; otherwise 0, which is never granted.
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

/// Whether no name occurs twice. Evaluated at compile time.
#[doc(hidden)]
pub const fn are_different(names: &[&str]) -> bool {
    let mut one = 0;
    while one < names.len() {
        let mut other = one + 1;
        while other < names.len() {
            if are_equal(names[one].as_bytes(), names[other].as_bytes()) {
                return false;
            }
            other += 1;
        }
        one += 1;
    }
    true
}

/// `==` of slices cannot be used in a constant.
const fn are_equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
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
            "the manifest is too long: shorten the text of `exec`"
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
