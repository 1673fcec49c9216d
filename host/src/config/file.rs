//! `keyway.toml` as a whole: read, expanded, checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml_edit::Document;

use super::destination::{self, choice, duration, size};
use super::reader::{Field, Section};
use super::{Admin, Config, Destination, Failures, Framing, Kafka, Lanes, Ordering, Plugins, Replies, Report, RouteBy, Unrouted, expand, sidecar};
use crate::plugin::DEFAULT_TEAM;
use crate::policy::{Grant, Limits, Pattern, SecretText};

/// Settled offsets are committed so often. What settled since the last commit is sent again after a crash, and a commit costs
/// the broker one small write: twenty a second are nothing to it.
const COMMIT_EVERY: Duration = Duration::from_millis(50);

/// librdkafka properties that Keyway sets itself, and why.
const OWN_PROPERTIES: [(&str, &str); 9] = [
    ("bootstrap.servers", "it is `brokers`"),
    ("metadata.broker.list", "it is `brokers`"),
    ("group.id", "it is `group`"),
    ("enable.auto.commit", "an offset is committed when its record is settled, and not before"),
    ("enable.auto.offset.store", "an offset is committed when its record is settled, and not before"),
    ("enable.partition.eof", "nothing waits for the end of a partition"),
    ("enable.idempotence", "dead letters are always written so"),
    ("acks", "a dead letter counts when all replicas have it"),
    ("client.id", "it carries the host's id and its admin address, by which hosts of one group find each other"),
];

/// Reads and checks a file.
///
/// # Errors
/// Every problem of the file at once; a file that cannot be read is one.
pub fn load(path: &Path) -> Result<Config, Report> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) => {
            let mut report = Report::new(path, "");
            report.add(None, format!("failed to read the configuration: {error}"), Some("name the file with `--config FILE`".into()));
            Err(report)
        }
    }
}

/// Checks a file's text. Relative paths in it are relative to the file's folder.
///
/// # Errors
/// Every problem of the file at once.
pub fn parse(text: &str, path: &Path) -> Result<Config, Report> {
    let mut report = Report::new(path, text);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            report.add(error.span(), format!("not TOML: {}", error.message().trim_end()), None);
            return Err(report);
        }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut root = Section::root(document.as_table());
    let kafka = kafka(&mut root, &mut report);
    let plugins = plugins(&mut root, folder, &mut report);
    let destinations = destinations(&mut root, &mut report);
    let teams = teams(&mut root, &destinations, &mut report);
    let failures = failures(&mut root, &mut report);
    let lanes = lanes(&mut root, &mut report);
    let replies = replies(&mut root, &mut report);
    let admin = admin(&mut root, &mut report);
    root.finish(&mut report);
    let destinations: BTreeMap<Arc<str>, Destination> = destinations.into_iter().filter_map(|(name, read)| Some((name, read?))).collect();
    match (kafka, plugins) {
        (Some(kafka), Some(plugins)) if report.is_empty() => Ok(Config { kafka, plugins, destinations, teams, failures, lanes, replies, admin }),
        _ => Err(report.sorted()),
    }
}

fn text(field: &Field<'_>) -> Result<String, String> {
    let text = expand::text(field.typed()?)?;
    if text.trim().is_empty() { Err("expected a text, found an empty one".into()) } else { Ok(text) }
}

fn topic(field: &Field<'_>) -> Result<String, String> {
    let topic = text(field)?;
    let legal = topic.len() <= 249 && topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && topic != "." && topic != "..";
    if legal { Ok(topic) } else { Err(format!("`{topic}` is no name of a topic: at most 249 of `a-z A-Z 0-9 . _ -`")) }
}

