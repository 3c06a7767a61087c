//! From a plugin file to a report: selects the cases, runs each in its own process, and joins the results.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use operator_loader::{LoadError, LoadErrorKind, Plugin};

use super::{
    CaseReport, Report, Status,
    case::Case,
    cases, golden,
    process_pool::{ProcessPool, Scratch},
    protocol::CaseInput,
    verdict::{Finished, Stop, resolve},
};

/// The limit of an ordinary call.
const MAX_CALL: Duration = Duration::from_secs(10);

/// Which plugin to judge, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The plugin.
    pub file: PathBuf,
    /// Its golden files; searched for near the plugin if not given.
    pub golden: Option<PathBuf>,
    /// Only these cases and groups; all of them if empty.
    pub only: Vec<String>,
    /// Skip these cases and groups.
    pub skip: Vec<String>,
    /// The same seed repeats the same fuzz rounds.
    pub seed: u64,
    /// Rounds of each fuzzing case.
    pub rounds: u32,
    /// Cases that run at the same time.
    pub jobs: usize,
    /// The limit of one case.
    pub timeout: Duration,
    /// Whether a skipped case counts as failed.
    pub strict: bool,
}

/// A case, for listings.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// `group.name`
    pub id: &'static str,
    /// What a conforming plugin does.
    pub expects: &'static str,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The plugin file does not exist or cannot be read.
    #[error(transparent)]
    File(LoadError),
    /// The patterns select no case.
    #[error("{0}")]
    Selection(String),
    /// The folder of golden files does not exist.
    #[error("--golden: {}: no such folder", .0.display())]
    Golden(PathBuf),
    /// No private directory could be created.
    #[error("the suite needs a private directory: {0}")]
    Scratch(#[source] io::Error),
}

/// The cases that these patterns select. A pattern is a case, a group, or a prefix of either followed by `*`.
pub fn listed(only: &[String], skip: &[String]) -> Result<Vec<Listed>, SuiteError> {
    let cases = select(only, skip)?;
    Ok(cases
        .into_iter()
        .map(|case| Listed {
            id: case.id,
            expects: case.expects,
        })
        .collect())
}

fn select(only: &[String], skip: &[String]) -> Result<Vec<&'static Case>, SuiteError> {
    for pattern in only.iter().chain(skip) {
        if !cases::all().any(|case| matches(pattern, case)) {
            let what = format!("no case is called {pattern}; `--list` shows them");
            return Err(SuiteError::Selection(what));
        }
    }
    let is_selected = |case: &&Case| {
        let meets = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, case));
        (only.is_empty() || meets(only)) && !meets(skip)
    };
    let chosen: Vec<_> = cases::all().filter(is_selected).collect();
    if chosen.is_empty() {
        let what = "no case is left to run; change --only or --skip";
        return Err(SuiteError::Selection(what.to_owned()));
    }
    Ok(chosen)
}

fn matches(pattern: &str, case: &Case) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => case.id.starts_with(beginning),
        None => pattern == case.id || pattern == case.group(),
    }
}

/// Judges the plugin. `progress` gets each case that has ended, the number that have, and the number of all.
pub fn run(
    options: &Options,
    mut progress: impl FnMut(&str, usize, usize),
) -> Result<Report, SuiteError> {
    let begun = Instant::now();
    let cases = select(&options.only, &options.skip)?;
    if let Some(folder) = options.golden.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(SuiteError::Golden(folder.clone()));
    }
    let scratch = Scratch::new().map_err(SuiteError::Scratch)?;
    let plugin = match Plugin::open(&options.file, None, &scratch.0.join("plugin")) {
        Ok(plugin) => Ok(plugin),
        Err(error) if error.kind == LoadErrorKind::Other => return Err(SuiteError::File(error)),
        Err(error) => Err((error.kind, error.why)),
    };
    let library = match &plugin {
        Ok(plugin) => fs::read(&plugin.copy).map_err(SuiteError::Scratch)?,
        Err(_) => Vec::new(),
    };
    let suite = Suite {
        options,
        library,
        golden: options.golden.clone().or_else(|| {
            let name = plugin.as_ref().ok().map(|plugin| &*plugin.manifest.name);
            golden::find(&options.file, name)
        }),
        plugin,
        scratch,
    };
    let finished = suite.run_all(&cases, &mut progress);
    Ok(suite.report(&cases, &finished, begun.elapsed()))
}

struct Suite<'a> {
    options: &'a Options,
    plugin: Result<Plugin, (LoadErrorKind, String)>,
    /// The bytes that were examined: a case can write to our files, and must not change what the next one loads.
    library: Vec<u8>,
    golden: Option<PathBuf>,
    scratch: Scratch,
}

