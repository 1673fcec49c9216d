//! The program: arguments, logging, one command, exit code. `cli/run.rs` tells the life of a host.

use std::process::ExitCode;

use clap::Parser as _;
use keyway::cli::{Arguments, logging};
use tikv_jemallocator::Jemalloc;

/// A tenth of the CPU time of a record, and of the memory; see `docs/decisions/0013-jemalloc.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(&arguments.logging, arguments.command.usual_log());
    arguments.command.execute().into()
}
