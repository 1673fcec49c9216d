//! The real program as its own compile worker.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use e2e::until;
use keyway::observe::Metrics;
use keyway::plugin::{Candidate, Load, PluginName, Sidecar, Version};
use keyway::policy::Limits;
use keyway::transform::{Compile, Sandbox, Settings, worker};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keyway");

fn guest(body: &str) -> Vec<u8> {
    let mut module = wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
            (func (export "keyway:transform/transform@0.1.0#transform")
                (param i32 i32 i32 i64 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {body}))"#
    ))
    .unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/0.1.0")).unwrap();
    let world = resolve.select_world(&[package], Some("plugin")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn candidate(component: Vec<u8>) -> Candidate {
    Candidate {
        name: PluginName::new("default", "plugin"),
        version: Version("0".into()),
        component: Bytes::from(component),
        sidecar: Sidecar::default(),
        limits: Limits::default(),
    }
}

fn sandbox(program: &Path, cache: &Path) -> Sandbox {
    let settings = Settings { compile: Compile::Worker(program.to_owned()), cache: Some(cache.to_owned()), instances: 8, ..Settings::default() };
    Sandbox::new(&settings, Metrics::new()).unwrap()
}

#[tokio::test]
async fn what_the_worker_compiles_runs_here_and_is_found_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let component = guest("(i32.const 0)");
    sandbox(Path::new(PROGRAM), &cache).load(&candidate(component.clone())).await.unwrap();
    // A worker that is not there: the second start needs none.
    sandbox(Path::new("/nonexistent"), &cache).load(&candidate(component)).await.unwrap();
    let refusal = sandbox(Path::new("/nonexistent"), &cache).load(&candidate(guest("(i32.const 4)"))).await.unwrap_err();
    assert!(refusal.cause.contains("the compiler's process failed"), "{}", refusal.cause);
}

#[test]
fn the_worker_says_what_it_cannot_compile() {
    let mut child = Command::new(PROGRAM).arg(worker::COMMAND).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\0asm\x0d\0\x01\0\xff").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("offset"), "{text}");
}

/// A worker that waits for its component.
fn worker(arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg(worker::COMMAND).args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Long, since tests share their machine.
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn the_worker_is_confined_before_it_reads_anything() {
    let mut child = worker(&["1073741824", "5"]);
    let folder = PathBuf::from(format!("/proc/{}", child.id()));
    let limit = |name: &str| {
        let limits = std::fs::read_to_string(folder.join("limits")).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut fields = line.split_whitespace().map(str::to_owned);
        (fields.next().unwrap(), fields.next().unwrap())
    };
    let both = |value: &str| (value.to_owned(), value.to_owned());
    until("the last of its limits", DEADLINE, || (limit("Max file size") == both("0")).then_some(()));
    assert_eq!(limit("Max address space"), both("1073741824"));
    assert_eq!(limit("Max cpu time"), ("5".to_owned(), "6".to_owned()));
    assert_eq!(limit("Max core file size"), both("0"));
    assert_eq!(std::fs::read_to_string(folder.join("oom_score_adj")).unwrap().trim(), "1000");
    // It has waited for this.
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// A component that takes some seconds, or some hundred MiB.
fn slow() -> Vec<u8> {
    hostile_guests::slow_to_compile(6).component()
}

/// Field 19 of `/proc/PID/task/TID/stat`, proc(5), of each thread.
fn priorities(id: u32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
    });
    threads.collect()
}

#[test]
fn the_worker_has_a_head_start_and_then_stands_back() {
    let mut child = worker(&[]);
    let (id, mut stdin) = (child.id(), child.stdin.take().unwrap());
    let mine = priorities(std::process::id()).into_iter().min().unwrap();
    // Two wait, one for the component and one for what comes of it; the third is the one that looks after the first.
    until("its threads", DEADLINE, || (priorities(id).len() == 3).then_some(()));
    assert!(priorities(id).iter().all(|nice| *nice == mine.max(5) && *nice < 15), "{:?}", priorities(id));
    let writing = std::thread::spawn(move || drop(stdin.write_all(&slow())));
    until("it to stand back", DEADLINE, || {
        assert!(child.try_wait().unwrap().is_none(), "it was done before");
        priorities(id).contains(&15).then_some(())
    });
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum::<u32>();
    assert!(ticks >= 15, "{ticks} hundredths of a second are no head start");
    child.kill().unwrap();
    child.wait().unwrap();
    writing.join().unwrap();
}

#[test]
fn a_worker_without_a_head_start_stands_back_at_once() {
    let mut child = worker(&["3221225472", "60", "0"]);
    until("it to stand back", DEADLINE, || priorities(child.id()).contains(&15).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The worker under other limits than the host asked for.
fn limited(folder: &Path, arguments: &str) -> PathBuf {
    let path = folder.join("worker");
    std::fs::write(&path, format!("#!/bin/sh\nexec {PROGRAM} \"$1\" {arguments}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[tokio::test]
async fn a_component_that_takes_more_than_there_is_for_it_is_refused_with_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [("\"$2\" 1", "60 s of CPU time to compile"), ("400000000 \"$3\" 0", "of memory to compile")] {
        let program = limited(folder.path(), arguments);
        let refusal = sandbox(&program, &folder.path().join("cache")).load(&candidate(slow())).await.unwrap_err();
        assert!(refusal.cause.contains(words), "{}", refusal.cause);
        assert!(refusal.hint.unwrap().contains("make it smaller"));
    }
}
