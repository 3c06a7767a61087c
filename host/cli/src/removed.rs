//! Commands of earlier versions, so that an error can name what replaces them.

use std::ffi::OsString;

use clap::CommandFactory;

use super::Cli;

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

/// What replaces a command line that cannot be parsed, if it is one of an earlier version. The first of the arguments is the
/// program.
pub(super) fn hint(arguments: &[OsString]) -> Option<String> {
    let words = arguments.iter().skip(1);
    let words: Vec<_> = words
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    let words = after_options(&words);
    let (old, new) = REMOVED.iter().find(|(old, _)| words.starts_with(old))?;
    Some(format!("`operator {}` is now `{new}`", old.join(" ")))
}

/// From the command on, without the options before it.
fn after_options<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    let cli = Cli::command();
    let mut words = words;
    while let [option, rest @ ..] = words
        && let Some(option) = option.strip_prefix("--")
    {
        let mut known = cli.get_arguments();
        let has_value =
            known.any(|one| one.get_long() == Some(option) && one.get_action().takes_values());
        words = if has_value {
            rest.get(1..).unwrap_or_default()
        } else {
            rest
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

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
        assert!(of("operator --log-level=warn actions show 3").is_some());
        assert_eq!(of("operator actions lst"), None);
    }

    #[test]
    fn only_the_command_itself_is_compared() {
        for line in [
            "operator actions run invoke --bogus",
            "operator --subject invoke tickets lst",
            "operator tickets list actions show",
        ] {
            let line: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert_eq!(hint(&line), None, "{line:?}");
        }
    }
}
