//! What `fuzz/` throws bytes at, and what must hold whatever they are. Built for fuzzing only.

use std::collections::BTreeMap;

use super::beyond::{Beyond, METADATA_MAX};

/// Commit metadata, which may be anyone's, read with a watermark as Kafka would have it: refused, or a map that is written and read again as
/// the same one as far as it fits.
///
/// # Panics
/// When that is not so.
pub fn metadata(text: &str, next: i64) {
    let Ok(mut map) = Beyond::decode(text, next) else { return };
    let written = Beyond::encode(next, next, &BTreeMap::new(), &map, METADATA_MAX).text;
    assert!(written.len() <= METADATA_MAX, "{} bytes", written.len());
    let read = Beyond::decode(&written, next).unwrap_or_else(|error| panic!("{written}: {error}"));
    let offsets = || next..next.saturating_add(64);
    let hashes = || (0..64).map(|hash: u32| hash << 26 | hash);
    for (offset, hash) in offsets().flat_map(|offset| hashes().map(move |hash| (offset, hash))) {
        assert!(map.contains(offset, hash) || !read.contains(offset, hash), "{offset} became settled by being written");
    }
    let whole = map.clone();
    map.forget_below(next.saturating_add(32));
    for (offset, hash) in offsets().skip(32).flat_map(|offset| hashes().map(move |hash| (offset, hash))) {
        assert_eq!(map.contains(offset, hash), whole.contains(offset, hash), "{offset} is forgotten with what is below it");
    }
}
