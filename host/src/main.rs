//! The program: arguments, logging, one command, exit code. `cli/run.rs` tells the life of a host.

use std::process::ExitCode;

use clap::Parser as _;
use keyway::cli::{Arguments, logging};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(&arguments.logging, arguments.command.usual_log());
    arguments.command.execute().into()
}
