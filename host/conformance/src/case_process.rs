//! A case's own process: it calls the plugin, which runs in a worker below it, and sends the suite its result.

use std::{
    env,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use operator_loader::{die_with_parent, take_stdin};

use super::{
    cases,
    context::CaseContext,
    process_pool,
    protocol::{CaseInput, CaseOutput},
    verdict::{CaseResult, Stop},
};

/// Runs a case if the arguments ask for it. `main` calls this before anything else.
pub fn case_main(mut arguments: env::ArgsOs) -> Option<ExitCode> {
    if arguments.nth(1)?.to_str()? != process_pool::ARGUMENT {
        return None;
    }
    let parent = arguments.next().and_then(|pid| pid.to_str()?.parse().ok());
    Some(match judge(parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn judge(parent: Option<i32>) -> io::Result<()> {
    die_with_parent(parent)?;
    // What the plugin starts stays below this process, so that the suite can end it.
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // The worker does not inherit it.
    let mut suite = UnixStream::from(take_stdin()?);
    let mut input = Vec::new();
    suite.read_to_end(&mut input)?;
    let result = run(serde_json::from_slice(&input)?);
    suite.write_all(&serde_json::to_vec(&CaseOutput { result })?)
}

fn run(input: CaseInput) -> CaseResult {
    let id = input.case.clone();
    let Some(case) = cases::all().find(|case| case.id == id) else {
        return Err(Stop::error(format!("there is no case {id}")));
    };
    let context = CaseContext::new(input)?;
    catch_unwind(AssertUnwindSafe(|| (case.run)(&context)))
        .unwrap_or_else(|_| Err(Stop::error("the suite's own code panicked")))
}
