//! Which headers a plugin may set, and the ones that the host adds.

use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::target::shown;
use crate::outcome::{Body, Request};

/// Bytes of all headers of a request together. Common servers take 8 KiB (nginx, Apache) to 16 KiB (Node.js); beyond twice that nobody does.
const MOST_BYTES: usize = 32 << 10;

/// Name of the header that makes a repeat recognisable (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Name of the header that tells the keys of a batch's requests, in their order.
pub(super) const IDEMPOTENCY_KEYS: HeaderName = HeaderName::from_static("keyway-idempotency-keys");

/// What every request carries unless a plugin says otherwise.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("keyway/", env!("CARGO_PKG_VERSION")));

/// Checks a plugin's method.
///
/// # Errors
/// The broken rule, in words for the plugin's author.
pub(super) fn method(name: &str) -> Result<Method, String> {
    let method = Method::from_bytes(name.as_bytes()).map_err(|_| format!("the method `{}` is no token", shown(name)))?;
    // CONNECT makes a tunnel of the connection, TRACE echoes the credential back (RFC 9110, section 9.3.8).
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(format!("the method `{method}` is not for plugins"));
    }
    if name.len() > 32 || name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("the method `{}` is not in upper case; methods are case-sensitive", shown(name)));
    }
    Ok(method)
}

/// Checks a plugin's headers, and adds what every request carries.
///
/// `reserved` are names that belong to the destination's credential or to the operator. A plugin's own `Idempotency-Key` gives way to the host's, which
/// the caller inserts: only the host's is certain to be the same in a repeat.
///
/// # Errors
/// The broken rule, in words for the plugin's author.
pub(super) fn headers(request: &Request, reserved: &[HeaderName]) -> Result<HeaderMap, String> {
    // Room for what the host adds: user agent, content type, idempotency key, and up to three of a credential.
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 6);
    let mut bytes = 0;
    for (name, value) in &request.headers {
        bytes += name.len() + value.len();
        if bytes > MOST_BYTES {
            return Err(format!("the headers have more than {MOST_BYTES} bytes together"));
        }
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("the header name `{}` is no token", shown(name)))?;
        if let Some(reason) = forbidden(header.as_str()) {
            return Err(format!("the header `{header}` may not be set by a plugin: {reason}"));
        }
        if reserved.contains(&header) {
            return Err(format!("the header `{header}` may not be set by a plugin: the destination's credential or its operator sets it"));
        }
        let value = HeaderValue::from_str(value)
            .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
            .map_err(|_| format!("the value of the header `{header}` has a control character in it"))?;
        headers.append(header, value);
    }
    headers.entry(USER_AGENT).or_insert(AGENT);
    if let Some(Body::Text(_)) = request.body {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    Ok(headers)
}

/// Why a plugin may not set a header, if it may not. Names are in lower case.
pub(super) fn forbidden(name: &str) -> Option<&'static str> {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-connection"
        | "te"
        | "trailer"
        | "transfer-encoding"
        | "upgrade"
        | "http2-settings"
        | "expect" => Some("it is about the connection, which is the host's"),
        "host" | "content-length" => Some("it follows from the destination and the body"),
        "forwarded" | "via" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "x-forwarded-port" | "x-forwarded-prefix"
        | "x-real-ip" => Some("servers trust it to come from a proxy of their own"),
        _ if name.starts_with("x-forwarded-") => Some("servers trust it to come from a proxy of their own"),
        _ if name.starts_with("keyway-") => Some("the prefix `keyway-` is the host's"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    fn request(headers: &[(&str, &str)], body: Option<Body>) -> Request {
        Request {
            destination: "orders".to_owned(),
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn refuses_what_is_not_the_plugins() {
        for name in [
            "Connection",
            "KEEP-ALIVE",
            "proxy-authorization",
            "TE",
            "trailer",
            "Transfer-Encoding",
            "upgrade",
            "Host",
            "content-length",
            "Expect",
            "Forwarded",
            "Via",
            "X-Forwarded-For",
            "x-forwarded-anything",
            "Keyway-Reason",
            "Authorization",
        ] {
            assert!(headers(&request(&[(name, "x")], None), &[AUTHORIZATION]).is_err(), "{name}");
        }
        for (name, value) in [("a b", "x"), ("", "x"), ("a:", "x"), ("ä", "x"), ("a", "x\r\nb: y"), ("a", "x\0"), ("a", "\u{7f}")] {
            assert!(headers(&request(&[(name, value)], None), &[]).is_err(), "{name:?}: {value:?}");
        }
        assert!(headers(&request(&[("a", &"x".repeat(MOST_BYTES))], None), &[]).is_err());
    }

    #[test]
    fn keeps_what_is() {
        let kept = headers(
            &request(
                &[("X-A", "1"), ("x-a", "2"), ("authorization", "mine"), ("traceparent", "00-1-2-01"), ("x-b", "größe")],
                Some(Body::Text("{}".to_owned())),
            ),
            &[],
        )
        .unwrap();
        assert_eq!(kept.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(kept["authorization"], "mine");
        assert_eq!(kept["x-b"].as_bytes(), "größe".as_bytes());
        assert_eq!(kept["content-type"], "application/json");
        assert_eq!(kept["user-agent"], AGENT);
    }

    #[test]
    fn defaults_give_way() {
        let kept = headers(&request(&[("content-type", "text/csv"), ("user-agent", "me")], Some(Body::Text(String::new()))), &[]).unwrap();
        assert_eq!((kept["content-type"].as_bytes(), kept["user-agent"].as_bytes()), (&b"text/csv"[..], &b"me"[..]));
        assert!(!headers(&request(&[], Some(Body::Bytes(vec![1])),), &[]).unwrap().contains_key("content-type"));
        assert!(!headers(&request(&[], None), &[]).unwrap().contains_key("content-type"));
    }

    #[test]
    fn methods() {
        for name in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY", "PURGE", "M-SEARCH"] {
            assert_eq!(method(name).unwrap().as_str(), name);
        }
        for name in ["", "get", "Post", "GET /", "CONNECT", "TRACE", "A\r\nB", "Ä"] {
            assert!(method(name).is_err(), "{name}");
        }
    }
}
