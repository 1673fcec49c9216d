//! The Kafka cluster: how every client of the host reaches it.
//!
//! Owns the settings that all clients share, the words for what is wrong with a cluster, and the creation of the host's own topics. It is no
//! stage: consume, settle and the commands stand on it. Promises that no message shows the value of a property, since it may be a secret.
//! Refuses to know records.

mod client;
mod commit;
mod failed;
mod identity;
mod log;
mod topics;

pub use client::{admin, consumer, describe, producer};
pub use commit::{commit_within, is_metadata_too_large};
pub use failed::Failed;
pub use identity::Identity;
pub use log::{COMMIT_FAILED, ClientLog, Reach};
pub use topics::{Found, create, ensure, find};
