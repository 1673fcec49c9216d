//! The parent's side of the worker.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::super::call::mebibytes;
use super::bounds::Bounds;
use super::{uncompilable, worker};
use crate::plugin::Refusal;

/// Bytes of an error's text that are shown.
const ERROR_MAX: usize = 2 << 10;
/// Between two attempts to start the process, twice as long after each up to the second. Arbitrary: a machine that has run out of something is not helped
/// by haste.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// Compiles a component in a child process.
///
/// # Errors
/// It cannot be compiled, or not within the bounds; or the child could not be started for a reason that does not pass.
pub(super) async fn compile(program: &Path, component: Bytes, bounds: Bounds) -> Result<Vec<u8>, Refusal> {
    let broken = |error: std::io::Error| Refusal { cause: format!("the compiler's process failed: {error}"), hint: None };
    let mut child = persistently(|| command(program, &bounds).spawn()).await.map_err(broken)?;
    let group = Group(child.id());
    let ended = timeout(bounds.wall, converse(&mut child, component, bounds.output)).await;
    drop(group);
    let (output, status) = match ended {
        Ok(talked) => talked.map_err(broken)?,
        Err(_) => return Err(too_much(format!("takes more than {:?} to compile", bounds.wall))),
    };
    if output.len() as u64 > bounds.output {
        return Err(too_much(format!("is more than {} once it is compiled", mebibytes(bounds.output))));
    }
    if status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output[..output.len().min(ERROR_MAX)]).into_owned();
    Err(match (status.code(), status.signal()) {
        (Some(1), _) => uncompilable(text),
        (_, Some(libc::SIGXCPU)) => too_much(format!("takes more than {} s of CPU time to compile", bounds.cpu)),
        // Rust aborts when it is out of memory; a stack that overflows ends in SIGSEGV.
        (_, Some(libc::SIGABRT | libc::SIGSEGV)) => {
            too_large(format!("takes more than {} of memory to compile, or crashes the compiler", mebibytes(bounds.memory)))
        }
        (_, Some(libc::SIGKILL)) => too_large("its compiler was killed, as the system does when memory runs out".to_owned()),
        _ => Refusal { cause: format!("the compiler's process failed: {status}"), hint: None },
    })
}

fn command(program: &Path, bounds: &Bounds) -> Command {
    let mut command = Command::new(program);
    command.arg(worker::COMMAND).args(bounds.arguments()).env_clear().process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Starts something, again and again while the machine has no processes, memory or descriptors for it: that says nothing of the component. Bounded by
/// whoever waits for the plugin.
pub(super) async fn persistently<T>(mut start: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    let [mut pause, longest] = PAUSE;
    loop {
        let error = match start() {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        let passes = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        if !error.raw_os_error().is_some_and(|error| passes.contains(&error)) {
            return Err(error);
        }
        tracing::warn!(%error, "the compiler's process could not be started; it is tried again, and the plugin waits");
        sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

/// Writes the component, reads the output (and a byte more than there may be of it), and waits for the end.
async fn converse(child: &mut Child, component: Bytes, most: u64) -> std::io::Result<(Vec<u8>, ExitStatus)> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A child that ends before it has read all says why by its exit.
            drop(stdin.write_all(&component).await);
        }
    };
    let read = async {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(most + 1).read_to_end(&mut output).await?;
        }
        Ok::<_, std::io::Error>(output)
    };
    let ((), output) = tokio::join!(write, read);
    Ok((output?, child.wait().await?))
}

/// The child's process group, which ends with the call, however that ends.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(leader) = leader {
            // It has mostly ended by itself, and then there is no such group.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

fn too_much(cause: String) -> Refusal {
    Refusal { cause, hint: Some(SMALLER.to_owned()) }
}

/// Of memory.
fn too_large(cause: String) -> Refusal {
    let hint = format!("{SMALLER}; or give the host more memory: compiling may take half of what its control group has");
    Refusal { cause, hint: Some(hint) }
}

const SMALLER: &str = "make it smaller: leave out what the plugin does not use, and generated tables and functions first";
