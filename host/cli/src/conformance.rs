//! `operator conformance`

use std::{
    io::{self, IsTerminal, Write},
    path::{MAIN_SEPARATOR, PathBuf},
    time::Duration,
};

use clap::Args;
use operator_config::{Environment, load};
use operator_conformance::{CaseReport, Options, Report, Status, SuiteError, listed, run};
use operator_loader::find_plugin;
use owo_colors::Style;
use serde_json::json;

use super::{Exit, Failure, Output, flags::Global, junit, printable::printable};

/// For the end of `--help`.
pub(super) const HELP: &str = "\
Every case runs the plugin in a separate process, points it at fake backends on this machine, and ends with one of:
  pass   the plugin did what is expected
  fail   it did something else
  crash  its process ended
  hang   it did not come back in time
  skip   it was not run; the report gives the reason
  error  the suite itself failed, so that nothing is known

The suite finds faults, not malice: a plugin that recognises it can behave. It asks for actions only against its own fakes.

Golden files, in `conformance/` next to the plugin or in the folder of its crate:
  config.toml                   a configuration that create accepts; it must not name anything real
  healthy/*.json                observations without any violation or unknown
  violations/<invariant>.json   an observation that violates this invariant, for each one that the plugin declares
An observation can be a patch of another one: {\"base\": \"healthy/a.json\", \"patch\": [...]}, with a JSON Patch (RFC 6902).

Exit codes:
  0    every case passed or was skipped
  1    the plugin is at fault in a case; with --strict also if one was skipped
  2    the suite could not do its work: no such plugin, no case to run, or a case that ended in an error";

#[derive(Debug, Args)]
pub(super) struct Conformance {
    /// The plugin: a path, or a name that is looked up in the plugin directories
    #[arg(value_name = "PLUGIN", required_unless_present = "list")]
    file: Option<String>,
    /// List the cases without running them
    #[arg(long)]
    list: bool,
    /// Run only this case, group, or prefix (`check.*`); may be repeated
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Leave out this case, group, or prefix (`check.*`); may be repeated
    #[arg(long, value_name = "CASE")]
    skip: Vec<String>,
    /// The folder of golden files
    #[arg(long, value_name = "PATH")]
    golden: Option<PathBuf>,
    /// Random seed of the fuzzing cases
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Number of rounds of each fuzzing case
    #[arg(long, value_name = "NUMBER", default_value_t = 500)]
    rounds: u32,
    /// Number of cases that run at the same time [default: four times the processors]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<usize>,
    /// Time limit for each case, such as 30s
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Count skipped cases as failed
    #[arg(long)]
    strict: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
    /// Also write a report in the format of JUnit, for CI systems
    #[arg(long, value_name = "FILE")]
    #[allow(clippy::doc_markdown, reason = "this is shown as it stands")]
    junit: Option<PathBuf>,
}

impl Conformance {
    pub(super) fn run(&self, global: &Global, out: &Output) -> Result<Exit, Failure> {
        if self.list {
            return self.show_list(out);
        }
        let options = self.options(global)?;
        let mut progress = Progress::new(self.json);
        let report = run(&options, |id, done, all| progress.show(id, done, all));
        progress.clear();
        let report = report.map_err(failure)?;
        if let Some(file) = &self.junit {
            std::fs::write(file, junit::document(&report)).map_err(|error| {
                Failure::bad_input(format!("--junit: {}: {error}", file.display()))
            })?;
        }
        if self.json {
            out.json(&report)?;
        } else {
            out.text(&text(&report))?;
        }
        Ok(exit(&report))
    }

    fn show_list(&self, out: &Output) -> Result<Exit, Failure> {
        let cases = listed(&self.only, &self.skip).map_err(failure)?;
        if self.json {
            out.json(&json!(cases))?;
        } else {
            for case in cases {
                out.text(&format!("{:32} {}\n", case.id, case.expects))?;
            }
        }
        Ok(Exit::Fine)
    }

    fn options(&self, global: &Global) -> Result<Options, Failure> {
        let name = self.file.as_deref().unwrap_or_default();
        let dirs = if name.contains(MAIN_SEPARATOR) {
            Vec::new()
        } else {
            plugin_dirs(global)?
        };
        let file =
            find_plugin(name, &dirs).map_err(|error| Failure::bad_input(error.to_string()))?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Options {
            file,
            golden: self.golden.clone(),
            only: self.only.clone(),
            skip: self.skip.clone(),
            seed: self.seed,
            rounds: self.rounds,
            // Most cases wait most of their time.
            jobs: self.jobs.unwrap_or(4 * processors),
            timeout: self.timeout,
            strict: self.strict,
        })
    }
}

/// Where a bare name is looked up; a path needs no configuration.
fn plugin_dirs(global: &Global) -> Result<Vec<PathBuf>, Failure> {
    let loaded = load(&global.flags(), &Environment::of_this_process());
    Ok(loaded.map_err(Failure::Faults)?.config.plugin_dirs)
}

fn failure(error: SuiteError) -> Failure {
    Failure::bad_input(error.to_string())
}

fn exit(report: &Report) -> Exit {
    if report.is_void() {
        Exit::BadInput
    } else if report.has_faults() {
        Exit::Violated
    } else {
        Exit::Fine
    }
}

fn style(status: Status) -> Style {
    match status {
        Status::Pass => Style::new().green(),
        Status::Fail | Status::Crash | Status::Hang => Style::new().red().bold(),
        Status::Skip => Style::new().yellow(),
        Status::Error => Style::new().magenta().bold(),
    }
}

fn text(report: &Report) -> String {
    let mut text = heading(report);
    let shared = shared_reasons(report);
    for case in &report.cases {
        text += &line(case, &shared);
    }
    for (number, (reason, count)) in shared.iter().enumerate() {
        let reason = printable(reason);
        text += &format!("\n[{}] {count} cases skipped: {reason}\n", number + 1);
    }
    for case in &report.cases {
        if case.status.is_fault() || case.status == Status::Error {
            text += &explained(case);
        }
    }
    text + &summary(report)
}

fn heading(report: &Report) -> String {
    let file = printable(&report.file.display().to_string());
    match &report.manifest {
        Some(manifest) => {
            let (name, version) = (printable(&manifest.name), printable(&manifest.version));
            format!("{name} {version} ({file}), seed {}\n\n", report.seed)
        }
        None => format!("{file}\n\n"),
    }
}

/// More cases than this that are skipped for one reason name it once, below all lines.
const REPEATED: usize = 2;

/// The reasons that many cases were skipped for, in the order of the first of them, and for how many.
fn shared_reasons(report: &Report) -> Vec<(&str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for case in report
        .cases
        .iter()
        .filter(|case| case.status == Status::Skip)
    {
        match counts
            .iter_mut()
            .find(|(reason, _)| *reason == case.happened)
        {
            Some((_, count)) => *count += 1,
            None => counts.push((&case.happened, 1)),
        }
    }
    counts.retain(|(_, count)| *count > REPEATED);
    counts
}

fn line(case: &CaseReport, shared: &[(&str, usize)]) -> String {
    let status = style(case.status);
    let word = status.style(format!("{:5}", case.status.as_str()));
    let note = shared
        .iter()
        .position(|(reason, _)| *reason == case.happened);
    let why = match (case.status, note) {
        (Status::Skip, Some(number)) => format!("  [{}]", number + 1),
        (Status::Skip, None) => format!("  {}", printable(&case.happened)),
        _ => String::new(),
    };
    format!("{word}  {:32} {:6} ms{why}\n", case.id, case.took_ms)
}

fn explained(case: &CaseReport) -> String {
    let word = style(case.status).style(case.status.as_str()).to_string();
    let mut text = format!(
        "\n{word} {}\n  expected: {}\n  happened: {}\n",
        case.id,
        case.expected,
        printable(&case.happened)
    );
    if !case.fix.is_empty() {
        text += &format!("  to fix:  {}\n", case.fix);
    }
    text
}

fn summary(report: &Report) -> String {
    let all = [
        Status::Pass,
        Status::Fail,
        Status::Crash,
        Status::Hang,
        Status::Skip,
        Status::Error,
    ];
    let counts = all
        .into_iter()
        .map(|status| (status, report.count(status)))
        .filter(|(status, count)| *count > 0 || *status == Status::Pass)
        .map(|(status, count)| {
            style(status)
                .style(format!("{count} {}", status.as_str()))
                .to_string()
        });
    let counts: Vec<_> = counts.collect();
    let seconds = report.took().as_secs_f64();
    let cases = report.cases.len();
    format!("\n{cases} cases in {seconds:.1} s: {}\n", counts.join(", "))
}

/// A progress line on the terminal.
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn new(is_quiet: bool) -> Self {
        let is_shown = !is_quiet && io::stderr().is_terminal();
        Self { is_shown }
    }

    fn show(&mut self, id: &str, done: usize, all: usize) {
        if self.is_shown {
            // There is nowhere left to report that standard error is closed.
            let _ = write!(io::stderr(), "\r\u{1b}[K{done} of {all}: {id}");
        }
    }

    fn clear(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(statuses: &[Status]) -> Report {
        let cases = statuses.iter().map(|status| CaseReport {
            id: "check.fuzz".into(),
            group: "check".into(),
            status: *status,
            expected: "an answer".into(),
            happened: "\u{1b}[2Jnone".into(),
            fix: "answer".into(),
            took_ms: 12,
        });
        Report {
            file: "/p/libx.so".into(),
            manifest: None,
            sha256: None,
            seed: 1,
            rounds: 2,
            took_ms: 1500,
            cases: cases.collect(),
        }
    }

    #[test]
    fn the_exit_code_tells_whose_fault_it_is() {
        use Status::{Crash, Error, Fail, Hang, Pass, Skip};
        for (statuses, expected) in [
            (&[Pass, Skip][..], Exit::Fine),
            (&[Pass, Fail], Exit::Violated),
            (&[Pass, Crash], Exit::Violated),
            (&[Pass, Hang], Exit::Violated),
            (&[Pass, Fail, Error], Exit::BadInput),
            (&[Skip, Skip], Exit::BadInput),
            (&[], Exit::BadInput),
        ] {
            assert_eq!(exit(&report(statuses)), expected, "{statuses:?}");
        }
    }

    #[test]
    fn a_reason_that_many_cases_share_is_shown_once() {
        let skip = Status::Skip;
        let mut many = report(&[skip, skip, skip, skip, Status::Pass]);
        many.cases[3].happened = "another".into();
        let text = text(&many);
        let text = anstream::adapter::strip_str(&text).to_string();
        let line =
            |end: &str| format!("skip   check.fuzz                           12 ms  {end}\n");
        assert!(text.contains(&line("[1]").repeat(3)), "{text}");
        assert!(text.contains(&line("another")), "{text}");
        assert_eq!(text.matches("none").count(), 1, "{text}");
        assert!(text.contains("\n[1] 3 cases skipped:"), "{text}");
    }

    #[test]
    fn a_failed_case_is_shown_with_its_fix() {
        let text = text(&report(&[Status::Fail, Status::Pass]));
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            text,
            "/p/libx.so\n\n\
             fail   check.fuzz                           12 ms\n\
             pass   check.fuzz                           12 ms\n\
             \nfail check.fuzz\n  expected: an answer\n  happened: \\u{1b}[2Jnone\n  to fix:  answer\n\
             \n2 cases in 1.5 s: 1 pass, 1 fail\n"
        );
    }
}
