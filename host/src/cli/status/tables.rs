//! A status for people: what is wrong first, then a table for each kind of thing.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::cli::admin::plain;
use crate::observe::status::{DestinationStatus, PluginStatus, Status, VersionStatus, short};

/// The whole of it, at this moment (milliseconds since the epoch).
pub(super) fn tables(status: &Status, now: u64) -> String {
    let mut text = head(status, now);
    let plugins = status.plugins.iter().map(plugin);
    section(&mut text, &["PLUGIN", "KEYS", "DELIVERED", "SKIPPED", "GIVEN UP", "P50", "P99"], 2, plugins);
    let versions = status.plugins.iter().flat_map(|plugin| plugin.versions.iter().map(|version| version_row(plugin, version, now)));
    section(&mut text, &["PLUGIN", "VERSION", "STATE", "FOR", "IS", "WHY"], usize::MAX, versions);
    let destinations = status.destinations.iter().map(|destination| destination_row(destination, now));
    let columns = ["DESTINATION", "BREAKER", "IN FLIGHT", "WAITING", "HELD", "REPLIES", "RETRIES", "P50", "P99", "LAST ERROR"];
    section(&mut text, &columns, 2, destinations);
    let partitions = status.partitions.iter().map(|partition| {
        vec![
            format!("{}/{}", plain(&partition.topic), partition.partition),
            or_dash(partition.lag),
            or_dash(partition.watermark),
            or_dash(partition.seen),
            partition.undecided.to_string(),
        ]
    });
    section(&mut text, &["PARTITION", "LAG", "WATERMARK", "SEEN", "UNDECIDED"], 1, partitions);
    let held = status.held.iter().map(|held| {
        let cause = if held.name.is_empty() { held.cause.clone() } else { format!("{} `{}`", held.cause, plain(&held.name)) };
        vec![cause, held.keys.to_string()]
    });
    section(&mut text, &["HELD FOR", "KEYS"], 1, held);
    text.truncate(text.trim_end().len());
    text
}

fn head(status: &Status, now: u64) -> String {
    let Status { host, window, directory, .. } = status;
    let mut text = format!("host {} (Keyway {}): {}\n", plain(&host.id), plain(&host.version), if host.ready { "ready" } else { "not ready" });
    let _ = writeln!(text, "  group `{}`, topics {}, up for {}", plain(&host.group), names(&host.topics), ago(host.since, now));
    for reason in &host.reasons {
        let _ = writeln!(text, "  not ready: {}", plain(reason));
    }
    for line in status.degraded() {
        let _ = writeln!(text, "  degraded: {}", plain(&line));
    }
    let _ = writeln!(
        text,
        "  records: {} in memory ({} of {}), {} in progress, {} kept as offsets; {} keys held",
        window.records,
        mebibytes(window.bytes),
        mebibytes(window.bytes_max),
        window.in_progress,
        window.parked_records,
        window.held_keys
    );
    let settled = if directory.settled { "settled" } else { "something is being looked at" };
    let _ = writeln!(text, "  plugins: `{}`, watched by {}; {settled}", plain(&directory.path), plain(&directory.watching));
    text
}

fn plugin(plugin: &PluginStatus) -> Vec<String> {
    vec![
        plain(&plugin.name),
        if plugin.keys.is_empty() { "-".to_owned() } else { names(&plugin.keys) },
        plugin.delivered.to_string(),
        plugin.skipped.to_string(),
        plugin.dead_lettered.to_string(),
        time(plugin.p50_ms),
        time(plugin.p99_ms),
    ]
}

fn version_row(plugin: &PluginStatus, version: &VersionStatus, now: u64) -> Vec<String> {
    let mut why = version.reason.as_deref().or(version.remark.as_deref()).map(plain).unwrap_or_default();
    if let Some(hint) = &version.hint {
        let _ = write!(why, " (hint: {})", plain(hint));
    }
    vec![
        plain(&plugin.name),
        version.version.as_deref().map_or_else(|| "-".to_owned(), |hash| plain(short(hash))),
        plain(&version.state),
        ago(version.since, now),
        version.about.as_deref().map_or_else(|| "-".to_owned(), plain),
        why,
    ]
}

fn destination_row(destination: &DestinationStatus, now: u64) -> Vec<String> {
    let held = match destination.held_since {
        Some(since) => format!("{} for {}", destination.held, ago(since, now)),
        None => destination.held.to_string(),
    };
    let error = match (&destination.last_error, destination.failed_at) {
        (Some(error), Some(at)) => format!("{} ago: {}", ago(at, now), plain(error)),
        (Some(error), None) => plain(error),
        (None, _) => String::new(),
    };
    vec![
        plain(&destination.name),
        plain(&destination.breaker),
        format!("{} of {}", destination.in_flight, destination.limit),
        destination.waiting.to_string(),
        held,
        destination.replies.to_string(),
        destination.retries.to_string(),
        time(destination.p50_ms),
        time(destination.p99_ms),
        error,
    ]
}

/// A table below an empty line, unless it would have no rows. Columns from `numbers` on, but for a last one of words, are set to the right.
fn section(text: &mut String, columns: &[&str], numbers: usize, rows: impl Iterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(columns);
    for row in rows {
        table.add_row(row);
    }
    if table.is_empty() {
        return;
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        let words = columns[at] == "LAST ERROR";
        column.set_cell_alignment(if at >= numbers && !words { CellAlignment::Right } else { CellAlignment::Left });
        // No border is drawn, so the first column begins where the line does.
        column.set_padding((u16::from(at > 0), 1));
    }
    text.push('\n');
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| format!("`{}`", plain(name))).collect::<Vec<_>>().join(", ")
}

fn or_dash(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn time(milliseconds: Option<f64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms"))
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// How long ago, in its two largest units: exact enough to find the moment in a log.
fn ago(since: u64, now: u64) -> String {
    let seconds = now.saturating_sub(since) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
