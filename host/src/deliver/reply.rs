//! What a reply means for the request, and how a reply is read.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::outcome::Reply;

/// What a status says about sending the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It was taken (2xx).
    Done,
    /// It may be taken later: 408, 425, 429, 5xx.
    Again,
    /// It will never be taken: other 4xx, and 3xx, because redirects are not followed.
    Never,
    /// The credential was not taken (401, 403). That says more about the credential than about the request.
    Credential,
}

pub(super) fn class(status: u16) -> Class {
    match status {
        200..=299 => Class::Done,
        401 | 403 => Class::Credential,
        408 | 425 | 429 | 500..=599 => Class::Again,
        _ => Class::Never,
    }
}

/// Whether a reply says that the destination has more to do than it can, rather than that something is broken.
pub(super) fn is_overload(status: u16) -> bool {
    matches!(status, 408 | 429 | 503 | 504)
}

/// How long `Retry-After` asks to wait, in either of its forms (RFC 9110, section 10.2.3). A date that has passed asks for no wait.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean longer than anyone waits.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Bytes beyond the cap that are read and dropped so that the connection can be used again. A longer body costs the connection: reading on
/// would cost more than a new one.
const DRAIN: usize = 256 << 10;

/// Reads a reply's body up to the cap, and says whether there was more.
pub(super) async fn read(body: Incoming, cap: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut body = body;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        let kept = seen.min(cap);
        seen += data.len();
        data.truncate(cap - kept);
        if seen > cap + DRAIN {
            break;
        }
        // Nearly all bodies come in one piece, which is kept as it is.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, seen > cap))
}

/// A reply as the rest of the host knows it. Header values that are not UTF-8 are shown with replacement characters.
pub(super) fn reply(status: StatusCode, headers: &HeaderMap, body: Bytes, cut: bool, attempts: u32) -> Reply {
    let headers = headers.iter().map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect();
    Reply { status: status.as_u16(), headers, body, cut, attempts }
}

/// The beginning of a reply's body, at most 1 KiB, as text.
pub(super) fn excerpt(body: &[u8]) -> Option<String> {
    const EXCERPT: usize = 1024;
    (!body.is_empty()).then(|| {
        let mut text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned();
        text.truncate(text.floor_char_boundary(EXCERPT));
        text
    })
}

/// Head and body of a response, taken apart.
pub(super) fn split(response: Response<Incoming>) -> (StatusCode, HeaderMap, Incoming) {
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn classes() {
        for status in 100..=599 {
            let expected = match status {
                200..=299 => Class::Done,
                401 | 403 => Class::Credential,
                408 | 425 | 429 => Class::Again,
                500.. => Class::Again,
                _ => Class::Never,
            };
            assert_eq!(class(status), expected, "{status}");
        }
    }

    #[test]
    fn both_forms_of_retry_after() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").unwrap();
        for (value, wait) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Tuesday, 24-Nov-26 12:00:30 GMT", Some(30)),
            ("Tue Nov 24 12:00:30 2026", Some(30)),
            ("Tue, 24 Nov 2026 11:59:30 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(retry_after(&headers, now), wait.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn excerpts_are_short_text() {
        assert_eq!(excerpt(b""), None);
        assert_eq!(excerpt("größe".as_bytes()).unwrap(), "größe");
        assert!(excerpt(&[0xff; 4000]).unwrap().len() <= 1024);
    }
}
