//! Observe: what the host shows of itself.
//!
//! Owns metrics, health, the admin API and the console. Refuses to decide anything: whatever is measured here is measured for people. Knows no
//! stage: what there is to show comes through [`Sources`].

mod admin;
mod health;
mod lines;
mod metrics;
pub mod status;

pub use admin::{Admin, Answer, Release, Reloaded, Sources, StartError};
pub use health::Health;
pub use lines::Lines;
pub use metrics::{DestinationCounts, Metrics, PluginCounts};
pub use status::Status;
