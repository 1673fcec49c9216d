//! What a dead letter looks like in Kafka: the record's own key, payload and headers, and what is known of its end in headers of ours.
//!
//! The names are part of the contract with whoever reads dead letters. [`headers`] writes them and [`Letter::read`] reads them back.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use super::DeadLetter;

/// Begins every header of ours.
pub const PREFIX: &str = "keyway-";

/// [`crate::outcome::Reason`]'s code.
pub const REASON: &str = "keyway-reason";
/// For people: trap text with frames, the plugin's own words, the broken rule.
pub const DETAIL: &str = "keyway-detail";
/// Name of the plugin.
pub const PLUGIN: &str = "keyway-plugin";
/// Hash of the plugin's version.
pub const PLUGIN_VERSION: &str = "keyway-plugin-version";
/// Name of the destination whose request failed.
pub const DESTINATION: &str = "keyway-destination";
/// Method of the request that failed.
pub const METHOD: &str = "keyway-method";
/// URL of the request that failed, without credentials.
pub const URL: &str = "keyway-url";
/// How often it was sent.
pub const ATTEMPTS: &str = "keyway-attempts";
/// Status of the last reply.
pub const LAST_STATUS: &str = "keyway-last-status";
/// Beginning of the last reply's body.
pub const REPLY: &str = "keyway-reply";
/// Place of the failed request among the record's requests, from 0.
pub const REQUEST: &str = "keyway-request";
/// Places of the requests that were delivered, comma-separated; a redrive does not send them again.
pub const DELIVERED: &str = "keyway-delivered";
/// When the record was given up, in milliseconds since the epoch.
pub const FAILED_AT: &str = "keyway-failed-at";
/// The record's own topic.
pub const TOPIC: &str = "keyway-topic";
/// The record's own partition.
pub const PARTITION: &str = "keyway-partition";
/// The record's own offset.
pub const OFFSET: &str = "keyway-offset";
/// The record's own timestamp, in milliseconds since the epoch.
pub const TIMESTAMP: &str = "keyway-timestamp";
/// Consumer group that gave it up.
pub const GROUP: &str = "keyway-group";
/// Host that gave it up.
pub const HOST: &str = "keyway-host";
/// Version of that host.
pub const HOST_VERSION: &str = "keyway-host-version";
/// How often the record was sent on its way again; the loop guard.
pub const REDRIVES: &str = "keyway-redrives";
/// Bytes of a payload that Kafka did not take; the record itself may still stand at its coordinates.
pub const PAYLOAD_DROPPED: &str = "keyway-payload-dropped";
/// Bytes of a key that Kafka did not take, or that is far too large to name anything.
pub const KEY_DROPPED: &str = "keyway-key-dropped";

/// Longest value of a header of ours that a plugin or a destination has a say in, in bytes. Enough for a trap with its frames; small
/// beside Kafka's usual limit of 1 MiB a record.
const VALUE_MAX: usize = 8 << 10;

/// Who writes a dead letter.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Consumer group.
    pub group: String,
    /// The host's id.
    pub host: String,
}

/// All headers of a dead letter: the record's own, then ours. The record's own headers under our prefix are replaced, but for the loop guard.
pub fn headers(letter: &DeadLetter<'_>, writer: &Writer) -> Vec<(String, Vec<u8>)> {
    let DeadLetter { record, failure, plugin } = letter;
    let mut headers: Vec<(String, Vec<u8>)> = record
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with(PREFIX) || name == REDRIVES)
        .map(|(name, value)| (name.clone(), value.to_vec()))
        .collect();
    let mut add = |name: &str, value: &str| headers.push((name.to_owned(), cut(value).into_owned().into_bytes()));
    add(REASON, failure.reason.code());
    add(DETAIL, &failure.detail);
    if let Some((name, version)) = plugin {
        add(PLUGIN, name.as_str());
        add(PLUGIN_VERSION, &version.0);
    }
    if let Some(request) = &failure.request {
        add(DESTINATION, &request.destination);
        add(METHOD, &request.method);
        add(URL, &request.url);
        add(ATTEMPTS, &request.attempts.to_string());
        if let Some(status) = request.last_status {
            add(LAST_STATUS, &status.to_string());
        }
        if let Some(reply) = &request.reply_excerpt {
            add(REPLY, reply);
        }
        add(REQUEST, &request.index.to_string());
    }
    if failure.delivered > 0 {
        let delivered: Vec<String> = (0..failure.delivered).map(|index| index.to_string()).collect();
        add(DELIVERED, &delivered.join(","));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    add(FAILED_AT, &now.as_millis().to_string());
    add(TOPIC, record.topic());
    add(PARTITION, &record.partition().to_string());
    add(OFFSET, &record.offset.to_string());
    if let Some(timestamp) = record.timestamp {
        add(TIMESTAMP, &timestamp.to_string());
    }
    add(GROUP, &writer.group);
    add(HOST, &writer.host);
    add(HOST_VERSION, env!("CARGO_PKG_VERSION"));
    headers
}

