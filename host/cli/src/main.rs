//! The `operator` command.

use std::process::ExitCode;

use operator::Environment;

fn main() -> ExitCode {
    // A worker process hosts one plugin and does nothing else.
    if let Some(ended) = operator_loader::worker_main(std::env::args_os()) {
        return ended;
    }
    // So does the process of a conformance case.
    if let Some(ended) = operator_conformance::case_main(std::env::args_os()) {
        return ended;
    }
    operator::main(std::env::args_os(), &Environment::of_this_process())
}
