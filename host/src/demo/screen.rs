//! The screen: a table that is drawn anew on a terminal, a line a second elsewhere; and the words of the story between.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::generator::Written;
use super::stage::Stage;
use super::summary::Ended;
use crate::observe::{Sources as _, Status};

/// Between two drawings on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Between two lines elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Where the demo is shown.
#[derive(Debug)]
pub(super) struct Screen {
    begun: Instant,
    /// The table's place on the terminal; none when there is no terminal.
    table: Option<ProgressBar>,
}

impl Screen {
    pub(super) fn new() -> Screen {
        let table = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            // The template is ours and well-formed; if it were not, the default would do.
            bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        Screen { begun: Instant::now(), table }
    }

    /// A word of the story.
    pub(super) fn say(&self, text: &str) {
        let text = format!("{:>5.1}s  » {text}", self.begun.elapsed().as_secs_f64());
        match &self.table {
            Some(table) => table.println(text),
            None => line(&text),
        }
    }

    /// Shows how things stand until the future is dropped.
    pub(super) async fn show(&self, stage: &Stage, written: &Written) {
        let mut ticks = tokio::time::interval(if self.table.is_some() { DRAW_EVERY } else { LINE_EVERY });
        loop {
            ticks.tick().await;
            let status = stage.overview.status();
            let ended = Ended::of(&stage.metrics, &status);
            match &self.table {
                Some(bar) => bar.set_message(self.table(stage, &status, written, ended)),
                None => line(&self.plain(stage, &status, written, ended)),
            }
        }
    }

    /// Takes the table away.
    pub(super) fn clear(&self) {
        if let Some(table) = &self.table {
            table.finish_and_clear();
        }
    }

    fn plain(&self, stage: &Stage, status: &Status, written: &Written, ended: Ended) -> String {
        let plugins = status.plugins.iter().map(|plugin| {
            let counts = stage.metrics.plugin(&plugin.name);
            format!("{} {} p99 {}", plugin.name, counts.delivered, time(counts.p99))
        });
        let waiting = status.destinations.iter().filter(|destination| destination.is_holding());
        let waiting: String = waiting.map(|destination| format!("  {} {}", destination.name, destination.breaker)).collect();
        format!(
            "{:>5.1}s  produced {}  delivered {}  skipped {}  dead letters {}  held keys {}  [{}]{waiting}",
            self.begun.elapsed().as_secs_f64(),
            written.acknowledged(),
            ended.delivered,
            ended.skipped,
            ended.dead_lettered,
            status.window.held_keys,
            plugins.collect::<Vec<_>>().join(", "),
        )
    }

    fn table(&self, stage: &Stage, status: &Status, written: &Written, ended: Ended) -> String {
        let mut plugins = Table::new();
        plugins.load_preset(NOTHING).set_header(["plugin", "state", "delivered", "skipped", "dead letters", "p50", "p99"]);
        for plugin in &status.plugins {
            let counts = stage.metrics.plugin(&plugin.name);
            let state = plugin.versions.first().map_or("loading", |version| version.state.as_str());
            plugins.add_row([
                plugin.name.clone(),
                state.to_owned(),
                counts.delivered.to_string(),
                counts.skipped.to_string(),
                counts.dead_lettered.to_string(),
                time(counts.p50),
                time(counts.p99),
            ]);
        }
        let mut destinations = Table::new();
        destinations.load_preset(NOTHING).set_header(["destination", "breaker", "accepted", "retries", "held", "p50", "p99"]);
        for destination in &status.destinations {
            let counts = stage.metrics.destination(&destination.name);
            destinations.add_row([
                destination.name.clone(),
                destination.breaker.clone(),
                counts.done.to_string(),
                counts.retries.to_string(),
                destination.held.to_string(),
                time(counts.p50),
                time(counts.p99),
            ]);
        }
        for table in [&mut plugins, &mut destinations] {
            table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        }
        format!(
            "\n{:>5.1}s  produced {}   delivered {}   skipped {}   dead letters {}   held keys {}\n\n{plugins}\n\n{destinations}\n",
            self.begun.elapsed().as_secs_f64(),
            written.acknowledged(),
            ended.delivered,
            ended.skipped,
            ended.dead_lettered,
            status.window.held_keys,
        )
    }
}

/// A duration as a person reads it.
pub(super) fn time(time: Option<Duration>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < Duration::from_secs(1) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        Some(time) => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// A line on standard output; when that is closed, nobody looks.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
