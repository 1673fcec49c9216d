//! `NAME.toml`, the sidecar of a plugin; and limits, which teams have too.

use std::path::Path;

use toml_edit::{Document, Table};

use super::Report;
use super::destination::{choice, duration, size};
use super::reader::{Field, Section};
use crate::plugin::{LimitsWish, OnFault, Reuse, Sidecar};
use crate::policy::{Limits, Pattern};

/// Bytes after which a kept instance is retired unless the sidecar says so: what JavaScript and Python guests stay below for thousands of calls.
const REUSE_MEMORY: usize = 48 << 20;

/// Checks a sidecar's text.
///
/// # Errors
/// Every problem of the file at once.
pub fn parse_sidecar(text: &str, path: &Path) -> Result<Sidecar, Report> {
    let mut report = Report::new(path, text);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            report.secretly(|report| report.add(error.span(), format!("not TOML: {}", error.message().trim_end()), None));
            return Err(report);
        }
    };
    let sidecar = read(document.as_table(), &mut report);
    if report.is_empty() { Ok(sidecar) } else { Err(report.sorted()) }
}

/// Reads all of it, whatever is wrong with parts of it.
pub(super) fn read(document: &Table, report: &mut Report) -> Sidecar {
    let mut root = Section::root(document, false);
    let keys = root.field("keys").map(|field| {
        let before = report.problems().len();
        let keys = field.texts(report, |text| text.parse::<Pattern>().map(|_| text.to_owned()).map_err(|error| error.to_string()));
        if keys.is_empty() && report.problems().len() == before {
            report.add(field.span, "`keys`: expected at least one pattern; leave `keys` out for the plugin's own", None);
        }
        keys.into_iter().map(|(key, _)| key).collect()
    });
    let on_fault = root.optional(report, "on_fault", |field| choice(field, &[("dead-letter", OnFault::DeadLetter), ("hold", OnFault::Hold)]));
    let reuse = reuse(&mut root, report);
    let settings = settings(&mut root, report);
    let limits = limits(&mut root, report);
    root.finish(report);
    Sidecar { keys, settings, limits, on_fault: on_fault.unwrap_or_default(), reuse }
}

fn reuse(root: &mut Section<'_>, report: &mut Report) -> Option<Reuse> {
    let calls = |field: &Field<'_>| u32::try_from(field.count()?).map_err(|_| "too many calls".to_owned());
    let field = root.field("reuse")?;
    if !field.is_table() {
        return root.optional(report, "reuse", calls).map(|calls| Reuse { calls, memory: REUSE_MEMORY });
    }
    let mut section = field.section(report);
    let calls = section.required(report, "calls", "100", calls);
    let memory = section.optional(report, "memory", size).unwrap_or(REUSE_MEMORY);
    section.finish(report);
    Some(Reuse { calls: calls?, memory })
}

fn settings(root: &mut Section<'_>, report: &mut Report) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    for (name, field) in root.section(report, "settings").entries() {
        // Settings are for the plugin to see, so nothing is expanded in them: a secret could get there only by mistake.
        let value = if field.is_text() { field.typed().map(str::to_owned) } else { field.json().map(|json| json.to_string()) };
        match value {
            Ok(value) => settings.push((name, value)),
            Err(cause) => report.add(field.span.clone(), format!("`{}`: {cause}", field.name), None),
        }
    }
    settings.sort();
    settings
}

/// `[limits]` of a sidecar or a team, as far as given.
pub(super) fn limits(parent: &mut Section<'_>, report: &mut Report) -> LimitsWish {
    let mut section = parent.section(report, "limits");
    let limits = LimitsWish {
        cpu: section.optional(report, "cpu", duration),
        wall: section.optional(report, "wall", duration),
        memory: section.optional(report, "memory", |field| {
            let most = Limits::MEMORY_MAX;
            size(field).and_then(|size| if size <= most { Ok(size) } else { Err(format!("at most {} MiB can be had, by any plugin", most >> 20)) })
        }),
        output: section.optional(report, "output", size),
        requests: section.optional(report, "requests", Field::count),
        headers: section.optional(report, "headers", Field::count),
    };
    section.finish(report);
    limits
}
