//! The log: to standard error, as text or as JSON.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How to log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,keyway::deliver=debug`
    #[arg(long, global = true, env = "KEYWAY_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
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

/// Starts logging. A filter that cannot be read is replaced by `info`, with a warning.
pub fn start(logging: &Logging) {
    let (filter, wrong) = match EnvFilter::try_new(&logging.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let stderr = std::io::stderr;
    let builder = fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false);
    match logging.log_format {
        Format::Text => builder.init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
    if let Some(error) = wrong {
        tracing::warn!("the log filter `{}` was ignored: {error}", logging.log);
    }
}
