//! Holds `docs/guide/configuration.md` to the code: every key that is read is documented, every documented key is read, the examples are
//! accepted, and the defaults are those of the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use toml_edit::{Document, TableLike};
use url::Url;

use super::*;
use crate::policy::Limits;

const GUIDE: &str = include_str!("../../../docs/guide/configuration.md");
const SIDECAR: &str = "sidecar";

/// The keys of the guide's tables under their whole names, with their defaults.
fn documented() -> BTreeMap<String, String> {
    let (mut prefix, mut keys) = (None, BTreeMap::new());
    for line in GUIDE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            prefix = match heading.strip_prefix("`[").and_then(|rest| rest.strip_suffix("]`")) {
                Some(section) => Some(section.to_owned()),
                None if heading.starts_with("The sidecar") => Some(SIDECAR.to_owned()),
                None => None,
            };
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let (Some(prefix), ["", key, _, default, ..]) = (&prefix, &cells[..])
            && let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`'))
        {
            let known = keys.insert(format!("{prefix}.{key}"), default.trim_matches('`').trim_matches('"').to_owned());
            assert_eq!(known, None, "`{key}` is documented twice");
        }
    }
    keys
}

/// An example, by the comment in its first line, with secrets and files that the test has.
fn example(name: &str, folder: &Path) -> String {
    let start = GUIDE.find(&format!("```toml\n# {name}\n")).expect("the guide has the example");
    let text = &GUIDE[start + "```toml\n".len()..];
    let mut text = text[..text.find("\n```").expect("the example ends")].replace("/etc/keyway", &folder.display().to_string());
    while let Some(at) = text.find("${env:") {
        let end = at + text[at..].find('}').expect("the reference ends");
        text.replace_range(at..=end, "c2VjcmV0");
    }
    for file in ["orders.token", "ca.pem", "client.pem", "client.key"] {
        fs::write(folder.join(file), "secret").unwrap();
    }
    text
}

/// The user's own names do not matter.
fn normal(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 1 && ["destinations", "teams"].contains(&parts[0]) {
        parts[1] = "NAME";
    }
    parts.join(".")
}

/// The keys of a document that are no tables, or are tables of the user's own names.
fn leaves(prefix: &str, table: &dyn TableLike, into: &mut BTreeSet<String>) {
    for (key, item) in table.iter() {
        let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        let own = ["properties", "headers", "settings"].contains(&key);
        match item.as_table_like() {
            Some(table) if !own => leaves(&name, table, into),
            _ => {
                into.insert(normal(&name));
            }
        }
    }
}

/// The keys that were read, without the tables that hold others.
fn read_keys(report: &Report) -> BTreeSet<String> {
    let all: BTreeSet<String> = report.read.iter().map(|name| normal(name)).collect();
    let holds_others = |name: &String| {
        let within = format!("{name}.");
        all.iter().any(|other| other.starts_with(&within))
    };
    // These two are written as one value or as a table.
    let both = ["destinations.NAME.concurrency", "reuse"];
    all.iter().filter(|name| both.contains(&name.as_str()) || !holds_others(name)).cloned().collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (text, sidecar) = (example("keyway.toml", folder.path()), example("NAME.toml", folder.path()));
    let document = Document::parse(text.as_str()).unwrap();
    let mut report = Report::new(Path::new("keyway.toml"), &text);
    let examined = file::read(document.as_table(), &mut report);
    assert!(examined.config.is_some() && report.is_empty(), "{report}");
    let mut read = read_keys(&report);
    let mut written = BTreeSet::new();
    leaves("", document.as_table(), &mut written);

    let document = Document::parse(sidecar.as_str()).unwrap();
    let mut report = Report::new(Path::new("NAME.toml"), &sidecar);
    sidecar::read(document.as_table(), &mut report);
    assert!(report.is_empty(), "{report}");
    read.extend(read_keys(&report).into_iter().map(|key| format!("{SIDECAR}.{key}")));
    leaves(SIDECAR, document.as_table(), &mut written);
    // A number in the table's place, which the example does not show.
    written.insert(format!("{SIDECAR}.reuse"));

    let documented: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(documented, read, "documented, and read");
    assert_eq!(written, documented, "in the examples, and documented");
}

