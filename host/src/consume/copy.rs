//! From librdkafka's memory into ours.

use std::panic::catch_unwind;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _};

use crate::record::{Assignment, Record};

/// A record with bytes of its own, in one allocation: a slice of the fetch buffer would pin all of it (librdkafka#1382).
pub(super) fn record(message: &BorrowedMessage<'_>, assignment: Arc<Assignment>) -> Record {
    let (key, payload) = (message.key(), message.payload());
    let headers: Vec<Header<'_, &[u8]>> = message
        .headers()
        .map(|headers| (0..headers.count()).filter_map(|at| readable(|| headers.get(at)).or(Some(UNREADABLE))).collect())
        .unwrap_or_default();
    let values = headers.iter().map(|header| header.value.map_or(0, <[u8]>::len)).sum::<usize>();
    let mut buffer = Vec::with_capacity(key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len) + values);
    for part in [key, payload].into_iter().flatten().chain(headers.iter().filter_map(|header| header.value)) {
        buffer.extend_from_slice(part);
    }
    let mut rest = Bytes::from(buffer);
    let mut cut = |part: Option<&[u8]>| part.map(|part| rest.split_to(part.len()));
    let (key, payload) = (cut(key), cut(payload));
    let headers = headers.iter().map(|header| (header.key.to_owned(), cut(header.value).unwrap_or_default())).collect();
    Record { assignment, offset: message.offset(), timestamp: message.timestamp().to_millis(), key, headers, payload }
}

/// Stands for a header whose name is not UTF-8: its value cannot be had through rust-rdkafka, which panics at the name.
const UNREADABLE: Header<'static, &'static [u8]> = Header { key: "\u{fffd}", value: None };

/// What `read` gives, or none where rust-rdkafka panics because a text in Kafka is not UTF-8. Anyone may write such a text, and one bad record
/// must not end the reader of a whole topic.
pub(super) fn readable<T>(read: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(std::panic::AssertUnwindSafe(read))
        .inspect_err(|_| tracing::warn!("a name or commit metadata in Kafka is not UTF-8; it is left out"))
        .ok()
}
