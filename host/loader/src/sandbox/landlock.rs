//! Restricts access to files, and signals to other processes, with landlock.

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

use crate::sandbox::grants::Grants;

/// The latest version that is used, which restricts signals.
const LANDLOCK: ABI = ABI::V6;

/// Restricts this process to the granted files. Returns what the kernel does not support.
pub(crate) fn restrict_files(grants: &Grants, exec: bool) -> Result<Option<String>, RulesetError> {
    let all = AccessFs::from_all(LANDLOCK);
    let execute = BitFlags::from(AccessFs::Execute);
    let read = AccessFs::from_read(LANDLOCK) & !execute;
    let write = all & !(execute | AccessFs::MakeBlock | AccessFs::MakeChar);
    let handled = if exec { all & !execute } else { all };
    let status = Ruleset::default()
        .handle_access(handled)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(path_beneath_rules(&grants.read, read))?
        .add_rules(path_beneath_rules(&grants.write, write))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some(
            "the kernel's landlock is older than version 6: truncating files, signals or devices are not restricted"
                .to_owned(),
        ),
        RulesetStatus::NotEnforced => Some(
            "the kernel has no landlock: the plugin can read and write every file that the operator can"
                .to_owned(),
        ),
    })
}
