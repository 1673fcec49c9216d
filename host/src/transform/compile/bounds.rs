//! What one compilation may take.
//!
//! Decided by the host, which tells the worker its part in arguments, so that the text of a refusal names the limit that was in force.

use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Bytes of address space. componentize-py's 18 MB take about a third of it.
const MEMORY_MAX: u64 = 3 << 30;
/// What the program itself, the stack of the thread that compiles and the reserve of the allocator's arenas take of it, and a small plugin. A host with
/// so little memory is not helped by less: the system kills the worker before the host.
const MEMORY_MIN: u64 = 512 << 20;
/// Seconds of CPU time. The slowest known component of the gate's size takes 10.
const CPU_MAX: u64 = 60;
/// CPU time that a compilation takes as anybody else does: a plugin of some 100 KiB is compiled within it, and is live soon on a busy machine too.
const HEAD_START: Duration = Duration::from_millis(200);
/// Head starts a second, so that a thousand new versions take no more than a fifth of a core from traffic ...
const HEAD_STARTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).expect("1 is not zero");
/// ... and how many may come at once, for whoever deploys a few plugins together.
const HEAD_STARTS_BURST: NonZeroU32 = NonZeroU32::new(5).expect("5 is not zero");
/// Time by the clock: the CPU limit, and half as much again for a machine that has other things to do.
const WALL_MAX: Duration = Duration::from_secs(90);
/// Bytes of the compiled form; StarlingMonkey's 12 MB become 37.
const OUTPUT_MAX: u64 = 256 << 20;

/// The limits of one compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes of address space.
    pub(super) memory: u64,
    /// Seconds of CPU time.
    pub(super) cpu: u64,
    /// CPU time before it stands back behind traffic; whole milliseconds.
    pub(super) head_start: Duration,
    /// Time by the clock.
    pub(super) wall: Duration,
    /// Bytes of the compiled form.
    pub(super) output: u64,
}

impl Bounds {
    /// Those of this machine: in a control group (cgroups(7)) with a limit of memory, half of that at most, since the other half is the host's.
    pub(super) fn here() -> Bounds {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let half = memory_of_group(&groups, Path::new("/sys/fs/cgroup")).map_or(MEMORY_MAX, |bytes| bytes / 2);
        Bounds { memory: half.clamp(MEMORY_MIN, MEMORY_MAX), cpu: CPU_MAX, head_start: HEAD_START, wall: WALL_MAX, output: OUTPUT_MAX }
    }

    /// What the worker is told.
    pub(super) fn arguments(&self) -> [String; 3] {
        [self.memory.to_string(), self.cpu.to_string(), self.head_start.as_millis().to_string()]
    }

    /// What it was told. Whoever runs it by hand says nothing.
    pub(super) fn told(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Bounds> {
        let mut bounds = Bounds::here();
        let mut head_start = HEAD_START.as_millis() as u64;
        for bound in [&mut bounds.memory, &mut bounds.cpu, &mut head_start] {
            if let Some(argument) = arguments.next() {
                *bound = argument.parse()?;
            }
        }
        Ok(Bounds { head_start: Duration::from_millis(head_start), ..bounds })
    }
}

/// The head starts of all compilations of a host.
pub(super) struct HeadStarts(DefaultDirectRateLimiter);

impl HeadStarts {
    pub(super) fn new() -> HeadStarts {
        HeadStarts(RateLimiter::direct(Quota::per_second(HEAD_STARTS_PER_SECOND).allow_burst(HEAD_STARTS_BURST)))
    }

    /// The bounds of the next one.
    pub(super) fn next(&self) -> Bounds {
        let bounds = Bounds::here();
        if self.0.check().is_ok() { bounds } else { Bounds { head_start: Duration::ZERO, ..bounds } }
    }
}

impl fmt::Debug for HeadStarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadStarts")
    }
}

/// The smallest limit of memory of a control group and those above it, in bytes. `groups` is `/proc/self/cgroup`; the group's path in it may be one that
/// only the machine outside of a container knows, where the nearest folder above that is there is the container's own.
fn memory_of_group(groups: &str, mounted: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (top, file) = match controllers {
            "" => (mounted.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (mounted.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = top.join(path.trim_start_matches('/'));
        let above = group.ancestors().take_while(|folder| folder.starts_with(&top));
        // `max` is no number, and no limit.
        above.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| memory_of_group(groups, folder.path());
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "1000\n");
        assert_eq!(limit("0::/a/b\n"), Some(1000));
        write("a/b/memory.max", "700\n");
        assert_eq!(limit("0::/a/b\n"), Some(700));
        // In a container that sees the path of the machine outside.
        assert_eq!(limit("0::/a/b/machine.slice/x\n"), Some(700));
        assert_eq!(limit("0::/\n"), None);
        // The first version of control groups, a folder for each controller.
        write("memory/c/memory.limit_in_bytes", "500\n");
        assert_eq!(limit("5:cpu,memory:/c\n3:pids:/a\n"), Some(500));
        assert_eq!(limit("3:pids:/a\n"), None);
        assert_eq!(limit("what is this\n"), None);
    }

    #[test]
    fn the_worker_is_told_what_the_host_decided() {
        let bounds = Bounds { memory: 1 << 30, cpu: 7, head_start: Duration::from_millis(50), ..Bounds::here() };
        assert_eq!(Bounds::told(bounds.arguments().into_iter()).unwrap(), bounds);
        assert_eq!(Bounds::told(std::iter::empty()).unwrap(), Bounds::here());
        assert!(Bounds::told(["much".to_owned()].into_iter()).is_err());
    }

    #[test]
    fn of_very_many_at_once_a_few_have_a_head_start() {
        let head_starts = HeadStarts::new();
        let have = (0..100).filter(|_| !head_starts.next().head_start.is_zero()).count();
        // One more for each second that this takes.
        assert!((5..20).contains(&have), "{have}");
    }
}
