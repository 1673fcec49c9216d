//! `keyway release`: a running host handles anew what it holds.

use clap::Args;
use http::Method;
use serde::{Deserialize, Serialize};

use super::admin::{Admin, Running, Unanswered};
use super::{Exit, print};

/// Asks a host to handle anew what it holds.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    host: Running,
    /// Print the host's own answer, as `POST /api/release` gives it
    #[arg(long)]
    json: bool,
}

/// What is to be handled anew.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// All records of this key, whatever they are held for
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// All that is held for this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// All that is held for this plugin: `NAME`, or `TEAM/NAME`
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// All that no plugin claims
    #[arg(long)]
    unrouted: bool,
}

/// What the host says.
#[derive(Debug, Serialize, Deserialize)]
struct Released {
    released: usize,
}

impl Release {
    pub(super) fn execute(self) -> Exit {
        self.host.ask(async |admin| ask(admin, &self.what, self.json, print).await)
    }
}

async fn ask(admin: &Admin, what: &What, json: bool, print: impl FnOnce(String)) -> Result<Exit, Unanswered> {
    let named = [("key", &what.key), ("destination", &what.destination), ("plugin", &what.plugin)];
    let query = named.iter().find_map(|(name, value)| Some((*name, value.as_deref()?))).unwrap_or(("unrouted", ""));
    let answer: Released = admin.ask(Method::POST, "/api/release", &[query]).await?;
    print(match answer {
        answer if json => serde_json::json!(answer).to_string(),
        Released { released: 0 } => "nothing of it was held by this host".to_owned(),
        Released { released: 1 } => "1 key is handled anew".to_owned(),
        Released { released } => format!("{released} keys are handled anew"),
    });
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
