//! The parent's side of the worker.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{uncompilable, worker};
use crate::plugin::Refusal;

/// Time by the clock: the CPU limit, and half as much again for a machine that has other things to do.
const WALL_MAX: Duration = Duration::from_secs(90);
/// Bytes of the compiled form; StarlingMonkey's 12 MB become 37.
const OUTPUT_MAX: u64 = 256 << 20;
/// Bytes of an error's text that are shown.
const ERROR_MAX: usize = 2 << 10;

/// Compiles a component in a child process.
///
/// # Errors
/// It cannot be compiled, or not within the limits; or the child could not be started.
pub(super) async fn compile(program: &Path, component: Bytes) -> Result<Vec<u8>, Refusal> {
    compile_within(program, component, WALL_MAX).await
}

/// As [`compile`], within this time.
pub(super) async fn compile_within(program: &Path, component: Bytes, wall: Duration) -> Result<Vec<u8>, Refusal> {
    let broken = |error: std::io::Error| Refusal { cause: format!("the compiler's process failed: {error}"), hint: None };
    let mut child = Command::new(program)
        .arg(worker::COMMAND)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let group = Group(child.id());
    let ended = timeout(wall, converse(&mut child, component)).await;
    drop(group);
    let (output, status) = match ended {
        Ok(talked) => talked.map_err(broken)?,
        Err(_) => return Err(too_much(format!("takes more than {wall:?} to compile"))),
    };
    if status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output[..output.len().min(ERROR_MAX)]).into_owned();
    Err(match (status.code(), status.signal()) {
        (Some(1), _) => uncompilable(text),
        // SIGXCPU, and the SIGKILL that follows it.
        (_, Some(24 | 9)) => too_much(format!("takes more than {} s of CPU time to compile", worker::CPU_MAX)),
        // Rust aborts when it is out of memory; a stack that overflows ends in SIGSEGV.
        (_, Some(6 | 11)) => too_much(format!("takes more than {} GiB of memory to compile, or crashes the compiler", worker::MEMORY_MAX >> 30)),
        _ => Refusal { cause: format!("the compiler's process failed: {}", describe(status)), hint: None },
    })
}

/// Writes the component, reads the output, and waits for the end.
async fn converse(child: &mut Child, component: Bytes) -> std::io::Result<(Vec<u8>, ExitStatus)> {
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
            stdout.take(OUTPUT_MAX).read_to_end(&mut output).await?;
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
    Refusal { cause, hint: Some("make it smaller: leave out what the plugin does not use, and generated tables and functions first".to_owned()) }
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}
