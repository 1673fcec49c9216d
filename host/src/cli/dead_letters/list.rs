//! `keyway dead-letters list`.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use super::filter::Filter;
use super::reader::{DeadLetter, Reader};
use super::time::Moment;
use crate::cli::{ConfigFile, Exit, show_error};

/// Lists dead letters.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    filter: Filter,
    /// At most so many letters; the rest are counted
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

const COLUMNS: [&str; 9] = ["LETTER", "TIME", "REASON", "PLUGIN", "DESTINATION", "STATUS", "KEY", "SOURCE", "DETAIL"];

/// Characters of a key or a detail that are listed; `show` has all of it.
const CELL: usize = 80;

impl List {
    pub(super) fn execute(self) -> Exit {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        match self.list(&config.kafka) {
            Ok(()) => Exit::Done,
            Err(error) => {
                show_error(format!("failed to {error}"), None);
                Exit::Failed
            }
        }
    }

    fn list(&self, settings: &crate::config::Kafka) -> Result<(), String> {
        let mut reader = Reader::open(settings, &settings.group)?;
        reader.rewind(self.filter.since.map(|since| since.0), &HashMap::new())?;
        let mut output = Output::new();
        let (mut listed, mut more, mut all) = (0_usize, 0_usize, 0_usize);
        while let Some(letter) = reader.next()? {
            all += 1;
            if !self.filter.takes(&letter) {
                continue;
            }
            if listed < self.limit {
                listed += 1;
                output.row(&row(&letter));
            } else {
                more += 1;
            }
        }
        output.end();
        let beyond = if more > 0 { format!(", and {more} more beyond the limit") } else { String::new() };
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{listed} of {all} dead letters in `{}`{beyond}", reader.topic());
        Ok(())
    }
}

fn row(found: &DeadLetter) -> [String; 9] {
    let letter = &found.letter;
    let text = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), short);
    [
        found.id(),
        letter.failed_at.or(found.timestamp).map_or_else(|| "-".to_owned(), |at| Moment(at).to_string()),
        text(letter.reason.as_deref()),
        text(letter.plugin.as_deref()),
        text(letter.destination.as_deref()),
        letter.last_status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        match &found.key {
            None => "-".to_owned(),
            Some(key) => short(&String::from_utf8_lossy(key)),
        },
        letter.source.as_ref().map_or_else(|| "-".to_owned(), |(topic, partition, offset)| format!("{topic}/{partition}@{offset}")),
        text(letter.detail.as_deref().and_then(|detail| detail.lines().next())),
    ]
}

/// One line, cut, and with nothing in it that a terminal would obey: keys and details come from anywhere.
fn short(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(CELL).map(clean).collect();
    if text.chars().nth(CELL).is_some() {
        short.push('…');
    }
    short
}

/// A table on a terminal; elsewhere a line a letter with tabs between, as it is found.
enum Output {
    Terminal(Table),
    Lines,
}

impl Output {
    fn new() -> Output {
        if !std::io::stdout().is_terminal() {
            let lines = Output::Lines;
            lines.line(&COLUMNS.map(str::to_owned));
            return lines;
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(COLUMNS);
        Output::Terminal(table)
    }

    fn row(&mut self, row: &[String; 9]) {
        match self {
            Output::Terminal(table) => {
                table.add_row(row);
            }
            Output::Lines => self.line(row),
        }
    }

    #[expect(clippy::unused_self, reason = "a line is written by the output that is lines")]
    fn line(&self, row: &[String; 9]) {
        // When nobody reads any more there is nobody to tell.
        let _ = writeln!(std::io::stdout().lock(), "{}", row.join("\t"));
    }

    fn end(self) {
        if let Output::Terminal(table) = self {
            let _ = writeln!(std::io::stdout().lock(), "{table}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_is_listed() {
        assert_eq!(short("a\x1b[31mb\r\nc"), "a [31mb  c");
        assert_eq!(short(&"x".repeat(CELL)).chars().count(), CELL);
        assert!(short(&"é".repeat(CELL + 1)).ends_with("é…"));
    }
}
