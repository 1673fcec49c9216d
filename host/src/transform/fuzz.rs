//! What `fuzz/` throws bytes at, and what must hold whatever they are. Built for fuzzing only.

use super::gate;

/// Bytes that somebody put into the plugins' directory: let in or refused with a reason, and never more than that.
///
/// # Panics
/// When that is not so.
pub fn component(bytes: &[u8]) {
    if let Err(refusal) = gate::check(bytes) {
        assert!(!refusal.cause.is_empty() && !refusal.cause.ends_with('.'), "{refusal:?}");
    }
}
