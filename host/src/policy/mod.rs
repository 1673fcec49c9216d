//! What is allowed: pure decisions, no I/O.
//!
//! Owns the limits of a call, the grants of a team, the waits between tries, the order of turns, and the type that keeps secrets from being printed. Each decision is enforced at one
//! choke point elsewhere: memory in `transform/limiter`, time and output in `transform/call`, the window in `lanes`, addresses in
//! `deliver/dial`.

mod backoff;
mod grants;
mod limits;
mod pattern;
mod secrets;
mod turns;

pub use backoff::backoff;
pub use grants::{Grant, check_requests};
pub use limits::{CONCURRENCY_MAX, IN_PROGRESS_MAX, Limits};
pub use pattern::{Pattern, PatternError};
pub use secrets::{Secret, SecretPart, SecretText};
pub use turns::Turns;