fn kafka(root: &mut Section<'_>, report: &mut Report) -> Option<Kafka> {
    let mut section = root.section(report, "kafka");
    let brokers = section.required(report, "brokers", "\"localhost:9092\"", text);
    let topics = section.required(report, "topics", "[\"events\"]", |field| {
        let topics: Vec<String> = field.list()?.into_iter().map(|(topic, _)| expand::text(topic)).collect::<Result<_, _>>()?;
        if topics.is_empty() || topics.iter().any(|topic| topic.trim().is_empty()) {
            return Err("expected at least one topic".into());
        }
        Ok(topics)
    });
    let group = section.required(report, "group", "\"bridge\"", text);
    let dead_letters_at = section.field("dead_letters");
    let dead_letters = section.required(report, "dead_letters", "\"bridge.dead-letters\"", topic);
    if let (Some(topics), Some(dead_letters)) = (&topics, &dead_letters)
        && topics.contains(dead_letters)
    {
        let hint = "name a topic that is not among `topics`";
        let cause = format!("`kafka.dead_letters`: `{dead_letters}` is also consumed, so that dead letters would come back as records");
        report.add(dead_letters_at.and_then(|field| field.span), cause, Some(hint.into()));
    }
    let framing = section.optional(report, "framing", |field| choice(field, &[("none", Framing::None), ("confluent-json", Framing::ConfluentJson)]));
    let route_by = section.optional(report, "by", route_by);
    let commit_every = section.optional(report, "commit_every", duration);
    let properties = properties(&mut section, report);
    section.finish(report);
    Some(Kafka {
        brokers: brokers?,
        topics: topics?,
        group: group?,
        dead_letters: dead_letters?,
        properties,
        framing: framing.unwrap_or_default(),
        route_by: route_by.unwrap_or_default(),
        commit_every: commit_every.unwrap_or(COMMIT_EVERY),
    })
}

fn route_by(field: &Field<'_>) -> Result<RouteBy, String> {
    match field.typed()?.split_once(':') {
        None if field.typed()? == "key" => Ok(RouteBy::Key),
        Some(("header", name)) if !name.is_empty() => Ok(RouteBy::Header(name.to_owned())),
        Some(("cloudevents", attribute)) if !attribute.is_empty() => Ok(RouteBy::CloudEvent(attribute.to_owned())),
        _ => Err(format!("expected `key`, `header:NAME` or `cloudevents:ATTRIBUTE`, found `{}`", field.typed()?)),
    }
}

fn properties(section: &mut Section<'_>, report: &mut Report) -> BTreeMap<String, SecretText> {
    let mut properties = BTreeMap::new();
    for (name, field) in section.section(report, "properties").entries() {
        if let Some((_, reason)) = OWN_PROPERTIES.iter().find(|(own, _)| *own == name) {
            report.add(field.span.clone(), format!("`{}` is Keyway's own to set: {reason}", field.name), Some("take the line out".into()));
            continue;
        }
        let value = if field.is_text() {
            expand::secret(field.typed().unwrap_or_default())
        } else {
            field.json().map(|json| SecretText::known(json.to_string()))
        };
        match value {
            Ok(value) => {
                properties.insert(name, value);
            }
            Err(cause) => report.add(field.span.clone(), format!("`{}`: {cause}", field.name), None),
        }
    }
    properties
}

fn plugins(root: &mut Section<'_>, folder: &Path, report: &mut Report) -> Option<Plugins> {
    let mut section = root.section(report, "plugins");
    let path = |field: &Field<'_>| Ok(folder.join(PathBuf::from(text(field)?)));
    let directory = section.required(report, "directory", "\"plugins\"", path);
    let cache = section.optional(report, "cache", path);
    let trusted_keys = section.optional(report, "trusted_keys", |field| {
        let keys: Vec<String> = field.list()?.into_iter().map(|(key, _)| expand::text(key)).collect::<Result<_, _>>()?;
        for key in &keys {
            minisign_verify::PublicKey::from_base64(key).map_err(|error| format!("`{key}` is no minisign public key: {error}"))?;
        }
        Ok(keys)
    });
    section.finish(report);
    Some(Plugins { directory: directory?, cache, trusted_keys: trusted_keys.unwrap_or_default() })
}

fn destinations(root: &mut Section<'_>, report: &mut Report) -> BTreeMap<Arc<str>, Option<Destination>> {
    let section = root.section(report, "destinations");
    section.entries().into_iter().map(|(name, field)| (Arc::from(name.as_str()), destination::read(&name, &field, report))).collect()
}

