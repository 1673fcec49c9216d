//! Who may ask.
//!
//! On loopback the danger is the browser: a page from anywhere may send requests to `127.0.0.1`, and a name that resolves to it later makes such a
//! page look as if it came from here (DNS rebinding). So the `Host` header must name this machine, and an `Origin` must be this server's
//! own. Off loopback, and wherever a token is set, the token decides.

use std::net::SocketAddr;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use sha2::{Digest as _, Sha256};

use crate::policy::SecretText;

/// What callers are checked against.
#[derive(Debug)]
pub(super) struct Guard {
    address: SocketAddr,
    token: Option<SecretText>,
}

/// Why a caller gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The request was meant for another server, or comes from another server's page.
    Misdirected(&'static str),
    /// No token, or not the right one.
    Unauthorized,
}

impl Guard {
    pub(super) fn new(address: SocketAddr, token: Option<SecretText>) -> Guard {
        Guard { address, token }
    }

    /// Whether the request was meant for this server. Holds for every path.
    pub(super) fn check_target(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let host = uri.authority().map(|authority| authority.as_str()).or_else(|| headers.get(HOST)?.to_str().ok());
        if self.address.ip().is_loopback() && !host.is_some_and(names_loopback) {
            return Err(Refused::Misdirected("the `Host` header does not name this machine: use `localhost` or the address itself"));
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let own = host.is_some_and(|host| origin.to_str().is_ok_and(|origin| origin.strip_prefix("http://") == Some(host)));
            if !own {
                return Err(Refused::Misdirected("the request comes from another site's page"));
            }
        }
        Ok(())
    }

    /// Whether the caller shows the token, if one is needed.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(token) = &self.token else { return Ok(()) };
        let token = token.resolve().map_err(|error| {
            tracing::error!("nobody may use the admin server: failed to {error}");
            Refused::Unauthorized
        })?;
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        // An empty token would be shown by everybody.
        match shown {
            Some(shown) if !token.expose().is_empty() && same(shown, token.expose()) => Ok(()),
            _ => Err(Refused::Unauthorized),
        }
    }
}

/// Compares by digest, in a time that says nothing of where the two differ: whoever measures it learns about a hash, not about the token.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Whether a `Host` header names loopback, with any port: a page of another site cannot choose this name.
fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn guard(address: &str, token: Option<&str>) -> Guard {
        Guard::new(address.parse().unwrap(), token.map(SecretText::known))
    }

    fn is_meant(guard: &Guard, pairs: &[(&'static str, &str)]) -> bool {
        guard.check_target(&Uri::from_static("/api/status"), &headers(pairs)).is_ok()
    }

    #[test]
    fn on_loopback_the_host_is_this_machine() {
        let guard = guard("127.0.0.1:8484", None);
        for host in ["localhost", "localhost:8484", "LOCALHOST:1", "127.0.0.1:8484", "[::1]:8484", "127.8.8.8"] {
            assert!(is_meant(&guard, &[("host", host)]), "{host}");
        }
        for host in
            ["evil.example", "evil.example:8484", "localhost.evil.example:8484", "127.0.0.1.evil.example", "10.0.0.1:8484", "", "[::1", "[::2]:8484"]
        {
            assert!(!is_meant(&guard, &[("host", host)]), "{host}");
        }
        assert!(!is_meant(&guard, &[]));
        let absolute = Uri::from_static("http://evil.example/api/status");
        assert!(guard.check_target(&absolute, &headers(&[("host", "localhost")])).is_err(), "the target's own authority counts (RFC 9112, 3.2.2)");
    }

    #[test]
    fn pages_of_other_sites_get_nothing() {
        let guard = guard("127.0.0.1:8484", None);
        assert!(is_meant(&guard, &[("host", "127.0.0.1:8484"), ("origin", "http://127.0.0.1:8484")]));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8484"] {
            assert!(!is_meant(&guard, &[("host", "127.0.0.1:8484"), ("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn off_loopback_any_host_will_do_and_the_token_decides() {
        let guard = guard("0.0.0.0:8484", Some("s3cret"));
        assert!(is_meant(&guard, &[("host", "keyway.prod:8484")]));
        for shown in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret "] {
            assert_eq!(guard.check_token(&headers(&[("authorization", shown)])), Ok(()), "{shown}");
        }
        for shown in ["s3cret", "Basic s3cret", "Bearer s3cre", "Bearer s3crett", "Bearer ", "Bearer"] {
            assert_eq!(guard.check_token(&headers(&[("authorization", shown)])), Err(Refused::Unauthorized), "{shown}");
        }
        assert_eq!(guard.check_token(&headers(&[])), Err(Refused::Unauthorized));
    }

    #[test]
    fn a_token_that_is_empty_or_cannot_be_read_lets_nobody_in() {
        let empty = guard("0.0.0.0:8484", Some(""));
        assert_eq!(empty.check_token(&headers(&[("authorization", "Bearer ")])), Err(Refused::Unauthorized));
        let unreadable = SecretText { parts: vec![crate::policy::SecretPart::File("/nowhere/token".into())] };
        let unreadable = Guard::new("0.0.0.0:8484".parse().unwrap(), Some(unreadable));
        assert_eq!(unreadable.check_token(&headers(&[("authorization", "Bearer x")])), Err(Refused::Unauthorized));
    }
}
