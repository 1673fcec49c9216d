//! `keyway.toml` as a whole: read, expanded, checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use toml_edit::{Document, Table};

use super::destination::{self, choice, duration, size};
use super::reader::{Field, Section};
use super::teams::{self, Destinations};
use super::{Admin, Config, Destination, Examined, Failures, Lanes, Ordering, Plugins, Report, Unrouted, kafka};

/// Reads and checks a file.
///
/// # Errors
/// Every problem of the file at once; a file that cannot be read is one.
pub fn load(path: &Path) -> Result<Config, Report> {
    examine(path).whole()
}

/// Reads a file as far as it can be read, so that what it names can be checked although something else in it is wrong.
pub fn examine(path: &Path) -> Examined {
    match std::fs::read_to_string(path) {
        Ok(text) => examine_text(&text, path),
        Err(error) => {
            let mut report = Report::new(path, "");
            report.add(None, format!("failed to read the configuration: {error}"), Some("name the file with `--config FILE`".into()));
            Examined::nothing(report)
        }
    }
}

/// Checks a file's text. Relative paths in it are relative to the file's folder.
///
/// # Errors
/// Every problem of the file at once.
pub fn parse(text: &str, path: &Path) -> Result<Config, Report> {
    examine_text(text, path).whole()
}

fn examine_text(text: &str, path: &Path) -> Examined {
    let mut report = Report::new(path, text);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            report.secretly(|report| report.add(error.span(), format!("not TOML: {}", error.message().trim_end()), None));
            return Examined::nothing(report);
        }
    };
    let read = read(document.as_table(), &mut report);
    Examined { report: report.sorted(), ..read }
}

/// Reads all of it, whatever is wrong with parts of it; the report is filled on the way.
pub(super) fn read(document: &Table, report: &mut Report) -> Examined {
    let mut root = Section::root(document, true);
    let kafka = kafka::kafka(&mut root, report);
    let plugins = plugins(&mut root, report);
    let destinations = destinations(&mut root, report);
    let teams = teams::teams(&mut root, &destinations, report);
    let failures = failures(&mut root, report);
    let lanes = lanes(&mut root, report);
    let replies = kafka::replies(&mut root, kafka.as_ref(), report);
    let admin = admin(&mut root, report);
    root.finish(report);
    let destinations: BTreeMap<Arc<str>, Destination> = destinations.into_iter().filter_map(|(name, read)| Some((name, read?))).collect();
    let config = kafka.zip(plugins.clone()).map(|(kafka, plugins)| Config {
        kafka,
        plugins,
        destinations: destinations.clone(),
        teams: teams.clone(),
        failures,
        lanes,
        replies,
        admin,
    });
    Examined { config, plugins, destinations, teams, ..Examined::nothing(report.clone()) }
}

fn plugins(root: &mut Section<'_>, report: &mut Report) -> Option<Plugins> {
    let mut section = root.section(report, "plugins");
    let folder = report.folder();
    let path = |field: &Field<'_>| Ok(folder.join(field.text()?));
    let directory = section.required(report, "directory", "\"plugins\"", path);
    let cache = section.optional(report, "cache", path);
    let trusted_keys = section.field("trusted_keys").map(|field| {
        let key = |text: &str| match minisign_verify::PublicKey::from_base64(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(format!("`{text}` is no minisign public key: {error}")),
        };
        field.texts(report, key).into_iter().map(|(key, _)| key).collect()
    });
    section.finish(report);
    Some(Plugins { directory: directory?, cache, trusted_keys: trusted_keys.unwrap_or_default() })
}

fn destinations(root: &mut Section<'_>, report: &mut Report) -> Destinations {
    let section = root.section(report, "destinations");
    let read = |(name, field): (String, Field<'_>)| {
        teams::check_name(&name, &field, "destination", report);
        (Arc::from(name.as_str()), destination::read(&name, &field, report))
    };
    section.entries().into_iter().map(read).collect()
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

fn admin(root: &mut Section<'_>, report: &mut Report) -> Option<Admin> {
    let mut section = root.section(report, "admin");
    if !section.is_there() {
        return None;
    }
    let at = section.field("listen").and_then(|field| field.span);
    let listen: Option<SocketAddr> = section.required(report, "listen", "\"127.0.0.1:8484\"", |field| {
        field.read(|text| text.parse().map_err(|_| format!("expected an address and a port such as `127.0.0.1:8484`, found `{text}`")))
    });
    let token = report.secretly(|report| section.optional(report, "token", destination::header_value));
    section.finish(report);
    let listen = listen?;
    if !listen.ip().is_loopback() && token.is_none() {
        let cause = format!("`admin.listen`: `{listen}` can be reached from elsewhere, so it needs a token");
        report.add(at, cause, Some("add `token = \"${env:KEYWAY_TOKEN}\"` to `[admin]`, or listen on `127.0.0.1`".into()));
    }
    Some(Admin { listen, token })
}
