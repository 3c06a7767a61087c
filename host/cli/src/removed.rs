//! Commands of earlier versions, so that an error can name what replaces them.

use std::ffi::OsString;

/// Old spellings and their replacements; the first that matches is meant.
const REMOVED: [(&[&str], &str); 10] = [
    (&["invoke"], "operator actions run"),
    (
        &["workflows", "propose"],
        "operator proposals create --workflow NAME",
    ),
    (&["actions", "propose"], "operator proposals create"),
    (&["actions", "show"], "operator proposals show"),
    (&["actions", "approve"], "operator proposals approve"),
    (&["actions", "reject"], "operator proposals reject"),
    (&["actions", "cancel"], "operator proposals cancel"),
    (&["actions", "settle"], "operator proposals settle"),
    (&["actions", "--json"], "operator actions list --json"),
    (
        &["actions", "list", "--all"],
        "operator proposals list --all",
    ),
];

/// What replaces a command line that cannot be parsed, if it is one of an earlier version.
pub(super) fn hint(arguments: &[OsString]) -> Option<String> {
    let words: Vec<_> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let (old, new) = REMOVED
        .iter()
        .find(|(old, _)| words.windows(old.len()).any(|window| window == *old))?;
    Some(format!("`operator {}` is now `{new}`", old.join(" ")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    #[test]
    fn no_removed_command_is_one_and_every_replacement_is() {
        for (old, new) in REMOVED {
            let old = ["operator"].iter().chain(old).copied();
            assert!(Cli::try_parse_from(old.clone()).is_err(), "{old:?}");
            let new = new.split_whitespace().chain(["--help"]);
            let help = Cli::try_parse_from(new.clone()).map(drop);
            let kind = help.expect_err("--help is answered").kind();
            assert_eq!(kind, clap::error::ErrorKind::DisplayHelp, "{new:?}");
        }
    }

    #[test]
    fn a_removed_command_names_its_replacement() {
        let of = |line: &str| hint(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(
            of("operator --config x invoke restart node=a").as_deref(),
            Some("`operator invoke` is now `operator actions run`")
        );
        assert_eq!(of("operator actions lst"), None);
    }
}