fn teams(root: &mut Section<'_>, destinations: &BTreeMap<Arc<str>, Option<Destination>>, report: &mut Report) -> BTreeMap<Arc<str>, Arc<Grant>> {
    let mut teams = BTreeMap::new();
    for (name, field) in root.section(report, "teams").entries() {
        let mut section = field.section(report);
        // A team is granted what is written; only the team `default` has all unless less is written.
        let otherwise = || if name == DEFAULT_TEAM { vec!["*".to_owned()] } else { Vec::new() };
        let keys = section.optional(report, "keys", patterns);
        let may_name = section.field("destinations");
        let granted = may_name.as_ref().map(|field| (field, field.list()));
        let granted = match granted {
            None => None,
            Some((field, Err(cause))) => {
                report.add(field.span.clone(), format!("`{}`: {cause}", field.name), None);
                None
            }
            Some((field, Ok(names))) => Some(
                names
                    .into_iter()
                    .map(|(typed, span)| {
                        match typed.parse::<Pattern>() {
                            Err(error) => report.add(span, format!("`{}`: {error}", field.name), None),
                            Ok(pattern) if !destinations.keys().any(|name| pattern.matches(name)) => {
                                let known: Vec<String> = destinations.keys().map(|name| format!("`{name}`")).collect();
                                let hint = if known.is_empty() {
                                    "there is no `[destinations.NAME]` yet".into()
                                } else {
                                    format!("known: {}", known.join(", "))
                                };
                                report.add(span, format!("`{}`: no destination is called `{typed}`", field.name), Some(hint));
                            }
                            Ok(_) => {}
                        }
                        typed.to_owned()
                    })
                    .collect(),
            ),
        };
        let limits = sidecar::limits(&mut section, report);
        section.finish(report);
        let grant = Grant {
            team: name.as_str().into(),
            keys: keys.unwrap_or_else(otherwise),
            destinations: granted.unwrap_or_else(otherwise),
            limits: limits.over(Limits::default()),
        };
        teams.insert(Arc::clone(&grant.team), Arc::new(grant));
    }
    teams.entry(DEFAULT_TEAM.into()).or_insert_with(|| {
        Arc::new(Grant { team: DEFAULT_TEAM.into(), keys: vec!["*".into()], destinations: vec!["*".into()], limits: Limits::default() })
    });
    teams
}

pub(super) fn patterns(field: &Field<'_>) -> Result<Vec<String>, String> {
    let list = field.list()?;
    for (text, _) in &list {
        text.parse::<Pattern>().map_err(|error| error.to_string())?;
    }
    Ok(list.into_iter().map(|(text, _)| text.to_owned()).collect())
}

fn failures(root: &mut Section<'_>, report: &mut Report) -> Failures {
    let mut section = root.section(report, "failures");
    let choices = [("dead-letter", Unrouted::DeadLetter), ("skip", Unrouted::Skip), ("hold", Unrouted::Hold)];
    let unrouted = section.optional(report, "unrouted", |field| choice(field, &choices));
    section.finish(report);
    Failures { unrouted: unrouted.unwrap_or_default() }
}

fn lanes(root: &mut Section<'_>, report: &mut Report) -> Lanes {
    let mut section = root.section(report, "lanes");
    let default = Lanes::default();
    let choices = [("key", Ordering::Key), ("partition", Ordering::Partition), ("none", Ordering::None)];
    let ordering = section.optional(report, "ordering", |field| choice(field, &choices)).unwrap_or(default.ordering);
    let bytes = section.optional(report, "bytes", size).unwrap_or(default.bytes);
    let records = section.optional(report, "records", Field::count).unwrap_or(default.records);
    let drain = section.optional(report, "drain", duration).unwrap_or(default.drain);
    section.finish(report);
    Lanes { ordering, bytes, records, drain }
}

fn replies(root: &mut Section<'_>, report: &mut Report) -> Option<Replies> {
    let mut section = root.section(report, "replies");
    if !section.is_there() {
        return None;
    }
    let name = section.required(report, "topic", "\"bridge.replies\"", topic);
    section.finish(report);
    Some(Replies { topic: name? })
}

fn admin(root: &mut Section<'_>, report: &mut Report) -> Option<Admin> {
    let mut section = root.section(report, "admin");
    if !section.is_there() {
        return None;
    }
    let at = section.field("listen").and_then(|field| field.span);
    let listen: Option<SocketAddr> = section.required(report, "listen", "\"127.0.0.1:8484\"", |field| {
        let text = text(field)?;
        text.parse().map_err(|_| format!("expected an address and a port such as `127.0.0.1:8484`, found `{text}`"))
    });
    let token = section.optional(report, "token", |field| expand::secret(field.typed()?));
    section.finish(report);
    let listen = listen?;
    if !listen.ip().is_loopback() && token.is_none() {
        let cause = format!("`admin.listen`: `{listen}` can be reached from elsewhere, so it needs a token");
        report.add(at, cause, Some("add `token = \"${env:KEYWAY_TOKEN}\"` to `[admin]`, or listen on `127.0.0.1`".into()));
    }
    Some(Admin { listen, token })
}
