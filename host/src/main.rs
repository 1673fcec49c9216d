//! The program: arguments, logging, one command, exit code. `cli/run.rs` tells the life of a host.

use std::process::ExitCode;

use clap::Parser as _;
use keyway::cli::{Arguments, logging};
use keyway::transform::worker;
use tikv_jemallocator::Jemalloc;

/// A tenth of the CPU time of a record, and of the memory; see `docs/decisions/0013-jemalloc.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // For each component that is to be compiled the host calls itself so, and a plugin is live the sooner the less is done before.
    if let Some(ended) = worker::main() {
        return ended;
    }
    let arguments = Arguments::parse();
    let _end = logging::start(&arguments.logging, arguments.command.usual_log(), arguments.command.log_writing());
    arguments.command.execute().into()
}
