//! The command line: one file per command.
//!
//! Owns arguments, exit codes and what is printed. A command is a struct of its arguments with an `execute` that says how it ended.

pub mod logging;

mod admin;
mod build;
mod check;
mod curl;
mod dead_letters;
mod demo;
mod difference;
mod exit;
mod new;
mod release;
mod reload;
mod route;
mod run;
mod status;
mod test_plugin;
mod try_plugin;
mod workbench;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use exit::Exit;

use crate::config::{self, Config, Examined, Report};

/// Keyway: a bridge from Kafka to HTTP with a sandboxed WebAssembly component per key.
#[derive(Debug, Parser)]
#[command(name = "keyway", version, propagate_version = true, disable_help_subcommand = true, after_help = exit::HELP)]
pub struct Arguments {
    /// What is written to standard error.
    #[command(flatten)]
    pub logging: logging::Logging,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a host: consume, transform, deliver, until SIGTERM or SIGINT
    Run(run::Run),
    /// Ask a running host how it stands: plugins and their versions, destinations, partitions, what is held
    Status(status::Status),
    /// Make a running host look at its plugins now, and say what came of it
    Reload(reload::Reload),
    /// Make a running host handle anew what it holds: a key's records, or all that waits for one cause
    Release(release::Release),
    /// Check the configuration and every plugin, and list all problems; starts nothing
    Check(check::Check),
    /// Make a new plugin's project, in Rust, TypeScript, JavaScript, Python, Go or C
    New(new::New),
    /// Build a plugin with its language's own tools, and load it as a host would
    Build(build::Build),
    /// Say which plugin handles a key, by which pattern, and why; starts nothing
    Route(route::Route),
    /// Put one record through one plugin, with the engine and the limits of a host; sends nothing
    Try(try_plugin::Try),
    /// Run a plugin's cases (`NAME.cases/*.json`) and show what differs
    Test(test_plugin::Test),
    /// Play a whole bridge in this process for half a minute: broker, plugins, destinations; needs no Kafka
    Demo(demo::Demo),
    /// Look at what was given up on, and send it on its way again
    DeadLetters(dead_letters::DeadLetters),
}

impl Command {
    /// What is logged unless something else is asked for: a host tells of its life, any other command speaks through what it prints.
    pub fn usual_log(&self) -> &'static str {
        match self {
            Command::Run(_) => "info",
            // Its own words tell the story; that a destination fails is a part of it.
            Command::Demo(_) => "error",
            // They print what is refused, and why.
            Command::Check(_) | Command::Route(_) => "warn,keyway::reload=error",
            _ => "warn",
        }
    }

    /// Who waits for its log.
    pub fn log_writing(&self) -> logging::Writing {
        match self {
            Command::Run(_) | Command::Demo(_) => logging::Writing::Later,
            _ => logging::Writing::AtOnce,
        }
    }

    /// Does it.
    pub fn execute(self) -> Exit {
        match self {
            Command::Run(command) => command.execute(),
            Command::Status(command) => command.execute(),
            Command::Reload(command) => command.execute(),
            Command::Release(command) => command.execute(),
            Command::Check(command) => command.execute(),
            Command::New(command) => command.execute(),
            Command::Build(command) => command.execute(),
            Command::Route(command) => command.execute(),
            Command::Try(command) => command.execute(),
            Command::Test(command) => command.execute(),
            Command::Demo(command) => command.execute(),
            Command::DeadLetters(command) => command.execute(),
        }
    }
}

/// The configuration file that most commands read.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = "keyway.toml")]
    config: PathBuf,
}

impl ConfigFile {
    /// Reads it as far as it can be read.
    fn examine(&self) -> Examined {
        config::examine(&self.config)
    }

    /// Reads it; what is wrong with it goes to standard error.
    fn load(&self) -> Result<Config, Exit> {
        config::load(&self.config).map_err(|report| {
            show_report(&report);
            Exit::Usage
        })
    }
}

/// Writes to standard error: with the lines of the file on a terminal, a line each elsewhere.
fn show_report(report: &Report) {
    use std::io::IsTerminal as _;
    let mut stderr = std::io::stderr().lock();
    let text = if stderr.is_terminal() { report.to_pretty(std::env::var_os("NO_COLOR").is_none()) } else { format!("{report}\n") };
    // When standard error is closed, the exit code still tells.
    let _ = stderr.write_all(text.as_bytes());
}

/// Writes one error, and its mend if there is one, to standard error.
fn show_error(error: impl std::fmt::Display, hint: Option<&str>) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "error: {error}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "  hint: {hint}");
    }
}

/// Writes what is no error and worth a look to standard error.
fn show_warning(warning: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "warning: {warning}");
}

/// Writes what is worth knowing to standard error.
fn show_note(note: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "note: {note}");
}

/// Writes to standard output. What cannot be written there has no other place to go.
fn print(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// How long a command that is done waits for threads that are not.
const LAST_THREADS_END_WITHIN: Duration = Duration::from_secs(1);

/// Runs a command's work on a runtime of its own.
fn block_on<F: Future<Output = Exit>>(work: F) -> Exit {
    match crate::app::runtime() {
        Ok(runtime) => {
            let exit = runtime.block_on(work);
            // What still waits for Kafka on a thread of its own is nobody's concern any more: its task was given up.
            runtime.shutdown_timeout(LAST_THREADS_END_WITHIN);
            exit
        }
        Err(error) => {
            show_error(format!("failed to start the runtime: {error}"), None);
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests;
