//! The commands in the documents: each is one that the command line accepts, and those that need nothing else run.

use std::fs;

use clap::{Parser, error::ErrorKind};

use crate::support::{
    common::{hello_subject, workspace},
    daemon::Site,
};

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "plugin-api/README.md",
    "host/cli/src/template/README.md.in",
    "plugins/ratelimiter/README.md",
    "plugins/tikv/README.md",
    "docker/ratelimiter/README.md",
    "ARCHITECTURE.md",
];

/// A command line of a document, in words and without the program.
#[derive(Debug)]
struct Line {
    document: &'static str,
    words: Vec<String>,
}

/// Command lines in blocks of code: `operator ...`, `target/release/operator ...`, `docker compose exec operator operator ...`.
fn lines(document: &'static str) -> Vec<Line> {
    let text = fs::read_to_string(workspace().join(document)).unwrap();
    let mut is_fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") {
            found.extend(command(document, line));
        }
    }
    found
}

fn command(document: &'static str, line: &str) -> Option<Line> {
    let line = line
        .trim()
        .trim_start_matches("docker compose exec operator ");
    let words = words(line.split(" # ").next().unwrap_or_default());
    let (program, rest) = words.split_first()?;
    let is_ours = program == "operator" || program.ends_with("/operator");
    is_ours.then(|| Line {
        document,
        words: rest.to_vec(),
    })
}

/// As a shell splits them, with single and double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Commands that are named in the text: `` `operator tickets list\|show` `` is two.
fn named(document: &'static str) -> Vec<Line> {
    let text = fs::read_to_string(workspace().join(document)).unwrap();
    let blocks_left_out = text.split("```").step_by(2);
    let spans = blocks_left_out.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    let commands = spans.filter(|span| *span == "operator" || span.starts_with("operator "));
    commands
        .flat_map(|span| {
            let span = span.replace('\n', " ");
            let (before, last) = span.rsplit_once(' ').unwrap_or((&span, ""));
            let last: Vec<_> = last.split("\\|").map(str::to_owned).collect();
            let before: Vec<_> = before.split(' ').skip(1).map(str::to_owned).collect();
            last.into_iter()
                .map(move |last| [before.clone(), vec![last]].concat())
        })
        .map(|words| Line { document, words })
        .collect()
}

#[test]
fn every_command_line_in_a_document_is_accepted() {
    let all: Vec<_> = DOCUMENTS.into_iter().flat_map(lines).collect();
    assert!(all.len() > 15, "only {all:?}");
    for line in all {
        let words = [&["operator".to_owned()], &line.words[..]].concat();
        if let Err(error) = operator::Cli::try_parse_from(words) {
            panic!("{}: {error}", line.document);
        }
    }
}

#[test]
fn every_command_that_a_document_names_is_one() {
    let all: Vec<_> = DOCUMENTS.into_iter().flat_map(named).collect();
    assert!(all.len() > 40, "only {all:?}");
    for line in all {
        // What stands for something else, such as SHELL, is left out; so is what follows it.
        let words = line.words.iter();
        let words = words.filter(|word| !word.is_empty() && word.as_str() != "--help");
        let words = words.take_while(|word| !word.chars().all(char::is_uppercase));
        let asked = std::iter::once("operator").chain(words.map(String::as_str));
        let asked: Vec<_> = asked.chain(["--help"]).collect();
        let error = operator::Cli::try_parse_from(&asked).map(drop).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::DisplayHelp,
            "{}: {error}",
            line.document
        );
    }
}

/// What only works where its document stands: with a plugin of its own, a folder or a number of its own.
const ELSEWHERE: [&str; 4] = ["new", "conformance", "reset_counter", "--plugin"];

#[test]
fn what_needs_nothing_of_its_own_runs() {
    let mut site = Site::new();
    site.honest("db", "interval = \"100ms\"");
    let mut daemon = site.start();
    daemon.next_heartbeat("db");
    let mut ran = 0;
    for document in DOCUMENTS {
        for line in lines(document) {
            let needs_more =
                |word: &String| ELSEWHERE.contains(&word.as_str()) || word.parse::<u32>().is_ok();
            if line.words.is_empty() || line.words.iter().any(needs_more) {
                continue;
            }
            let words: Vec<_> = line.words.iter().map(String::as_str).collect();
            site.ask(&words);
            ran += 1;
        }
        // What one document has stopped must not stop the commands of the next.
        site.ask(&["kill-switch", "--lift"]);
    }
    assert!(ran >= 4, "only {ran} ran");
    daemon.stop();
}

/// The same with the example plugin in place of the document's.
#[test]
fn what_asks_a_plugin_runs_with_another() {
    let site = Site::new();
    let plugin = hello_subject().display().to_string();
    let mut ran = 0;
    for line in DOCUMENTS.into_iter().flat_map(lines) {
        let last = line.words.last().map(String::as_str);
        let [flag, _, command @ ..] = line.words.as_slice() else {
            continue;
        };
        if flag != "--plugin" || !matches!(last, Some("inspect" | "check")) {
            continue;
        }
        let output = site
            .operator()
            .args(["--plugin", &plugin])
            .args(command)
            .output()
            .unwrap();
        let verdict = output.status.code();
        assert!(
            matches!(verdict, Some(0 | 1 | 3)),
            "{}: {output:?}",
            line.document
        );
        ran += 1;
    }
    assert!(ran >= 3, "only {ran} ran");
}
