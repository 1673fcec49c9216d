//! Keyway: a bridge between Kafka and HTTP with a sandboxed WebAssembly component per key.
//!
//! The path of a record, and the module that owns each step:
//!
//! ```text
//! Kafka ─► consume ─► lanes ─► route ─► transform (Wasm) ─► deliver (HTTP) ─► settle ─► commit
//! ```
//!
//! [`run`] is the loop and [`pipeline`] the path of one record; read these two first. A stage never imports another stage: only those
//! two join them, and only [`app`] picks implementations (`tests/layering.rs` holds it so).

pub mod record;

pub mod outcome;

pub mod plugin;

pub mod policy;

pub mod config;

pub mod cluster;

pub mod consume;

pub mod run;

pub mod pipeline;

pub mod lanes;

pub mod route;

pub mod transform;

pub mod reload;

pub mod deliver;

pub mod settle;

pub mod observe;

pub mod build;

pub mod app;

pub mod demo;

pub mod cli;

#[cfg(test)]
mod counted;
#[cfg(test)]
mod fakes;
