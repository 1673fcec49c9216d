//! The worker: the process that compiles one component and ends.
//!
//! It reads a component from its standard input and writes the compiled form to its standard output, under limits that it sets for itself
//! before it reads the first byte. It knows nothing else: no environment, no configuration, no open files.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Resource, Rlimit, setpriority_process, setrlimit};
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use super::super::engine;
use super::bounds::Bounds;

/// The first argument of this program when it is to be a worker.
pub const COMMAND: &str = "compile-worker";

/// Stack of the thread that compiles: Cranelift recurses over deep control flow, and overflows a thread's usual 2 MiB.
const STACK: usize = 64 << 20;
/// How much it stands back behind traffic from the beginning: a third of what a record's thread gets. With none at all the records' p99 was 1.7 times the quiet one
/// while a new version came every second.
const HEAD_START_NICE: i32 = 5;
/// How much it stands back after its head start. JavaScript and Python take seconds, and whoever waits for them does not mind a few more.
const NICE: i32 = 15;
/// Bytes that a pipe holds: as much as anybody may ask for (pipe(7)). With the usual 64 KiB, worker and host take turns to wait for each other.
const PIPE: usize = 1 << 20;

/// Compiles standard input to standard output if that is what this process was started for, and says how it ended; else the error's text is on standard
/// output. Called before anything else of the program, since it needs nothing of it.
pub fn main() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).map_while(|argument| argument.into_string().ok());
    if arguments.next().as_deref() != Some(COMMAND) {
        return None;
    }
    let compiled = Bounds::told(arguments).and_then(|bounds| {
        confine(&bounds)?;
        let compiling = std::thread::Builder::new().stack_size(STACK).spawn(move || compile(bounds.head_start))?;
        compiling.join().map_err(|_| anyhow::anyhow!("the compiler panicked"))?
    });
    let (output, well) = match compiled {
        Ok(artifact) => (artifact, true),
        Err(error) => (format!("{error:#}").into_bytes(), false),
    };
    // When this fails the parent is gone, and nobody asks how it ended.
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(&output).and_then(|()| stdout.flush()).is_ok();
    Some(if written && well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a file can do to its compiler, it can do within these.
fn confine(bounds: &Bounds) -> anyhow::Result<()> {
    // When memory runs out it is not the host that is to go. A file of the kernel's, where there is one; and a limit of memory holds without it.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    let limit = |resource, current, maximum| setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) });
    limit(Resource::As, bounds.memory, bounds.memory)?;
    // At the first the kernel sends SIGXCPU, at the second SIGKILL: so that what ends by SIGKILL was killed by somebody else.
    limit(Resource::Cpu, bounds.cpu, bounds.cpu + 1)?;
    limit(Resource::Core, 0, 0)?;
    // A compiler writes no file. Pipes are not counted.
    limit(Resource::Fsize, 0, 0)?;
    // For all threads that are yet to come. One that stands back further already is not allowed to, and need not.
    let _ = setpriority_process(None, HEAD_START_NICE);
    // It works with what they hold now, too.
    let _ = fcntl_setpipe_size(std::io::stdin(), PIPE);
    let _ = fcntl_setpipe_size(std::io::stdout(), PIPE);
    Ok(())
}

fn compile(head_start: Duration) -> anyhow::Result<Vec<u8>> {
    let compiling = gettid();
    std::thread::Builder::new().spawn(move || stand_back(compiling, head_start))?;
    let mut component = Vec::new();
    std::io::stdin().read_to_end(&mut component)?;
    Ok(engine::compiling()?.precompile_component(&component)?)
}

/// Lowers the priority of the thread that compiles when its head start is used up. Linux has a priority for each thread (setpriority(2)).
fn stand_back(compiling: Pid, head_start: Duration) {
    loop {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs() as u32);
        let left = head_start.saturating_sub(used);
        if left.is_zero() {
            break;
        }
        // One thread compiles, so it cannot use it up sooner.
        #[expect(clippy::disallowed_methods, reason = "a thread of the operating system, on which no task runs")]
        std::thread::sleep(left.max(Duration::from_millis(1)));
    }
    // Failing costs the others some of their turns, and no more.
    let _ = setpriority_process(Some(compiling), NICE);
}
