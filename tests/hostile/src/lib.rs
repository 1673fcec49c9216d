//! Guests that attack the host in ways that no toolchain offers, in WebAssembly text. Those that a language can be used for are in
//! `plugins/hostile/`.
//!
//! The sandbox's own tests say which limit ends each of them, `bench hostile` sets all of them on the real binary, and what came of it is in
//! `docs/guide/sandbox.md`.

mod attacks;
mod guest;

pub use attacks::*;
pub use guest::{ECHO, FOREVER, Guest, SKIP};
