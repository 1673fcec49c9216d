//! Route: which plugin handles a key.
//!
//! Owns the table from patterns to plugins and the one pointer through which the path of a record reads it. Promises that the most
//! specific pattern wins (exact, then the longest prefix, then `*`), that a lookup costs the same for ten plugins and for ten thousand, and
//! that it neither locks nor allocates. Refuses to know where plugins come from and what they do.

mod key;
mod routes;
mod table;

pub use key::key;
pub use routes::Routes;
pub use table::{Conflict, Match, Table};
