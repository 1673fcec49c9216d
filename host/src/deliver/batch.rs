//! Requests gathered into one body.
//!
//! Owns the groups that are open: requests of one method, URL and headers that wait for others, until there are enough of them, in number or in bytes, or
//! the first has waited long enough. Promises that a request which was taken is not sent again: results an item are looked at one by one, and a
//! batch that is refused because of what is in it is halved until the bad item is alone. Knows nothing of attempts and waits; those are
//! the destination's, which has what was tried before go alone: it may be what makes the destination fail, and would use up the attempts of others.
//!
//! A lane has one record in progress at a time, so a batch never holds two records of one key, and their order is kept. When a record is taken away from this
//! host, its item leaves the batch, wherever that is.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Uri};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::Delivery;
use crate::config::{self, BatchFormat};
use crate::outcome::Reply;

/// One request of a batch.
pub(super) struct Item {
    /// Its body, checked to be JSON.
    pub(super) body: Bytes,
    /// Its idempotency key.
    pub(super) key: HeaderValue,
    /// Its place among its record's requests.
    pub(super) index: u32,
    /// Attempts made with it.
    pub(super) attempts: u32,
    /// Who waits for its end.
    pub(super) waiting: oneshot::Sender<Delivery>,
}

/// The groups of one destination that wait for more.
#[derive(Default)]
pub(super) struct Gathering {
    open: Mutex<HashMap<(Method, Uri), Arc<Group>>>,
}

/// Requests that will go together.
pub(super) struct Group {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// What they all carry, without their idempotency keys.
    pub(super) headers: HeaderMap,
    content: Mutex<Content>,
    full: Notify,
}

struct Content {
    items: Vec<Item>,
    bytes: usize,
    /// Bytes of the items' keys, as a header lists them.
    keys: usize,
}

/// Longest list of keys in a header. Half of what the strictest of the common servers take for all headers together (8 KiB: Tomcat, nginx a line), so that a
/// credential has room beside it; some 130 keys of 30 bytes.
const KEYS_MAX: usize = 4 << 10;

/// What stands between two keys.
const BETWEEN: &[u8] = b", ";

impl Content {
    fn of(item: Item) -> Content {
        // Two brackets around all, and one byte of separator an item.
        let mut content = Content { items: Vec::new(), bytes: 2, keys: 0 };
        content.push(item);
        content
    }

    fn has_room(&self, settings: &config::Batch, item: &Item) -> bool {
        let keys = if settings.keys { self.keys + item.key.len() + BETWEEN.len() } else { 0 };
        self.bytes + item.body.len() < settings.bytes && keys <= KEYS_MAX
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.body.len() + 1;
        self.keys += item.key.len() + BETWEEN.len();
        self.items.push(item);
    }
}

impl Gathering {
    /// Adds a request. Gives back the group if it is a new one, whose end the caller then sees to with [`Gathering::gathered`].
    pub(super) fn add(&self, settings: &config::Batch, method: &Method, uri: &Uri, headers: HeaderMap, item: Item) -> Option<Arc<Group>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (method.clone(), uri.clone());
        if let Some(group) = open.get(&at) {
            let mut content = group.content.lock().unwrap_or_else(PoisonError::into_inner);
            if group.headers == headers && content.has_room(settings, &item) {
                content.push(item);
                let is_full = content.items.len() >= settings.max;
                drop(content);
                if is_full && let Some(group) = open.remove(&at) {
                    group.full.notify_one();
                }
                return None;
            }
            drop(content);
            // It does not fit: that one goes, and this one begins the next.
            group.full.notify_one();
        }
        let content = Mutex::new(Content::of(item));
        let group = Arc::new(Group { method: method.clone(), uri: uri.clone(), headers, content, full: Notify::new() });
        if settings.max > 1 {
            open.insert(at, Arc::clone(&group));
        } else {
            open.remove(&at);
            group.full.notify_one();
        }
        Some(group)
    }

    /// A group of this request alone, which goes at once.
    pub(super) fn alone(method: &Method, uri: &Uri, headers: HeaderMap, item: Item) -> Arc<Group> {
        let content = Mutex::new(Content::of(item));
        let group = Group { method: method.clone(), uri: uri.clone(), headers, content, full: Notify::new() };
        group.full.notify_one();
        Arc::new(group)
    }

    /// Waits until the group is full or its time is up, closes it, and gives out what is in it. Whoever no longer waits is left out.
    pub(super) async fn gathered(&self, settings: &config::Batch, group: &Arc<Group>) -> Vec<Item> {
        // Whichever comes first.
        let _ = timeout(settings.linger, group.full.notified()).await;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (group.method.clone(), group.uri.clone());
        if open.get(&at).is_some_and(|other| Arc::ptr_eq(other, group)) {
            open.remove(&at);
        }
        // Nothing is added to a group that is not among the open ones.
        let mut items = std::mem::take(&mut group.content.lock().unwrap_or_else(PoisonError::into_inner).items);
        items.retain(|item| !item.waiting.is_closed());
        items
    }
}

impl Group {
    /// The headers of a request for these items.
    pub(super) fn headers(&self, format: BatchFormat) -> HeaderMap {
        let mut headers = self.headers.clone();
        if format == BatchFormat::Ndjson && headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/json") {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        }
        headers
    }
}

