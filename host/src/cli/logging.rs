//! The log: to standard error, as text or as JSON.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::observe::Lines;

/// How to log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,keyway::deliver=debug` [default: `info` for a host, `warn`
    /// for any other command]
    #[arg(long, global = true, env = "KEYWAY_LOG", hide_env_values = true, value_name = "FILTER")]
    log: Option<String>,
    /// Form of the log
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Who waits for a line to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Whoever logs it: for commands that end soon, so that their log and what they print come in order.
    AtOnce,
    /// Nobody: for a host, which goes on when nobody drains its standard error.
    Later,
}

static LINES: OnceLock<Lines> = OnceLock::new();

/// Waits for lines that are still to be written when it is dropped, at the end of the program.
#[must_use]
#[derive(Debug)]
pub struct End;

impl Drop for End {
    fn drop(&mut self) {
        flush();
    }
}

/// Waits for lines that are still to be written, for a second at most.
pub(super) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// Starts logging, at `usual` unless something else is asked for. A filter that cannot be read is replaced by it, with a warning.
pub fn start(logging: &Logging, usual: &str, writing: Writing) -> End {
    let asked = logging.log.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(usual);
    let (filter, wrong) = match EnvFilter::try_new(asked) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(usual), Some(error)),
    };
    let stderr = std::io::stderr;
    let lines = match writing {
        Writing::AtOnce => None,
        // Without a thread there is still a log.
        Writing::Later => Lines::start(stderr()).ok().map(|lines| LINES.get_or_init(|| lines)),
    };
    let writer = lines.map_or_else(|| BoxMakeWriter::new(stderr), |lines| BoxMakeWriter::new(move || lines));
    let builder = fmt().with_env_filter(filter).with_writer(writer).with_ansi(stderr().is_terminal()).with_target(false);
    match logging.log_format {
        Format::Text => builder.init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
    if let Some(error) = wrong {
        tracing::warn!("the log filter `{asked}` was ignored: {error}");
    }
    End
}
