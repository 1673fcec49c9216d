//! What `fuzz/` throws bytes at, and what must hold whatever they are. Built for fuzzing only.

use super::beyond::Beyond;

/// Commit metadata, which may be anyone's, read with a watermark as Kafka would have it: refused, or a map that is written and read again as
/// the same one as far as it fits.
///
/// # Panics
/// When that is not so.
pub fn metadata(text: &str, next: i64) {
    let Ok(mut map) = Beyond::decode(text, next) else { return };
    assert!(!map.contains(next.saturating_sub(1)), "it tells of what is below the watermark");
    let written = map.encode(next);
    assert!(written.len() <= 4096, "{} bytes", written.len());
    let read = Beyond::decode(&written, next).unwrap_or_else(|error| panic!("{written}: {error}"));
    for offset in next..next.saturating_add(64) {
        assert!(map.contains(offset) || !read.contains(offset), "{offset} became settled by being written");
    }
    map.forget_below(next.saturating_add(32));
    assert!(!map.contains(next.saturating_add(31)));
}
