//! Versions of a guest that can be told apart by what they send, and the way to deploy them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::Seen;
use crate::traffic::{Sent, guest};

/// What a guest's requests carry as `content-type`, and what those of its other version do: as long, so that it can be changed in the component's data.
pub const CONTENT_TYPES: [&str; 2] = ["application/json", "application/JSON"];

/// A guest in two versions that differ in the `content-type` of their requests alone, in the order of [`CONTENT_TYPES`].
///
/// # Panics
/// When the guest is not built, or has no such constant.
pub fn two(name: &str) -> [Vec<u8>; 2] {
    let first = fs::read(guest(name)).expect("a component");
    let [from, to] = CONTENT_TYPES.map(str::as_bytes);
    let mut second = first.clone();
    let mut found = 0;
    for at in 0..=second.len() - from.len() {
        if &second[at..at + from.len()] == from {
            second[at..at + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "`{name}` names no `{}`", CONTENT_TYPES[0]);
    [first, second]
}

/// The same code under another hash: with one more custom section, which holds the mark.
///
/// # Panics
/// When the mark is longer than 100 bytes.
pub fn marked(component: &[u8], mark: &str) -> Vec<u8> {
    assert!(mark.len() <= 100, "a short mark");
    let mut bytes = component.to_vec();
    bytes.extend([0, mark.len() as u8 + 5, 4]);
    bytes.extend(b"mark");
    bytes.extend(mark.bytes());
    bytes
}

/// Holds up that all requests of a record were made by one version, which their `content-type` tells.
///
/// # Panics
/// At the first request by another version than its record's first one.
#[track_caller]
pub fn check_one_each(seen: &[Seen]) {
    let mut versions: HashMap<(i32, i64), &str> = HashMap::new();
    for request in seen {
        let sent = Sent::of(request);
        let version = request.content_type.as_deref().expect("a content type");
        let first = *versions.entry((sent.partition, sent.offset)).or_insert(version);
        assert_eq!(first, version, "{sent:?} was made by another version than the record's first request");
    }
}

/// Puts a component in the place of another one, as a deployment should: written beside it, then renamed.
///
/// # Panics
/// When the folder cannot be written.
pub fn deploy(plugins: &Path, name: &str, component: &[u8]) {
    let beside = plugins.join(format!("{name}.wasm.tmp"));
    fs::write(&beside, component).expect("a file beside");
    fs::rename(&beside, plugins.join(format!("{name}.wasm"))).expect("a rename");
}
