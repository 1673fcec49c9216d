//! `keyway.toml`: as typed, then expanded, then checked.
//!
//! Owns the file's grammar and every message about it, and that of the plugins' sidecars. Promises that all problems are reported at once,
//! each with file, line, cause and hint, and that nothing typed is ever ignored. Knows no stage: what it hands out is plain data
//! ([`Config`]), which the stages take.

mod destination;
mod examined;
mod expand;
mod file;
#[cfg(fuzzing)]
pub mod fuzz;
mod kafka;
mod reader;
mod report;
mod settings;
mod sidecar;
mod teams;
mod values;

pub use examined::Examined;
pub use file::{examine, load, parse};
pub use report::{Problem, Report};
pub use settings::{
    Admin, Auth, Batch, BatchFormat, Breaker, Concurrency, Config, Destination, Failures, Framing, HttpVersions, Kafka, Lanes, OnExhausted, Ordering,
    Plugins, Proxy, Rate, Replies, Retry, RouteBy, Tls, Unrouted,
};
pub use sidecar::parse_sidecar;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod documentation_tests;
