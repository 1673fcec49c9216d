//! `[teams.NAME]`: what the plugins of a team may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reader::{Field, Section};
use super::{Destination, Report, sidecar};
use crate::plugin::DEFAULT_TEAM;
use crate::policy::{Grant, Limits, Pattern};

/// The destinations as far as they could be read: a team may name one whose own table has a problem.
pub(super) type Destinations = BTreeMap<Arc<str>, Option<Destination>>;

pub(super) fn teams(root: &mut Section<'_>, destinations: &Destinations, report: &mut Report) -> BTreeMap<Arc<str>, Arc<Grant>> {
    let mut teams = BTreeMap::new();
    for (name, field) in root.section(report, "teams").entries() {
        check_name(&name, &field, "team", report);
        let grant = team(&name, &field, destinations, report);
        teams.insert(Arc::clone(&grant.team), Arc::new(grant));
    }
    // Who may put files at the top of the directory is trusted with all that is configured; teams exist to trust with less.
    let everything = || Grant { file: report.file().into(), ..Grant::everything(DEFAULT_TEAM, Limits::default()) };
    teams.entry(DEFAULT_TEAM.into()).or_insert_with(|| Arc::new(everything()));
    teams
}

fn team(name: &str, field: &Field<'_>, destinations: &Destinations, report: &mut Report) -> Grant {
    let mut section = field.section(report);
    let keys = given(name, &mut section, report, "keys", "[\"payment:*\"]").map(|field| {
        let keys = field.texts(report, |text| text.parse::<Pattern>().map(|_| text.to_owned()).map_err(|error| error.to_string()));
        keys.into_iter().map(|(key, _)| key).collect()
    });
    let named = given(name, &mut section, report, "destinations", "[\"ledger\"]").map(|field| {
        let names = field.texts(report, |text| text.parse::<Pattern>().map(|pattern| (text.to_owned(), pattern)).map_err(|error| error.to_string()));
        for ((typed, pattern), span) in &names {
            // `*` is all there are, however many.
            if *pattern != Pattern::Any && !destinations.keys().any(|name| pattern.matches(name)) {
                let known: Vec<String> = destinations.keys().map(|name| format!("`{name}`")).collect();
                let hint = match known.len() {
                    0 => "there is no `[destinations.NAME]` yet".into(),
                    _ => format!("known: {}", known.join(", ")),
                };
                report.add(span.clone(), format!("`{}`: no destination is called `{typed}`", field.name), Some(hint));
            }
        }
        names.into_iter().map(|((typed, _), _)| typed).collect()
    });
    let limits = limits(&mut section, report);
    section.finish(report);
    let otherwise = || if name == DEFAULT_TEAM { vec!["*".to_owned()] } else { Vec::new() };
    Grant {
        team: name.into(),
        keys: keys.unwrap_or_else(otherwise),
        destinations: named.unwrap_or_else(otherwise),
        limits,
        file: report.file().into(),
    }
}

/// A team is granted what is written, so both have to be; only the team `default` has all unless less is written.
fn given<'d>(name: &str, section: &mut Section<'d>, report: &mut Report, key: &'static str, example: &str) -> Option<Field<'d>> {
    match name {
        DEFAULT_TEAM => section.field(key),
        _ => section.required_field(report, key, example),
    }
}

fn limits(section: &mut Section<'_>, report: &mut Report) -> Limits {
    let at = section.field("limits").and_then(|field| field.span);
    let limits = sidecar::limits(section, report).over(Limits::default());
    if limits.cpu > limits.wall {
        let cause = format!("`limits`: `cpu` is {:?} and `wall` is {:?}, so that `cpu` would never be reached", limits.cpu, limits.wall);
        report.add(at, cause, Some("CPU time passes no faster than the clock: raise `wall` too".into()));
    }
    limits
}

/// A name that stands in paths, logs, metrics and host names alike.
pub(super) fn check_name(name: &str, field: &Field<'_>, what: &str, report: &mut Report) {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(legal) {
        let cause = format!("`{}`: a {what} cannot be called so; accepted are at most 64 of `a-z A-Z 0-9 . _ -`, the first no `.`", field.name);
        report.add(field.span.clone(), cause, None);
    }
}
