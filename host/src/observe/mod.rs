//! Observe: what the host shows of itself.
//!
//! Owns metrics, health, the admin API and the console. Refuses to decide anything: whatever is measured here is measured for people.

mod metrics;

pub use metrics::Metrics;
