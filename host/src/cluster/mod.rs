//! The Kafka cluster: how every client of the host reaches it.
//!
//! Owns the settings that all clients share, the words for what is wrong with a cluster, and the creation of the host's own topics. It is no
//! stage: consume, settle and the commands stand on it. Promises that no message shows the value of a property, since it may be a secret.
//! Refuses to know records.

mod client;
mod identity;
mod topics;

pub use client::{ClientLog, admin, consumer, describe, producer};
pub use identity::Identity;
pub use topics::{Found, ensure, find};
