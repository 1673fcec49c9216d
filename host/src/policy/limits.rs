//! What one call of a plugin may use, and how much there may be of anything at once.

use std::fmt;
use std::time::Duration;

/// Records in progress at once. Each costs its task, some kilobytes; 8,192 is what 100 ms of latency need at 80,000 records a second.
pub const IN_PROGRESS_MAX: usize = 8_192;

/// The most requests of one destination that can be in flight: what `deliver/common.rs` has room for while the others are quiet, however many they are. It
/// is also what a host of two cores can have in flight within 200 MiB.
pub const CONCURRENCY_MAX: usize = IN_PROGRESS_MAX / 4;

/// Limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// CPU time, measured on the thread that runs the guest.
    pub cpu: Duration,
    /// Time by the clock, instantiation included.
    pub wall: Duration,
    /// Bytes of all linear memories and tables together.
    pub memory: usize,
    /// Bytes that the call may return.
    pub output: usize,
    /// Requests that one record may become.
    pub requests: usize,
    /// Headers of one request.
    pub headers: usize,
}

impl Limits {
    /// The most memory that can be allowed: what a Python guest wants with room to spare. The sandbox reserves address space by it.
    pub const MEMORY_MAX: usize = 256 << 20;
}

impl Default for Limits {
    /// A transform of a record is some microseconds of work on some kilobytes. These leave a thousand times that for the odd large record, and
    /// keep a runaway from being noticed by anyone else.
    fn default() -> Limits {
        Limits { cpu: Duration::from_millis(100), wall: Duration::from_secs(1), memory: 64 << 20, output: 1 << 20, requests: 20, headers: 64 }
    }
}

/// Bytes as the configuration writes them: in the largest unit that is exact.
pub(super) struct Size(pub(super) usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(bits, _)| self.0 > 0 && self.0.is_multiple_of(1 << bits)) {
            Some((bits, unit)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}B", self.0),
        }
    }
}
