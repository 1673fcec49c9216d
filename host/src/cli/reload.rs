//! `keyway reload`: a running host looks at its plugins' directory now.

use clap::Args;
use http::Method;

use super::admin::{Admin, Running, Unanswered, plain};
use super::{Exit, print};
use crate::observe::status::{PluginStatus, Status, short};

/// Asks a host to look at its plugins again.
#[derive(Debug, Args)]
#[command(after_help = EXIT)]
pub struct Reload {
    #[command(flatten)]
    host: Running,
    /// Print the host's whole status afterwards, as `POST /api/reload` gives it
    #[arg(long)]
    json: bool,
}

const EXIT: &str = "Exit codes: 0 every plugin serves as its files say, 1 the host does not answer, 2 wrong arguments or configuration, 3 a plugin is refused, or is still being loaded after a minute";

impl Reload {
    pub(super) fn execute(self) -> Exit {
        self.host.ask(async |admin| ask(admin, self.json, print).await)
    }
}

async fn ask(admin: &Admin, json: bool, print: impl FnOnce(String)) -> Result<Exit, Unanswered> {
    let (answer, status) = admin.status(Method::POST, "/api/reload").await?;
    print(if json { format!("{answer:#}") } else { story(&status) });
    let trouble = !status.directory.problems.is_empty() || status.plugins.iter().any(|plugin| plugin.trouble().is_some());
    Ok(if trouble || !status.directory.settled { Exit::Wrong } else { Exit::Done })
}

/// A line for each plugin, and what is wrong.
fn story(status: &Status) -> String {
    let mut lines: Vec<String> = status.plugins.iter().map(plugin).collect();
    lines.extend(status.directory.problems.iter().map(|problem| format!("in the directory: {}", plain(problem))));
    if !status.directory.settled {
        lines.push("not all is looked at yet; `keyway status` goes on telling".to_owned());
    }
    if lines.is_empty() {
        lines.push(format!("there are no plugins in `{}`", plain(&status.directory.path)));
    }
    lines.join("\n")
}

fn plugin(plugin: &PluginStatus) -> String {
    let name = plain(&plugin.name);
    let serving = plugin.serving.as_deref().map_or_else(|| "nothing serves".to_owned(), |hash| format!("{} serves", plain(short(hash))));
    let mut line = match plugin.trouble() {
        None if plugin.loading => format!("plugin `{name}`: {serving}; its new files are being looked at"),
        None => format!("plugin `{name}`: {serving}"),
        Some(version) => {
            let why = version.reason.as_deref().map_or_else(|| "for no known reason".to_owned(), plain);
            let what = version.version.as_deref().map_or_else(|| "its files".to_owned(), |hash| plain(short(hash)));
            format!("plugin `{name}`: {serving}; {what} {}: {why}", plain(&version.state))
        }
    };
    if let Some(hint) = plugin.trouble().and_then(|version| version.hint.as_deref()) {
        line.push_str(&format!("\n  hint: {}", plain(hint)));
    }
    line
}

#[cfg(test)]
mod tests;
