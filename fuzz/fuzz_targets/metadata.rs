//! Eight bytes of a watermark, and the metadata of a commit.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((next, text)) = bytes.split_first_chunk::<8>() else { return };
    // Offsets are not negative.
    let next = i64::from_le_bytes(*next) & i64::MAX;
    if let Ok(text) = std::str::from_utf8(text) {
        keyway::settle::fuzz::metadata(text, next);
    }
});
