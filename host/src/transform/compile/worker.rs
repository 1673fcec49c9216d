//! The worker: the process that compiles one component and ends.
//!
//! It reads a component from its standard input and writes the compiled form to its standard output, under limits that it sets for itself
//! before it reads the first byte. It knows nothing else: no environment, no configuration, no open files.

use std::io::{Read, Write};

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

use super::super::engine;

/// The hidden command of this program that runs [`main`].
pub const COMMAND: &str = "compile-worker";

/// Bytes of address space. componentize-py's 18 MB take about a third of it.
pub(super) const MEMORY_MAX: u64 = 3 << 30;
/// Seconds of CPU time. The slowest known component of the gate's size takes 10.
pub(super) const CPU_MAX: u64 = 60;
/// Stack of the thread that compiles: Cranelift recurses over deep control flow, and overflows a thread's usual 2 MiB.
const STACK: usize = 64 << 20;
/// How much the process stands back behind traffic.
const NICE: i32 = 15;

/// Compiles standard input to standard output, and says whether it did; else the error's text is on standard output.
pub fn main() -> bool {
    let compiled = confine().and_then(|()| {
        let compiling = std::thread::Builder::new().stack_size(STACK).spawn(compile)?;
        compiling.join().map_err(|_| anyhow::anyhow!("the compiler panicked"))?
    });
    let (output, well) = match compiled {
        Ok(artifact) => (artifact, true),
        Err(error) => (format!("{error:#}").into_bytes(), false),
    };
    // When this fails the parent is gone, and nobody asks how it ended.
    std::io::stdout().write_all(&output).is_ok() && well
}

/// What a file can do to its compiler, it can do within these.
fn confine() -> anyhow::Result<()> {
    let limit = |resource, value| setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
    limit(Resource::As, MEMORY_MAX)?;
    limit(Resource::Cpu, CPU_MAX)?;
    limit(Resource::Core, 0)?;
    // A compiler writes no file. Pipes are not counted.
    limit(Resource::Fsize, 0)?;
    setpriority_process(None, NICE)?;
    Ok(())
}

fn compile() -> anyhow::Result<Vec<u8>> {
    let mut component = Vec::new();
    std::io::stdin().read_to_end(&mut component)?;
    Ok(engine::compiling()?.precompile_component(&component)?)
}
