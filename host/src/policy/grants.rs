//! What a team's plugins may do, and whether a verdict keeps to it.

use std::sync::Arc;

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
    /// The most that one of its plugins may be given.
    pub limits: Limits,
}

impl Grant {
    /// Whether a plugin of the team may name this destination.
    pub fn may_name(&self, destination: &str) -> bool {
        // Read as patterns in place, since this is asked for every request: a star can only stand at the end.
        self.destinations.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => destination.starts_with(prefix),
            None => pattern == destination,
        })
    }

    /// Whether a plugin of the team may claim these keys: one of the granted patterns covers them.
    pub fn may_claim(&self, keys: &Pattern) -> bool {
        self.keys.iter().any(|granted| granted.parse::<Pattern>().is_ok_and(|granted| granted.covers(keys)))
    }
}

/// Checks the requests of one verdict against grant and limits.
///
/// # Errors
/// The broken rule, in words for the plugin's author, with the line to add where a grant would allow it.
pub fn check_requests(grant: &Grant, limits: &Limits, requests: &[Request]) -> Result<(), Failure> {
    if requests.len() > limits.requests {
        let detail = format!("{} requests; at most {} are accepted (`limits.requests`)", requests.len(), limits.requests);
        return Err(Failure::new(Reason::Output, detail));
    }
    for (index, request) in (0_u32..).zip(requests) {
        if request.headers.len() > limits.headers {
            let detail = format!("request {index} has {} headers; at most {} are accepted (`limits.headers`)", request.headers.len(), limits.headers);
            return Err(failure(Reason::Output, detail, index, request));
        }
        if !grant.may_name(&request.destination) {
            let detail = format!(
                "request {index} names the destination `{}`, which the team `{}` is not granted; add \"{}\" to `destinations` of `[teams.{}]` in keyway.toml",
                request.destination, grant.team, request.destination, grant.team
            );
            return Err(failure(Reason::Denied, detail, index, request));
        }
    }
    Ok(())
}

fn failure(reason: Reason, detail: String, index: u32, request: &Request) -> Failure {
    let failed = FailedRequest { index, destination: request.destination.clone(), method: request.method.clone(), ..FailedRequest::default() };
    Failure { reason, detail, request: Some(failed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(destinations: &[&str]) -> Grant {
        let destinations = destinations.iter().map(|name| (*name).to_owned()).collect();
        Grant { team: "payments".into(), keys: vec!["payment:*".into(), "refund:1".into()], destinations, limits: Limits::default() }
    }

    fn request(destination: &str, headers: usize) -> Request {
        Request {
            destination: destination.into(),
            method: "POST".into(),
            path: "/".into(),
            headers: vec![("a".into(), "b".into()); headers],
            body: None,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn destinations_are_named_by_pattern() {
        let grant = grant(&["ledger", "eu-*"]);
        for (name, allowed) in [("ledger", true), ("eu-1", true), ("eu-", true), ("ledger2", false), ("eu", false), ("", false)] {
            assert_eq!(grant.may_name(name), allowed, "{name}");
        }
        assert!(super::Grant { destinations: vec!["*".into()], ..grant.clone() }.may_name("any"));
        assert!(!super::Grant { destinations: vec![], ..grant }.may_name("any"));
    }

    #[test]
    fn keys_are_claimed_within_a_granted_pattern() {
        let grant = grant(&[]);
        for (keys, allowed) in [("payment:*", true), ("payment:eu:*", true), ("refund:1", true), ("refund:*", false), ("*", false)] {
            assert_eq!(grant.may_claim(&keys.parse().unwrap()), allowed, "{keys}");
        }
    }

    #[test]
    fn a_denial_names_the_line_to_add() {
        let limits = Limits::default();
        let grant = grant(&["ledger"]);
        assert_eq!(check_requests(&grant, &limits, &[request("ledger", 64)]), Ok(()));
        let denied = check_requests(&grant, &limits, &[request("ledger", 0), request("orders", 0)]).unwrap_err();
        assert_eq!((denied.reason, denied.request.unwrap().index), (Reason::Denied, 1));
        assert!(denied.detail.contains("add \"orders\" to `destinations` of `[teams.payments]`"), "{}", denied.detail);
        let many = vec![request("ledger", 0); 21];
        assert_eq!(check_requests(&grant, &limits, &many).unwrap_err().reason, Reason::Output);
        assert_eq!(check_requests(&grant, &limits, &[request("ledger", 65)]).unwrap_err().reason, Reason::Output);
    }
}
