//! What `fuzz/` throws bytes at, and what must hold whatever they are. Built for fuzzing only.

use std::path::Path;

/// The text of a `keyway.toml`: checked, or refused with problems that can be shown.
///
/// # Panics
/// When that is not so.
pub fn configuration(text: &str) {
    if let Err(report) = super::parse(text, Path::new("keyway.toml")) {
        assert!(!report.to_string().is_empty() && !report.to_pretty(false).is_empty(), "refused without a word");
    }
}
