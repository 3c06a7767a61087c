//! The contents of a library file, read without running any of its code: its format, its target and its manifest.

use object::{
    Architecture, BinaryFormat, FileKind, Object, ObjectKind, ObjectSection, ObjectSegment,
    ObjectSymbol,
};
use operator_plugin_api::{
    abi::{ABI_VERSION, ROOT_MODULE_SYMBOL},
    manifest::{Manifest, SECTION_ELF, SECTION_MACHO, TARGET},
};

use crate::file::error::LoadErrorKind;

const NOT_A_PLUGIN: &str = "is a library, but not an operator plugin";

/// The manifest of a library that this host can load. An error is one line.
pub(crate) fn read_manifest(bytes: &[u8]) -> Result<Manifest, (LoadErrorKind, String)> {
    let of_kind = |kind| move |why| (kind, why);
    let image = parse(bytes).map_err(of_kind(LoadErrorKind::File))?;
    check_machine(&image).map_err(of_kind(LoadErrorKind::File))?;
    check_extents(&image, bytes.len() as u64).map_err(of_kind(LoadErrorKind::File))?;
    let manifest = manifest_of(&image).map_err(of_kind(LoadErrorKind::Manifest))?;
    check_exports(&image).map_err(of_kind(LoadErrorKind::Symbol))?;
    check_manifest(&manifest)?;
    Ok(manifest)
}

fn parse(bytes: &[u8]) -> Result<object::File<'_>, String> {
    let kind = FileKind::parse(bytes).map_err(|_| not_a_library())?;
    match kind {
        FileKind::Elf32 | FileKind::Elf64 | FileKind::MachO32 | FileKind::MachO64 => {}
        FileKind::MachOFat32 | FileKind::MachOFat64 => {
            return Err("contains several architectures; extract one with `lipo -thin`".into());
        }
        _ => return Err(not_a_library()),
    }
    object::File::parse(bytes).map_err(|error| damaged(&error.to_string()))
}

fn not_a_library() -> String {
    "is not a shared library (ELF or Mach-O); build the plugin with crate-type \"cdylib\"".into()
}

fn damaged(how: &str) -> String {
    format!("is truncated or damaged ({how}); copy or rebuild it")
}

fn check_machine(image: &object::File<'_>) -> Result<(), String> {
    let format = image.format();
    if format != BinaryFormat::native_object() {
        return Err(format!(
            "is a {format:?} file, but this machine loads {:?}; build it for {TARGET}",
            BinaryFormat::native_object()
        ));
    }
    let machine = image.architecture();
    if Some(machine) != native_architecture() {
        return Err(format!("is built for {machine:?}; build it for {TARGET}"));
    }
    if image.kind() != ObjectKind::Dynamic {
        return Err(not_a_library());
    }
    Ok(())
}

fn native_architecture() -> Option<Architecture> {
    Some(match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        "x86" => Architecture::I386,
        "arm" => Architecture::Arm,
        "riscv64" => Architecture::Riscv64,
        "powerpc64" => Architecture::PowerPc64,
        "s390x" => Architecture::S390x,
        _ => return None,
    })
}

/// The dynamic linker maps whatever the headers declare, and access to a page after the end of the file kills the process.
fn check_extents(image: &object::File<'_>, length: u64) -> Result<(), String> {
    let segments = image.segments().map(|segment| segment.file_range());
    let sections = image.sections().filter_map(|section| section.file_range());
    let declared = segments
        .chain(sections)
        .map(|(offset, size)| offset.saturating_add(size))
        .max()
        .unwrap_or(0);
    if declared > length {
        return Err(damaged(&format!(
            "it has {length} of at least {declared} bytes"
        )));
    }
    Ok(())
}

fn manifest_of(image: &object::File<'_>) -> Result<Manifest, String> {
    let name = match image.format() {
        BinaryFormat::MachO => SECTION_MACHO.split_once(',').map_or(SECTION_MACHO, |s| s.1),
        _ => SECTION_ELF,
    };
    let Some(section) = image.section_by_name(name) else {
        return Err(format!(
            "{NOT_A_PLUGIN}: it has no manifest; use export_subject! of operator-plugin-api"
        ));
    };
    let data = section
        .data()
        .map_err(|error| damaged(&format!("manifest: {error}")))?;
    serde_json::from_slice(data)
        .map_err(|error| format!("its manifest cannot be read ({error}); rebuild it"))
}

fn check_exports(image: &object::File<'_>) -> Result<(), String> {
    if exports_root_module(image) {
        return Ok(());
    }
    Err(format!(
        "{NOT_A_PLUGIN}: it does not export {ROOT_MODULE_SYMBOL}; build it without a version script"
    ))
}

fn exports_root_module(image: &object::File<'_>) -> bool {
    let wanted = ROOT_MODULE_SYMBOL.as_bytes();
    let is_root_module = |name: &[u8]| {
        name == wanted
            || (image.format() == BinaryFormat::MachO && name.strip_prefix(b"_") == Some(wanted))
    };
    image
        .dynamic_symbols()
        .chain(image.symbols())
        .any(|symbol| symbol.is_definition() && symbol.name_bytes().is_ok_and(is_root_module))
}

fn check_manifest(manifest: &Manifest) -> Result<(), (LoadErrorKind, String)> {
    let ours = ABI_VERSION
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if manifest.abi_major() != ours {
        let why = format!(
            "has plugin ABI {}, but this operator needs {ABI_VERSION}; build it with operator-plugin-api {}",
            manifest.abi,
            ours.map_or_else(String::new, |major: u32| format!("{major}.x"))
        );
        return Err((LoadErrorKind::Abi, why));
    }
    if manifest.target != TARGET {
        let why = format!("is built for {}; build it for {TARGET}", manifest.target);
        return Err((LoadErrorKind::File, why));
    }
    if manifest.panic != "unwind" {
        let why = format!(
            "is built with panic = \"{}\", so that a panic would end the process; build it with panic = \"unwind\"",
            manifest.panic
        );
        return Err((LoadErrorKind::Panic, why));
    }
    Ok(())
}
