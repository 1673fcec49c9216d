//! A base URL and, on the next line, the path that a plugin asks for.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Some((base, path)) = text.split_once('\n') {
        keyway::deliver::fuzz::path(base, path);
    }
});
