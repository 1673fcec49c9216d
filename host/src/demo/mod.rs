//! Demo: a whole bridge in one process, for half a minute.
//!
//! Owns the stage ([`stage`]: a broker, destinations, a folder with plugins and a configuration), the generator, the story and the screen. The host in
//! it is the real one, with the real sandbox and real HTTP; only the broker is librdkafka's mock cluster, which keeps 5 MiB per
//! partition and forgets older records. Promises that its summary is counted at both ends, and that it fails when the counts do not add up.

mod broker;
mod destination;
mod events;
mod generator;
mod screen;
mod show;
mod stage;
mod summary;

pub use show::{Options, run};
pub use summary::Summary;