/// The headers of a letter that Kafka refused as too large: ours alone, and how many bytes of payload are missing.
pub fn without_payload(dropped: usize, headers: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<_> = headers.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    headers.push((PAYLOAD_DROPPED.to_owned(), dropped.to_string().into_bytes()));
    headers
}

/// Longest key that a letter without its payload keeps, in bytes. Arbitrary; far above any key that names something.
pub const KEY_MAX: usize = 64 << 10;

/// Adds how many bytes of key are missing.
pub fn without_key(dropped: usize, mut headers: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    headers.push((KEY_DROPPED.to_owned(), dropped.to_string().into_bytes()));
    headers
}

/// Longest value of a header where not even a letter without payload and key is taken, in bytes: some 2 KiB in all, which a topic that takes letters at all
/// takes.
const LEAST: usize = 128;

/// The headers of a letter of which Kafka takes next to nothing: the beginnings of their values.
pub fn least(headers: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let least = |mut value: Vec<u8>| {
        let end = String::from_utf8_lossy(&value).floor_char_boundary(LEAST);
        value.truncate(end);
        value
    };
    headers.into_iter().map(|(name, value)| (name, least(value))).collect()
}

/// Cuts a text at a character's border.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= VALUE_MAX {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(VALUE_MAX)]))
}

/// How many places there are in a row from 0. What is no such list counts for nothing: to send again is better than not to send.
fn leading(places: &str) -> u32 {
    (0..).zip(places.split(',')).take_while(|(expected, place)| place.parse() == Ok(*expected)).map(|(at, _): (u32, _)| at + 1).last().unwrap_or(0)
}

/// A dead letter's own headers, read back. What another program has written may lack any of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letter {
    /// See [`REASON`].
    pub reason: Option<String>,
    /// See [`DETAIL`].
    pub detail: Option<String>,
    /// See [`PLUGIN`].
    pub plugin: Option<String>,
    /// See [`PLUGIN_VERSION`].
    pub plugin_version: Option<String>,
    /// See [`DESTINATION`].
    pub destination: Option<String>,
    /// See [`METHOD`].
    pub method: Option<String>,
    /// See [`URL`].
    pub url: Option<String>,
    /// See [`ATTEMPTS`].
    pub attempts: Option<u32>,
    /// See [`LAST_STATUS`].
    pub last_status: Option<u16>,
    /// See [`REPLY`].
    pub reply: Option<String>,
    /// See [`REQUEST`].
    pub request: Option<u32>,
    /// How many of the record's first requests were delivered; see [`DELIVERED`].
    pub delivered: u32,
    /// See [`FAILED_AT`].
    pub failed_at: Option<i64>,
    /// See [`TOPIC`], [`PARTITION`] and [`OFFSET`].
    pub source: Option<(String, i32, i64)>,
    /// See [`TIMESTAMP`].
    pub timestamp: Option<i64>,
    /// See [`GROUP`].
    pub group: Option<String>,
    /// See [`HOST`].
    pub host: Option<String>,
    /// See [`HOST_VERSION`].
    pub host_version: Option<String>,
    /// See [`REDRIVES`].
    pub redrives: u32,
    /// See [`PAYLOAD_DROPPED`].
    pub payload_dropped: Option<u64>,
}

