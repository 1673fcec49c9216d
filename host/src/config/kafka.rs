//! `[kafka]` and `[replies]`: what the host reads from Kafka and writes to it.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::destination::{choice, duration};
use super::reader::{Field, Section, not_empty};
use super::{Framing, Kafka, Replies, Report, RouteBy, expand};
use crate::policy::SecretText;

/// Settled offsets are committed so often. What settled since the last commit is sent again after a crash, and a commit costs
/// the broker one small write: twenty a second are nothing to it.
const COMMIT_EVERY: Duration = Duration::from_millis(50);

/// librdkafka properties that Keyway sets itself, and why.
const OWN_PROPERTIES: [(&str, &str); 11] = [
    ("bootstrap.servers", "it is `brokers`"),
    ("group.id", "it is `group`"),
    ("enable.auto.commit", "an offset is committed when its record is settled, and not before"),
    ("auto.commit.enable", "an offset is committed when its record is settled, and not before"),
    ("enable.auto.offset.store", "an offset is committed when its record is settled, and not before"),
    ("enable.partition.eof", "nothing waits for the end of a partition"),
    ("allow.auto.create.topics", "a mistyped topic has to be an error, not a new topic"),
    ("enable.idempotence", "dead letters are always written so"),
    ("acks", "a dead letter counts when all replicas have it"),
    ("batch.num.messages", "a dead letter goes alone, so that it is not refused for a large neighbour"),
    ("client.id", "it carries the host's id, by which hosts of one group find each other"),
];

