//! The end-to-end harness: what the tests stand on.
//!
//! Owns a real broker ([`Broker`]), a real recording HTTP server ([`Destination`]) and the real `keyway` binary ([`Host`]). Promises that
//! nothing outlives the test process, however it ends, and that every wait is for a condition and has a deadline. Refuses to know the host
//! from inside: no type of it is used here.
//!
//! The tests themselves are in `tests/it/`, one binary, so that the broker is started once.

mod broker;
mod destination;
mod host;
mod kafka;
pub mod traffic;
pub mod versions;
mod wait;

pub use broker::Broker;
pub use destination::{Answer, Destination, Seen};
pub use host::{Host, HostBuilder, Running};
pub use kafka::{Committed, Message};
pub use wait::until;