impl Letter {
    /// Reads a letter's headers. The last of several of one name counts: it was written last.
    pub fn read<'a>(headers: impl DoubleEndedIterator<Item = (&'a str, &'a [u8])> + Clone) -> Letter {
        let text = |name: &str| -> Option<String> {
            let (_, value) = headers.clone().rev().find(|(other, _)| *other == name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        fn number<T: std::str::FromStr>(text: Option<String>) -> Option<T> {
            text?.parse().ok()
        }
        let source =
            text(TOPIC).zip(number(text(PARTITION))).zip(number(text(OFFSET))).map(|((topic, partition), offset)| (topic, partition, offset));
        Letter {
            reason: text(REASON),
            detail: text(DETAIL),
            plugin: text(PLUGIN),
            plugin_version: text(PLUGIN_VERSION),
            destination: text(DESTINATION),
            method: text(METHOD),
            url: text(URL),
            attempts: number(text(ATTEMPTS)),
            last_status: number(text(LAST_STATUS)),
            reply: text(REPLY),
            request: number(text(REQUEST)),
            delivered: text(DELIVERED).map_or(0, |text| leading(&text)),
            failed_at: number(text(FAILED_AT)),
            source,
            timestamp: number(text(TIMESTAMP)),
            group: text(GROUP),
            host: text(HOST),
            host_version: text(HOST_VERSION),
            redrives: number(text(REDRIVES)).unwrap_or(0),
            payload_dropped: number(text(PAYLOAD_DROPPED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::outcome::{FailedRequest, Failure, Reason};
    use crate::plugin::{PluginName, Version};
    use crate::record::{Assignment, AssignmentId, Record};

    fn record(headers: &[(&str, &str)]) -> Record {
        Record {
            assignment: Arc::new(Assignment { id: AssignmentId(7), topic: "events".into(), partition: 3 }),
            offset: 42,
            timestamp: Some(1_700_000_000_000),
            key: Some("k".into()),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec().into())).collect(),
            payload: Some("{}".into()),
        }
    }

    fn read(headers: &[(String, Vec<u8>)]) -> Letter {
        Letter::read(headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())))
    }

    #[test]
    fn everything_that_is_known_is_written_and_read_back() {
        let record = record(&[("ce_type", "a"), ("keyway-reason", "forged"), ("keyway-redrives", "2")]);
        let failure = Failure {
            reason: Reason::Exhausted,
            detail: "no connection".into(),
            request: Some(FailedRequest {
                index: 2,
                destination: "orders".into(),
                method: "POST".into(),
                url: "https://orders.internal/api/1".into(),
                attempts: 8,
                last_status: Some(503),
                reply_excerpt: Some("later".into()),
            }),
            delivered: 2,
        };
        let (name, version) = (PluginName::new("payments", "refund"), Version("abc".into()));
        let letter = DeadLetter { record: &record, failure: &failure, plugin: Some((&name, &version)) };
        let writer = Writer { group: "bridge".into(), host: "h-1".into() };
        let headers = headers(&letter, &writer);
        assert_eq!(headers[0], ("ce_type".to_owned(), b"a".to_vec()));
        assert_eq!(headers.iter().filter(|(name, _)| name == REASON).count(), 1);
        let mut read = read(&headers);
        assert!(read.failed_at.take().is_some_and(|at| at > 1_700_000_000_000));
        assert_eq!(
            read,
            Letter {
                reason: Some("exhausted".into()),
                detail: Some("no connection".into()),
                plugin: Some("payments/refund".into()),
                plugin_version: Some("abc".into()),
                destination: Some("orders".into()),
                method: Some("POST".into()),
                url: Some("https://orders.internal/api/1".into()),
                attempts: Some(8),
                last_status: Some(503),
                reply: Some("later".into()),
                request: Some(2),
                delivered: 2,
                failed_at: None,
                source: Some(("events".into(), 3, 42)),
                timestamp: Some(1_700_000_000_000),
                group: Some("bridge".into()),
                host: Some("h-1".into()),
                host_version: Some(env!("CARGO_PKG_VERSION").into()),
                redrives: 2,
                payload_dropped: None,
            }
        );
        assert!(headers.contains(&(DELIVERED.to_owned(), b"0,1".to_vec())));
    }

    /// The first cells of the guide's tables.
    fn documented(prefix: &str) -> Vec<&'static str> {
        let guide = include_str!("../../../docs/guide/dead-letters.md");
        let cells = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        cells.map(|(cell, _)| cell).filter(|cell| cell.starts_with(prefix)).collect()
    }

    #[test]
    fn the_guide_names_every_header_and_every_reason() {
        let constants =
            include_str!("dead_letter.rs").lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once("= \"")?.1.strip_suffix("\";"));
        assert_eq!(documented("keyway-"), constants.filter(|name| *name != PREFIX).collect::<Vec<_>>());
        let reasons: Vec<&str> = documented("").into_iter().filter(|cell| !cell.starts_with("keyway-")).collect();
        assert_eq!(reasons, Reason::ALL.map(Reason::code));
    }

    #[test]
    fn a_request_that_failed_says_nothing_of_those_before_it() {
        let record = record(&[]);
        let failure = Failure::at(FailedRequest { index: 2, ..FailedRequest::default() }, Reason::Denied, "not granted");
        let headers = headers(&DeadLetter { record: &record, failure: &failure, plugin: None }, &Writer { group: "g".into(), host: "h".into() });
        assert!(headers.iter().all(|(name, _)| name != DELIVERED), "{headers:?}");
        let read = read(&headers);
        assert_eq!((read.request, read.delivered), (Some(2), 0));
    }

    #[test]
    fn a_list_of_what_was_delivered_counts_as_far_as_it_is_one() {
        for (list, count) in [("0,1,2", 3), ("0", 1), ("", 0), ("1,2", 0), ("0,2", 1), ("0,1,x", 2), ("no", 0)] {
            assert_eq!(leading(list), count, "{list}");
        }
    }

    #[test]
    fn a_letter_without_its_payload_says_so_and_keeps_its_coordinates() {
        let record = record(&[("big", "header")]);
        let failure = Failure::new(Reason::Rejected, "é".repeat(VALUE_MAX));
        let letter = DeadLetter { record: &record, failure: &failure, plugin: None };
        let headers = without_payload(2, headers(&letter, &Writer { group: "g".into(), host: "h".into() }));
        assert!(headers.iter().all(|(name, _)| name.starts_with(PREFIX)));
        let read = read(&headers);
        assert_eq!((read.payload_dropped, read.source), (Some(2), Some(("events".into(), 3, 42))));
        let detail = read.detail.expect("a detail");
        assert!(detail.ends_with("é…") && detail.len() <= VALUE_MAX + 4);
        let least = least(without_key(3, headers));
        assert!(least.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() < 2_000);
        assert_eq!(self::read(&least).detail, Some("é".repeat(LEAST / 2)));
        assert_eq!(self::read(&least).source, Some(("events".into(), 3, 42)));
    }
}
