//! What a record is routed by.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::config::RouteBy;
use crate::record::Record;

/// The text that a record's route is looked up by; none when it has none that is UTF-8, which only `*` matches.
pub fn key<'r>(record: &'r Record, by: &RouteBy) -> Option<Cow<'r, str>> {
    match by {
        RouteBy::Key => record.key_text().map(Cow::Borrowed),
        RouteBy::Header(name) => header(record, name).map(Cow::Borrowed),
        RouteBy::CloudEvent(attribute) => cloud_event(record, attribute),
    }
}

/// The first header of this name, as text.
fn header<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    let (_, value) = record.headers.iter().find(|(header, _)| header == name)?;
    std::str::from_utf8(value).ok()
}

/// An attribute of a CloudEvent: in binary mode the header `ce_NAME`; in structured mode, which the content type tells, a member of the
/// payload's object.
fn cloud_event<'r>(record: &'r Record, attribute: &str) -> Option<Cow<'r, str>> {
    let binary = record.headers.iter().find(|(name, _)| name.strip_prefix("ce_") == Some(attribute));
    if let Some((_, value)) = binary {
        return std::str::from_utf8(value).ok().map(Cow::Borrowed);
    }
    let content_type = record.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let structured = content_type.is_some_and(|(_, value)| value.starts_with(b"application/cloudevents+json"));
    let payload = record.payload.as_deref().filter(|_| structured)?;
    // Only the one member is read; the others, the event's data among them, are passed over as they are.
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(payload).ok()?;
    serde_json::from_str::<String>(members.get(attribute)?.get()).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::record::{Assignment, AssignmentId};

    fn record(key: Option<&'static [u8]>, headers: &[(&str, &'static [u8])], payload: &'static str) -> Record {
        Record {
            assignment: Arc::new(Assignment { id: AssignmentId(1), topic: "events".into(), partition: 0 }),
            offset: 0,
            timestamp: None,
            key: key.map(Bytes::from_static),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), Bytes::from_static(value))).collect(),
            payload: Some(Bytes::from_static(payload.as_bytes())),
        }
    }

    #[test]
    fn by_key_header_or_event() {
        let by_header = RouteBy::Header("kind".into());
        let by_type = RouteBy::CloudEvent("type".into());
        let structured: (&str, &[u8]) = ("content-type", b"application/cloudevents+json; charset=utf-8");
        for (by, record, expected) in [
            (&RouteBy::Key, record(Some(b"order:1"), &[], ""), Some("order:1")),
            (&RouteBy::Key, record(None, &[], ""), None),
            (&RouteBy::Key, record(Some(b"\xff"), &[], ""), None),
            (&by_header, record(Some(b"order:1"), &[("kind", b"a"), ("kind", b"b")], ""), Some("a")),
            (&by_header, record(Some(b"order:1"), &[("kind", b"\xff")], ""), None),
            (&by_header, record(Some(b"order:1"), &[], ""), None),
            (&by_type, record(None, &[("ce_type", b"order.created")], "{}"), Some("order.created")),
            (&by_type, record(None, &[structured], r#"{"data":{"type":"no"},"type":"order\u002ecreated"}"#), Some("order.created")),
            (&by_type, record(None, &[structured], r#"{"type":7}"#), None),
            (&by_type, record(None, &[structured], "no JSON"), None),
            (&by_type, record(None, &[], r#"{"type":"order.created"}"#), None),
        ] {
            assert_eq!(key(&record, by).as_deref(), expected, "{by:?} {record:?}");
        }
    }
}