#[test]
fn the_least_is_accepted() {
    let start = GUIDE.find("```toml\n").unwrap() + "```toml\n".len();
    let end = start + GUIDE[start..].find("```").unwrap();
    parse(&GUIDE[start..end], Path::new("keyway.toml")).unwrap();
}

#[test]
fn the_defaults_are_those_of_the_code() {
    let documented = documented();
    let duration = |key: &str, value: Duration| assert_eq!(values::duration(&documented[key]), Ok(value), "{key}");
    let size = |key: &str, value: usize| assert_eq!(values::size(&documented[key]), Ok(value), "{key}");
    let text = |key: &str, value: &str| assert_eq!(documented[key], value, "{key}");

    let least = "[kafka]\nbrokers = \"b\"\ntopics = [\"t\"]\ngroup = \"g\"\ndead_letters = \"d\"\n[plugins]\ndirectory = \"p\"\n\
                 [destinations.a]\nurl = \"http://a\"\nbatch = {}\n[destinations.b]\nurl = \"http://b\"";
    let config = parse(least, Path::new("keyway.toml")).unwrap();
    duration("kafka.commit_every", config.kafka.commit_every);
    assert_eq!((config.kafka.framing, config.kafka.route_by, config.failures.unrouted), (Framing::None, RouteBy::Key, Unrouted::DeadLetter));

    let of_the_table = &config.destinations["b"];
    assert_eq!(format!("{of_the_table:?}"), format!("{:?}", Destination::new("b", Url::parse("http://b").unwrap())));
    let destination = &config.destinations["a"];
    let key = |name: &str| format!("destinations.NAME.{name}");
    duration(&key("timeout"), destination.timeout);
    duration(&key("connect_timeout"), destination.connect_timeout);
    text(&key("retry.attempts"), &destination.retry.attempts.to_string());
    assert_eq!(values::backoff(&documented[&key("retry.backoff")]), Ok((destination.retry.backoff_min, destination.retry.backoff_max)));
    duration(&key("retry.within"), destination.retry.within);
    let Concurrency::Adaptive { min, max } = destination.concurrency else { panic!("it does not adapt") };
    text(&key("concurrency.min"), &min.to_string());
    text(&key("concurrency.max"), &max.to_string());
    text(&key("breaker.failure_ratio"), &destination.breaker.failure_ratio.to_string());
    text(&key("breaker.minimum"), &destination.breaker.minimum.to_string());
    duration(&key("breaker.window"), destination.breaker.window);
    duration(&key("breaker.open_for"), destination.breaker.open_for);
    size(&key("reply_cap"), destination.reply_cap);
    let batch = destination.batch.unwrap();
    text(&key("batch.max"), &batch.max.to_string());
    duration(&key("batch.linger"), batch.linger);
    size(&key("batch.bytes"), batch.bytes);
    assert_eq!((batch.format, batch.per_item, batch.keys), (BatchFormat::JsonArray, false, true));

    let limits = Limits::default();
    duration("teams.NAME.limits.cpu", limits.cpu);
    duration("teams.NAME.limits.wall", limits.wall);
    size("teams.NAME.limits.memory", limits.memory);
    size("teams.NAME.limits.output", limits.output);
    text("teams.NAME.limits.requests", &limits.requests.to_string());
    text("teams.NAME.limits.headers", &limits.headers.to_string());

    size("lanes.bytes", config.lanes.bytes);
    text("lanes.records", &config.lanes.records.to_string());
    duration("lanes.drain", config.lanes.drain);
    let reuse = parse_sidecar("reuse = 1", Path::new("NAME.toml")).unwrap().reuse.unwrap();
    size("sidecar.reuse.memory", reuse.memory);
}
