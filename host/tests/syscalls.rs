//! What a fresh instance costs the kernel: system calls that take the process's memory lock are what keeps more threads from being faster.
//!
//! The bound is on those that change mappings (mmap, munmap, mprotect, madvise and the like), which take that lock for themselves alone. Two that take it are
//! not in it: `brk`, by which the allocator of the host's own memory grows, and one `ioctl` (`PAGEMAP_SCAN`) for each record, by which wasmtime asks which pages
//! a guest has touched. That one shares the lock with its like; it is counted apart and printed.
//!
//! Counted by strace over a program that makes so many calls of a plugin, less what the same program does without them. The program is this
//! test itself, started again.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]
#![expect(clippy::print_stderr, reason = "figures are read where the test is run")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use keyway::observe::Metrics;
use keyway::plugin::{Candidate, Load, Plugin, PluginName, Sidecar, Version};
use keyway::policy::Limits;
use keyway::reload::Case;
use keyway::transform::{Sandbox, Settings, Transform};

/// Names the example, and says how many calls are to be made of it, in the program that is counted.
const EXAMPLE: &str = "KEYWAY_TEST_EXAMPLE";
const CALLS: &str = "KEYWAY_TEST_CALLS";

/// Enough that a call's share of what happens once is nothing.
const MANY: u32 = 3_000;

/// Calls for which the pool's places are made ready and the allocator's memory is fetched; more of that kind come no more.
const WARM: u32 = 500;

/// mmap, munmap, mprotect, madvise, mremap and the like; `brk` is left out, by which the allocator of the host's own memory grows.
const MEMORY: &str = "%memory";
/// `PAGEMAP_SCAN`, by which wasmtime asks which pages a guest has touched. It reads under the same lock and is counted apart.
const SCAN: &str = "ioctl";

/// The first case of an example, and its component.
fn example(name: &str) -> (Bytes, Case) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/built");
    let component = folder.join(name).with_extension("wasm");
    let component = std::fs::read(&component).unwrap_or_else(|error| panic!("{}: {error}; `make guests` builds it", component.display()));
    let cases = folder.join(name).with_extension("cases");
    let mut files: Vec<_> = std::fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    (component.into(), Case::parse(&std::fs::read_to_string(&files[0]).unwrap()).unwrap())
}

#[tokio::test]
#[ignore = "the program that is counted: the test below runs it"]
async fn calls_to_be_counted() {
    let (name, calls) = (std::env::var(EXAMPLE).unwrap(), std::env::var(CALLS).unwrap());
    let (component, case) = example(&name);
    let sandbox = Sandbox::new(&Settings { instances: 8, ..Settings::default() }, Metrics::new()).unwrap();
    let name = PluginName::new("default", &name);
    let candidate = Candidate { name, version: Version("0".into()), component, sidecar: Sidecar::default(), limits: Limits::default() };
    let loaded = sandbox.load(&candidate).await.unwrap();
    let plugin = Plugin::alone(candidate, loaded.code, loaded.sees_replies);
    for _ in 0..WARM + calls.parse::<u32>().unwrap() {
        sandbox.transform(&plugin, &case.record).await.unwrap();
    }
}

/// System calls of each name that the program makes with so many calls of the example.
fn counted(name: &str, calls: u32) -> BTreeMap<String, u64> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("counts");
    let run = Command::new("strace")
        .args(["-f", "-c", "-U", "calls,name", "-e", &format!("trace={MEMORY},{SCAN}"), "-o"])
        .arg(&output)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "calls_to_be_counted", "--test-threads=1"])
        .env(EXAMPLE, name)
        .env(CALLS, calls.to_string())
        .output()
        .unwrap_or_else(|error| panic!("strace: {error}; install it (Debian: `apt-get install strace`)"));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = std::fs::read_to_string(&output).unwrap();
    let lines = text.lines().filter_map(|line| {
        let (count, name) = line.trim().split_once(char::is_whitespace)?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    });
    let counts: BTreeMap<String, u64> = lines.filter(|(name, _)| name != "total").collect();
    assert!(counts.contains_key("mmap"), "strace counted nothing: {text}");
    counts
}

#[test]
fn a_fresh_instance_of_an_example_makes_no_memory_system_calls() {
    for name in ["order", "shipment", "refund", "audit", "follow"] {
        let (without, with) = (counted(name, 0), counted(name, MANY));
        let share = |name: &str| {
            let difference = with.get(name).copied().unwrap_or(0) as f64 - without.get(name).copied().unwrap_or(0) as f64;
            difference / f64::from(MANY)
        };
        let memory: f64 = with.keys().filter(|name| !matches!(name.as_str(), "ioctl" | "brk")).map(|name| share(name)).sum();
        eprintln!("{name}: {memory:.3} memory system calls a record, {:.3} scans of touched pages", share("ioctl"));
        assert!(memory < 0.1, "{name}: {memory:.3} memory system calls a record: {with:?} against {without:?}");
    }
}
