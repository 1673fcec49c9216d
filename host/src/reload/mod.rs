//! Reload: the plugins' directory, and what serves of it.
//!
//! Owns the watching, the gate and the versions of each plugin. Promises that a version serves only after it passed the gate, that a version
//! that was refused leaves the one before it serving and says why, that of two plugins with one key the one that serves stays, and that a version
//! which faults much more than the one before it is taken back. Refuses to know how a plugin is compiled ([`Load`](crate::plugin::Load)), how
//! it is called ([`Rehearse`]), and how records find it (`publish`).
//!
//! The way of a change: an event (or ten seconds) → one [look](scan) at everything → files that changed [settle](slots), and are compiled
//! meanwhile → they are [read] whole and pass the [gate] → [the swap](slots) → the [trial].

mod cases;
#[cfg(test)]
mod fake;
mod gate;
mod handle;
mod once;
mod places;
mod read;
mod scan;
mod signature;
mod slots;
mod status;
mod thread;
mod trial;
mod watch;
mod watcher;

pub use cases::{Case, message};
pub use gate::{Rehearse, Setup};
pub use handle::Handle;
pub use once::{Once, One, load_once, load_one};
pub use scan::Problem;
pub use signature::TrustedKeys;
pub use status::{PluginStatus, State, Status, VersionStatus, Watching};
pub use thread::Running;
pub use watcher::{Watcher, watcher};
