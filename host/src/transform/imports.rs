//! What a guest may call: its log and its settings.
//!
//! A guest cannot block or flood the host by logging: what exceeds a cap is dropped and counted. It can end its own call by it, as by whatever else it passes
//! to the host: with a line that is larger than all that a call may pass (reason `output`), or is no text (`trapped`).

use std::fmt;
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::bindings::{config, log, types};
use super::state::State;

/// Bytes of one line; the rest is cut off. Redpanda's transforms have the same.
const LINE_MAX: usize = 1 << 10;
/// Bytes of the lines of one call.
const CALL_MAX: usize = 16 << 10;
/// Lines a second of one plugin, over all of its calls ...
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");
/// ... and how many may come at once.
const LINES_BURST: NonZeroU32 = NonZeroU32::new(500).expect("500 is not zero");

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Of use to the plugin's author only.
    Trace,
    /// Of use when something is looked for.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warn,
    /// Wrong.
    Error,
}

/// One line of a plugin's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The text, without control characters, at most 1 KiB.
    pub text: String,
}

/// How fast a plugin may log, over all of its calls.
pub(super) struct LogRate(DefaultDirectRateLimiter);

impl LogRate {
    pub(super) fn new() -> LogRate {
        LogRate(RateLimiter::direct(Quota::per_second(LINES_PER_SECOND).allow_burst(LINES_BURST)))
    }

    fn allows(&self) -> bool {
        self.0.check().is_ok()
    }
}

impl fmt::Debug for LogRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogRate")
    }
}

/// The log of one call.
#[derive(Debug)]
pub(super) struct CallLog {
    left: usize,
    dropped: u64,
    last_error: Option<String>,
    /// Kept lines, for a trial; none sends them to the host's own log.
    kept: Option<Vec<Line>>,
}

impl CallLog {
    /// The log of one call; `keep` holds its lines back for whoever tries the plugin out.
    pub(super) fn new(keep: bool) -> CallLog {
        CallLog { left: CALL_MAX, dropped: 0, last_error: None, kept: keep.then(Vec::new) }
    }

    /// Takes the lines that were kept, and how many were dropped.
    pub(super) fn take(&mut self) -> (Vec<Line>, u64) {
        (self.kept.take().unwrap_or_default(), self.dropped)
    }

    /// Counts lines that were dropped before they came here.
    pub(super) fn lost(&mut self, lines: u64) {
        self.dropped += lines;
    }

    /// The last line of level error.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

impl State {
    /// Writes one line to the plugin's log, if its caps allow.
    pub(super) fn write_line(&mut self, level: Level, text: &str) {
        let log = &mut self.log;
        let cut = cut(text);
        if level == Level::Error {
            log.last_error = Some(clean(cut));
        }
        if cut.len() > log.left || (log.kept.is_none() && !self.plugin.log_rate.allows()) {
            log.dropped += 1;
            return;
        }
        log.left -= cut.len();
        let text = clean(cut);
        if let Some(kept) = &mut log.kept {
            kept.push(Line { level, text });
            return;
        }
        let (plugin, record) = (self.plugin.name.as_str(), &self.at);
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin, %record, "{text}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, %record, "{text}"),
            Level::Info => tracing::info!(target: "plugin", plugin, %record, "{text}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, %record, "{text}"),
            Level::Error => tracing::error!(target: "plugin", plugin, %record, "{text}"),
        }
    }

    /// Says how many lines of this call were dropped, once, at its end.
    pub(super) fn end_log(&mut self) {
        let log = &mut self.log;
        if log.dropped > 0 && log.kept.is_none() {
            let (plugin, record, dropped) = (self.plugin.name.as_str(), &self.at, log.dropped);
            tracing::debug!(target: "plugin", plugin, %record, dropped, "log lines over the plugin's rate or size were dropped");
        }
    }
}

/// The line's beginning, cut at a character's edge.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LINE_MAX)]
}

/// Without what [`harmless`] replaces.
fn clean(text: &str) -> String {
    text.trim_end_matches(['\n', '\r']).chars().map(harmless).collect()
}

/// In place of what could move a terminal's cursor, end the line or reverse its direction, something that cannot.
pub(super) fn harmless(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '\u{fffd}',
        c => c,
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.write_line(level, &message);
    }
}

impl config::Host for State {
    fn get(&mut self, name: String) -> Option<String> {
        let settings = &self.plugin.settings;
        let found = settings.binary_search_by(|(known, _)| known.as_str().cmp(&name)).ok()?;
        Some(settings[found].1.clone())
    }

    fn all(&mut self) -> Vec<(String, String)> {
        self.plugin.settings.clone()
    }
}

impl types::Host for State {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_a_characters_edge() {
        let text = "é".repeat(LINE_MAX);
        assert_eq!(cut(&text).len(), LINE_MAX);
        let text = format!("x{text}");
        assert_eq!(cut(&text).len(), LINE_MAX - 1);
    }

    #[test]
    fn control_characters_do_not_reach_the_log() {
        assert_eq!(clean("a\u{1b}[31mb\r\nc\n"), "a\u{fffd}[31mb\u{fffd}\u{fffd}c");
        assert_eq!(clean("a\tb\u{202e}c\u{9b}d"), "a b\u{fffd}c\u{fffd}d");
    }
}
