//! What a team's plugins may do, and whether a claim or a verdict keeps to it.

use std::path::Path;
use std::sync::Arc;

use super::limits::Size;
use super::{Limits, Pattern};
use crate::outcome::{FailedRequest, Failure, Reason, Request};

/// What the plugins of one team may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The team.
    pub team: Arc<str>,
    /// Key patterns that its plugins may claim; `*` for every key.
    pub keys: Vec<String>,
    /// Destinations that its plugins may name, by pattern; `*` for all.
    pub destinations: Vec<String>,
    /// The most that one of its plugins may be given, and what it gets unless its sidecar wishes for less.
    pub limits: Limits,
    /// The configuration file in which that stands, or would.
    pub file: Arc<Path>,
}

impl Grant {
    /// All keys and all destinations, where no configuration says less.
    pub fn everything(team: &str, limits: Limits) -> Grant {
        let all = || vec!["*".to_owned()];
        Grant { team: team.into(), keys: all(), destinations: all(), limits, file: Path::new("keyway.toml").into() }
    }

    /// Whether a claim of this pattern lies within one of the granted ones. Two granted patterns never add up: with exact texts and prefixes
    /// alone, what neither covers by itself they do not cover together either, short of listing every next character.
    pub fn may_claim(&self, claim: &Pattern) -> bool {
        // What the configuration holds was checked when it was read; what is no pattern grants nothing.
        self.keys.iter().filter_map(|key| key.parse::<Pattern>().ok()).any(|granted| granted.covers(claim))
    }

    /// Whether a request may name this destination. Neither allocates nor parses: it is asked for every request.
    pub fn may_name(&self, destination: &str) -> bool {
        self.destinations.iter().any(|granted| match granted.strip_suffix('*') {
            Some(prefix) => destination.starts_with(prefix),
            None => granted == destination,
        })
    }

    /// What to write, and where, so that this destination is granted too.
    fn line(&self, destination: &str) -> String {
        let all: Vec<String> = self.destinations.iter().map(String::as_str).chain([destination]).map(|text| format!("{text:?}")).collect();
        format!("write `destinations = [{}]` under `[teams.{}]` in `{}`", all.join(", "), self.team, self.file.display())
    }
}

/// Checks the requests of one verdict against grant and limits. Cheap: it reads lengths and compares the destination's name.
///
/// # Errors
/// The broken rule, in words for the plugin's author, with the line to add where a grant would allow it: [`Reason::Output`] for too much,
/// [`Reason::Denied`] for a destination that is not granted.
pub fn check_requests(grant: &Grant, limits: &Limits, requests: &[Request]) -> Result<(), Failure> {
    if requests.len() > limits.requests {
        let said = format!("returned {} requests, and {} are its limit", requests.len(), limits.requests);
        return Err(Failure::new(Reason::Output, format!("{said}; {}", raise("requests", limits.requests < grant.limits.requests, grant))));
    }
    let mut bytes = 0;
    for (index, request) in (0..).zip(requests) {
        let fail = |reason, detail| Err(Failure::at(failed(index, request), reason, detail));
        if !grant.may_name(&request.destination) {
            let name = excerpt(&request.destination);
            let line = grant.line(&name);
            return fail(Reason::Denied, format!("names the destination `{name}`, which the team `{}` is not granted; {line}", grant.team));
        }
        if request.headers.len() > limits.headers {
            let said = format!("returned a request with {} headers, and {} are its limit", request.headers.len(), limits.headers);
            return fail(Reason::Output, format!("{said}; {}", raise("headers", limits.headers < grant.limits.headers, grant)));
        }
        bytes += request.weight();
        if bytes > limits.output {
            let said = format!("returned more than its limit of {}", Size(limits.output));
            return fail(Reason::Output, format!("{said}; {}", raise("output", limits.output < grant.limits.output, grant)));
        }
    }
    Ok(())
}

/// Where a limit is raised: in the sidecar while the team's bound leaves room, else at the team.
fn raise(name: &str, room: bool, grant: &Grant) -> String {
    if room {
        format!("raise `{name}` under `[limits]` in the plugin's sidecar")
    } else {
        format!("raise `limits.{name}` of `[teams.{}]` in `{}`", grant.team, grant.file.display())
    }
}

fn failed(index: u32, request: &Request) -> FailedRequest {
    FailedRequest { index, destination: excerpt(&request.destination), method: excerpt(&request.method), ..FailedRequest::default() }
}

/// A guest's text as a message can take it: the beginning, and no control characters.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 100;
    text.chars().take(LONGEST).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