/// Checks that a body can be part of a batch, and gives it the form that it has there.
///
/// # Errors
/// The broken rule, in words for the plugin's author.
pub(super) fn body(format: BatchFormat, bytes: &[u8]) -> Result<Bytes, String> {
    // One that is no JSON would spoil the whole batch.
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut deserializer)
        .and_then(|_| deserializer.end())
        .map_err(|error| format!("the destination gathers requests into JSON, and this body is none: {error}"))?;
    if format == BatchFormat::Ndjson && bytes.contains(&b'\n') {
        // In JSON a line break can only stand between tokens, where a space says the same.
        return Ok(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect());
    }
    Ok(Bytes::copy_from_slice(bytes))
}

/// Waits until one of these items is waited for by nobody any more. Cancel-safe.
pub(super) async fn left(items: &mut [Item]) {
    poll_fn(|context| {
        // Every one is asked, so that each can wake the task.
        let left = items.iter_mut().filter_map(|item| item.waiting.poll_closed(context).is_ready().then_some(())).count();
        if left > 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The body of a batch.
pub(super) fn join(format: BatchFormat, items: &[Item]) -> Bytes {
    let mut joined = BytesMut::with_capacity(items.iter().map(|item| item.body.len() + 1).sum::<usize>() + 2);
    match format {
        BatchFormat::JsonArray => {
            for (index, item) in items.iter().enumerate() {
                joined.put_u8(if index == 0 { b'[' } else { b',' });
                joined.put_slice(&item.body);
            }
            joined.put_u8(b']');
        }
        BatchFormat::Ndjson => {
            for item in items {
                joined.put_slice(&item.body);
                joined.put_u8(b'\n');
            }
        }
    }
    joined.freeze()
}

/// The idempotency key of a batch: the same for the same items, that of the item for one alone.
pub(super) fn key(items: &[Item]) -> HeaderValue {
    if let [item] = items {
        return item.key.clone();
    }
    let mut hasher = Sha256::new();
    for item in items {
        hasher.update(item.key.as_bytes());
        hasher.update(b"\n");
    }
    let digest = hasher.finalize();
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("batch/{hex}")).unwrap_or(HeaderValue::from_static("batch"))
}

/// The idempotency keys of the items, in their order: what a destination can tell a request by, in whichever batch it comes.
pub(super) fn keys(items: &[Item]) -> Option<HeaderValue> {
    let keys: Vec<&[u8]> = items.iter().map(|item| item.key.as_bytes()).collect();
    // What was joined of header values is one.
    HeaderValue::from_bytes(&keys.join(BETWEEN)).ok()
}

/// Whether a refusal is about what is in the batch, so that smaller ones may be taken.
pub(super) fn is_about_content(status: u16) -> bool {
    matches!(status, 400 | 409 | 413 | 422)
}

/// The results of so many items: the reply is a JSON array with one each.
///
/// # Errors
/// What it is instead, in words for the operator.
pub(super) fn results(body: &[u8], cut: bool, count: usize) -> Result<Vec<&RawValue>, String> {
    if cut {
        return Err(format!("it was cut off after {} bytes (`reply_cap`)", body.len()));
    }
    let results: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| format!("it is no JSON array ({error})"))?;
    if results.len() == count { Ok(results) } else { Err(format!("it is an array of {}", results.len())) }
}

/// The reply to one item. A result is a status, or an object that may have one in `status`; an object that has an `error` and no status counts as 422, anything
/// else as the status of the whole.
pub(super) fn item_reply(reply: &Reply, result: &RawValue) -> Reply {
    #[derive(serde::Deserialize)]
    struct Status {
        status: Option<u16>,
        error: Option<serde::de::IgnoredAny>,
    }
    let text = result.get();
    let status = if let Ok(status) = serde_json::from_str::<u16>(text) {
        Some(status)
    } else {
        match serde_json::from_str::<Status>(text) {
            Ok(Status { status: Some(status), .. }) => Some(status),
            Ok(Status { status: None, error: Some(_) }) => Some(422),
            _ => None,
        }
    };
    Reply {
        status: status.filter(|status| (100..600).contains(status)).unwrap_or(reply.status),
        headers: reply.headers.clone(),
        body: Bytes::copy_from_slice(text.as_bytes()),
        cut: false,
        attempts: reply.attempts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        assert_eq!(&body(BatchFormat::Ndjson, b"{\n \"a\":\r\n 1}").unwrap()[..], b"{  \"a\":   1}");
        assert_eq!(&body(BatchFormat::JsonArray, b"{\n}").unwrap()[..], b"{\n}");
        for bad in [&b""[..], b"{", b"1 2", b"\xff", b"{}]"] {
            assert!(body(BatchFormat::JsonArray, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn results_one_by_one() {
        let reply = |body: &str| Reply { status: 200, headers: Vec::new(), body: Bytes::from(body.to_owned()), cut: false, attempts: 1 };
        let of = |body: &str, count| {
            results(body.as_bytes(), false, count).map(|all| all.iter().map(|each| item_reply(&reply(body), each).status).collect::<Vec<_>>())
        };
        let mixed = r#"[201, {"status":409}, {"status":503,"x":1}, {"error":"no"}, {"error":null}, {"id":7}, null, true, "ok", {"status":9999}]"#;
        assert_eq!(of(mixed, 10), Ok(vec![201, 409, 503, 422, 200, 200, 200, 200, 200, 200]));
        assert_eq!(of("[200]", 2), Err("it is an array of 1".to_owned()));
        for (body, word) in [("{}", "no JSON array"), ("", "no JSON array"), ("[200", "no JSON array"), ("[200] x", "no JSON array")] {
            assert!(of(body, 1).unwrap_err().contains(word), "{body}");
        }
        assert!(results(b"[200]", true, 1).unwrap_err().contains("cut off after 5 bytes"), "what is left may look whole");
    }
}
