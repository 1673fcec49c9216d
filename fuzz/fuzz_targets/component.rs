//! Bytes of a component, into the gate.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keyway::transform::fuzz::component(bytes));
