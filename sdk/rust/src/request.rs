//! Building requests.

use serde::Serialize;

use crate::{Body, Reject, Request};

impl Request {
    /// A request with any method, which is put into upper case. Path and query begin with `/` and are joined to the destination's base URL.
    pub fn new(method: &str, destination: impl Into<String>, path: impl Into<String>) -> Request {
        Request {
            destination: destination.into(),
            method: method.to_ascii_uppercase(),
            path: path.into(),
            headers: Vec::new(),
            body: None,
            attributes: Vec::new(),
        }
    }

    /// `GET`.
    pub fn get(destination: impl Into<String>, path: impl Into<String>) -> Request {
        Request::new("GET", destination, path)
    }

    /// `POST`.
    pub fn post(destination: impl Into<String>, path: impl Into<String>) -> Request {
        Request::new("POST", destination, path)
    }

    /// `PUT`.
    pub fn put(destination: impl Into<String>, path: impl Into<String>) -> Request {
        Request::new("PUT", destination, path)
    }

    /// `PATCH`.
    pub fn patch(destination: impl Into<String>, path: impl Into<String>) -> Request {
        Request::new("PATCH", destination, path)
    }

    /// `DELETE`.
    pub fn delete(destination: impl Into<String>, path: impl Into<String>) -> Request {
        Request::new("DELETE", destination, path)
    }

    /// Adds a header. The host refuses `Host`, `Content-Length`, hop-by-hop headers and names that begin with `keyway-`.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `name=value` to the query, both percent-encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Request {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&segment(name));
        self.path.push('=');
        self.path.push_str(&segment(value));
        self
    }

    /// Sets the body to this value as JSON, and `content-type` to `application/json` unless the request has one already.
    ///
    /// # Errors
    /// The value has no form in JSON, for example a map whose keys are not strings.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Result<Request, Reject> {
        let text = serde_json::to_string(body)?;
        Ok(self.with(Body::Text(text), "application/json"))
    }

    /// Sets the body to this text, and `content-type` to `text/plain; charset=utf-8` unless the request has one already.
    #[must_use]
    pub fn text(self, body: impl Into<String>) -> Request {
        self.with(Body::Text(body.into()), "text/plain; charset=utf-8")
    }

    /// Sets the body to these bytes, and `content-type` to `application/octet-stream` unless the request has one already.
    #[must_use]
    pub fn bytes(self, body: impl Into<Vec<u8>>) -> Request {
        self.with(Body::Bytes(body.into()), "application/octet-stream")
    }

    fn with(mut self, body: Body, content_type: &str) -> Request {
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            self.headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        self.body = Some(body);
        self
    }
}

/// A value as one segment of a path or one part of a query: everything but `A-Z a-z 0-9 - . _ ~` is percent-encoded (RFC 3986, section 2.3),
/// so that a slash in a record's field cannot lead elsewhere.
pub fn segment(value: impl ToString) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let value = value.to_string();
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.extend(['%', HEX[usize::from(byte >> 4)].into(), HEX[usize::from(byte & 15)].into()]);
        }
    }
    encoded
}
