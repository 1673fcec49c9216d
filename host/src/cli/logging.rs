//! The log: to standard error, as text or as JSON.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

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

/// Starts logging, at `usual` unless something else is asked for. A filter that cannot be read is replaced by it, with a warning.
pub fn start(logging: &Logging, usual: &str) {
    let asked = logging.log.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(usual);
    let (filter, wrong) = match EnvFilter::try_new(asked) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(usual), Some(error)),
    };
    let stderr = std::io::stderr;
    let builder = fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false);
    match logging.log_format {
        Format::Text => builder.init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
    if let Some(error) = wrong {
        tracing::warn!("the log filter `{asked}` was ignored: {error}");
    }
}
