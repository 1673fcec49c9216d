//! The text of a `keyway.toml`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| keyway::config::fuzz::configuration(text));