impl Suite<'_> {
    fn run_all(
        &self,
        cases: &[&'static Case],
        progress: &mut impl FnMut(&str, usize, usize),
    ) -> Vec<Finished> {
        let pool = ProcessPool::open();
        let queue: Mutex<VecDeque<_>> = Mutex::new(cases.iter().enumerate().collect());
        let (done, is_done) = mpsc::channel();
        let mut finished = Vec::new();
        thread::scope(|scope| {
            for _ in 0..self.options.jobs.clamp(1, cases.len()) {
                let (done, queue, pool) = (done.clone(), &queue, &pool);
                scope.spawn(move || {
                    let next = || {
                        queue
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop_front()
                    };
                    while let Some((place, case)) = next() {
                        let _ = done.send((place, self.run_one(case, pool)));
                    }
                });
            }
            drop(done);
            for (place, one) in is_done {
                finished.push((place, one));
                let id = finished
                    .last()
                    .map_or("", |(_, one): &(_, Finished)| one.id);
                progress(id, finished.len(), cases.len());
            }
        });
        finished.sort_by_key(|(place, _)| *place);
        finished.into_iter().map(|(_, one)| one).collect()
    }

    fn run_one(&self, case: &'static Case, pool: &ProcessPool) -> Finished {
        let begun = Instant::now();
        let result = match self.input(case) {
            Ok(input) => pool.run(&input, self.options.timeout),
            Err(error) => Err(Stop::error(format!("the case's directory: {error}"))),
        };
        // A hundred copies of a large library fill a disk.
        let _ = fs::remove_dir_all(self.scratch.0.join(case.id));
        Finished {
            id: case.id,
            result,
            took: begun.elapsed(),
        }
    }

    /// Creates the case's private directory, with its own copy of the library in it.
    fn input(&self, case: &Case) -> io::Result<CaseInput> {
        let dir = self.scratch.0.join(case.id);
        fs::create_dir(&dir)?;
        let mut plugin = self.plugin.clone();
        if let Ok(plugin) = &mut plugin {
            let name = plugin.copy.file_name().unwrap_or_default();
            let copy = dir.join(name);
            write_library(&copy, &self.library)?;
            plugin.copy = copy;
        }
        let call = MAX_CALL.min(self.options.timeout / 4);
        Ok(CaseInput {
            case: case.id.to_owned(),
            file: self.options.file.clone(),
            plugin,
            dir,
            golden: self.golden.clone(),
            seed: self.options.seed,
            rounds: self.options.rounds,
            call_ms: u64::try_from(call.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn report(&self, cases: &[&Case], finished: &[Finished], took: Duration) -> Report {
        let resolved = resolve(finished).into_iter();
        let each = cases.iter().zip(finished).zip(resolved);
        let cases = each.map(|((case, finished), (status, happened))| {
            let status = match status {
                Status::Skip if self.options.strict => Status::Fail,
                other => other,
            };
            CaseReport {
                id: case.id.to_owned(),
                group: case.group().to_owned(),
                status,
                expected: case.expects.to_owned(),
                happened,
                fix: if status.is_fault() { case.fix } else { "" }.to_owned(),
                took_ms: finished.took.as_millis(),
            }
        });
        let plugin = self.plugin.as_ref().ok();
        Report {
            file: self.options.file.clone(),
            manifest: plugin.map(|plugin| plugin.manifest.clone()),
            sha256: plugin.map(|plugin| plugin.sha256.clone()),
            seed: self.options.seed,
            rounds: self.options.rounds,
            took_ms: took.as_millis(),
            cases: cases.collect(),
        }
    }
}

fn write_library(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o500)
        .open(path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(only: &[&str], skip: &[&str]) -> Result<Vec<&'static str>, SuiteError> {
        let owned =
            |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let listed = listed(&owned(only), &owned(skip))?;
        Ok(listed.into_iter().map(|case| case.id).collect())
    }

    #[test]
    fn cases_are_selected_by_name_by_group_and_by_beginning() {
        assert_eq!(ids(&["load.time"], &[]).unwrap(), ["load.time"]);
        let group = ids(&["describe"], &[]).unwrap();
        assert!(group.len() > 2 && group.iter().all(|id| id.starts_with("describe.")));
        assert_eq!(ids(&["describe*"], &[]).unwrap(), group);
        let all = ids(&[], &[]).unwrap();
        assert_eq!(
            ids(&[], &["describe"]).unwrap().len(),
            all.len() - group.len()
        );
    }

    #[test]
    fn a_selection_of_nothing_is_an_error() {
        assert!(ids(&["lod.time"], &[]).is_err());
        assert!(ids(&["load"], &["load"]).is_err());
    }
}
