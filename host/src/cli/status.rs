//! `keyway status`: how a running host stands.

mod tables;

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use http::Method;

use super::admin::{Admin, Running, Unanswered};
use super::{Exit, print};

/// Asks a host how it stands.
#[derive(Debug, Args)]
#[command(after_help = EXIT)]
pub struct Status {
    #[command(flatten)]
    host: Running,
    /// Print the host's whole answer as it is (`GET /api/status`)
    #[arg(long)]
    json: bool,
}

const EXIT: &str = "Exit codes: 0 all is well, 1 the host does not answer, 2 wrong arguments or configuration, 3 the host is not ready, or a plugin or a destination is not as it should be";

impl Status {
    pub(super) fn execute(self) -> Exit {
        self.host.ask(async |admin| ask(admin, self.json, print).await)
    }
}

async fn ask(admin: &Admin, json: bool, print: impl FnOnce(String)) -> Result<Exit, Unanswered> {
    let (answer, status) = admin.status(Method::GET, "/api/status").await?;
    print(if json { format!("{answer:#}") } else { tables::tables(&status, now()) });
    Ok(if status.host.ready && status.degraded().is_empty() { Exit::Done } else { Exit::Wrong })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