/// Second names that librdkafka has for a property, and the one that Keyway uses (its CONFIGURATION.md, "Alias for"). With two names in one client's
/// settings it would be chance which value wins.
const ALIASES: [(&str, &str); 11] = [
    ("metadata.broker.list", "bootstrap.servers"),
    ("max.in.flight.requests.per.connection", "max.in.flight"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"),
    ("sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("message.send.max.retries", "retries"),
    ("compression.codec", "compression.type"),
    ("request.required.acks", "acks"),
    ("message.timeout.ms", "delivery.timeout.ms"),
];

pub(super) fn kafka(root: &mut Section<'_>, report: &mut Report) -> Option<Kafka> {
    let mut section = root.section(report, "kafka");
    let brokers = section.required(report, "brokers", "\"localhost:9092\"", Field::text);
    let topics = topics(&mut section, report);
    let group = section.required(report, "group", "\"bridge\"", Field::text);
    let dead_letters_at = section.field("dead_letters").and_then(|field| field.span);
    let dead_letters = section.required(report, "dead_letters", "\"bridge.dead-letters\"", |field| field.read(topic));
    if let (Some(topics), Some(dead_letters)) = (&topics, &dead_letters)
        && topics.contains(dead_letters)
    {
        let hint = "name a topic that is not among `topics`";
        let cause = format!("`kafka.dead_letters`: `{dead_letters}` is also consumed, so that dead letters would come back as records");
        report.add(dead_letters_at, cause, Some(hint.into()));
    }
    let framing = section.optional(report, "framing", |field| choice(field, &[("none", Framing::None), ("confluent-json", Framing::ConfluentJson)]));
    let route_by = section.optional(report, "by", |field| field.read(route_by));
    let commit_every = section.optional(report, "commit_every", duration);
    let properties = report.secretly(|report| properties(&mut section, report));
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

/// `[replies]`, once it is known what the host consumes.
pub(super) fn replies(root: &mut Section<'_>, kafka: Option<&Kafka>, report: &mut Report) -> Option<Replies> {
    let mut section = root.section(report, "replies");
    if !section.is_there() {
        return None;
    }
    let at = section.field("topic").and_then(|field| field.span);
    let name = section.required(report, "topic", "\"bridge.replies\"", |field| field.read(topic));
    section.finish(report);
    let topic = name?;
    let taken = match kafka {
        Some(kafka) if kafka.topics.contains(&topic) => Some("is also consumed, so that replies would come back as records"),
        Some(kafka) if kafka.dead_letters == topic => Some("is the topic of the dead letters, and who reads those does not expect replies"),
        _ => None,
    };
    if let Some(why) = taken {
        report.add(at, format!("`replies.topic`: `{topic}` {why}"), Some("name a topic of its own".into()));
    }
    Some(Replies { topic })
}

fn topics(section: &mut Section<'_>, report: &mut Report) -> Option<Vec<String>> {
    let field = section.required_field(report, "topics", "[\"events\"]")?;
    let (before, mut topics) = (report.problems().len(), Vec::new());
    for (name, span) in field.texts(report, topic) {
        if topics.contains(&name) {
            report.add(span, format!("`kafka.topics`: `{name}` is there twice"), None);
        } else {
            topics.push(name);
        }
    }
    if topics.is_empty() && report.problems().len() == before {
        report.add(field.span, "`kafka.topics`: expected at least one topic", None);
    }
    Some(topics)
}

/// A topic's name (Kafka's `Topic.validate`).
fn topic(text: &str) -> Result<String, String> {
    let topic = not_empty(text)?;
    if topic.starts_with('^') {
        return Err(format!("`{topic}` is a pattern; topics are named one by one, so that a new topic is never consumed unawares"));
    }
    let legal = topic.len() <= 249 && topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && topic != "." && topic != "..";
    if legal { Ok(topic) } else { Err(format!("`{topic}` is no name of a topic: at most 249 of `a-z A-Z 0-9 . _ -`")) }
}

fn route_by(text: &str) -> Result<RouteBy, String> {
    match text.split_once(':') {
        None if text == "key" => Ok(RouteBy::Key),
        Some(("header", name)) if !name.is_empty() => Ok(RouteBy::Header(name.to_owned())),
        Some(("cloudevents", attribute)) if !attribute.is_empty() => Ok(RouteBy::CloudEvent(attribute.to_owned())),
        _ => Err(format!("expected `key`, `header:NAME` or `cloudevents:ATTRIBUTE`, found `{text}`")),
    }
}

fn properties(section: &mut Section<'_>, report: &mut Report) -> BTreeMap<String, SecretText> {
    let mut properties = BTreeMap::new();
    for (typed, field) in section.section(report, "properties").leaves() {
        let name = ALIASES.iter().find(|(alias, _)| *alias == typed).map_or(typed, |(_, name)| (*name).to_owned());
        if let Some((_, reason)) = OWN_PROPERTIES.iter().find(|(own, _)| *own == name) {
            report.add(field.span.clone(), format!("`{}` is Keyway's own to set: {reason}", field.name), Some("take the line out".into()));
            continue;
        }
        let value = if field.is_text() {
            expand::secret(field.typed().unwrap_or_default())
        } else {
            field.json().map(|json| SecretText::known(json.to_string()))
        };
        match value.and_then(|value| accepted(&name, &value).map(|()| value)) {
            Ok(_) if properties.contains_key(&name) => {
                report.add(
                    field.span.clone(),
                    format!("`{}`: `{name}` is there already, under its other name", field.name),
                    Some("take one out".into()),
                );
            }
            Ok(value) => {
                properties.insert(name, value);
            }
            Err(cause) => report.add(field.span.clone(), format!("`{}`: {cause}", field.name), None),
        }
    }
    properties
}

/// Asks librdkafka itself, which connects to nothing for it. Its own words may hold the value, so only its verdict is taken.
fn accepted(name: &str, value: &SecretText) -> Result<(), String> {
    let value = value.resolve()?;
    match ClientConfig::new().set(name, value.expose()).create_native_config() {
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Err("librdkafka has no such property".into()),
        Err(KafkaError::ClientConfig(_, words, ..)) if words.contains("not supported in this build") => {
            Err("librdkafka was built without what this property is for".into())
        }
        Err(_) => Err("librdkafka does not accept this value".into()),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value other than the default for each, and how librdkafka writes it.
    #[test]
    fn an_alias_is_what_librdkafka_takes_it_for() {
        for (alias, name) in ALIASES {
            let value = match name {
                "bootstrap.servers" => "kafka:9092",
                "sasl.mechanism" => "PLAIN",
                "compression.type" => "gzip",
                name if name.starts_with("sasl.oauthbearer") => "bridge",
                _ => "1000",
            };
            match ClientConfig::new().set(alias, value).create_native_config() {
                Ok(client) => assert_eq!(client.get(name).unwrap(), value, "{alias} and {name}"),
                // Not in this build, and then under neither name.
                Err(error) => {
                    assert!(error.to_string().contains("OAuth/OIDC depends on libcurl"), "{error}");
                    ClientConfig::new().set(name, value).create_native_config().map(drop).unwrap_err();
                }
            }
        }
    }
}
