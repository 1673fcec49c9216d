//! What the demo plays on: a broker, four destinations, a folder with plugins and `keyway.toml`, and the host.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::broker::Broker;
use super::destination::Destination;
use crate::app::{App, Overview};
use crate::config;
use crate::observe::Metrics;

/// The topic of the events, and its partitions: 28 s at 200 records of some 600 bytes a second are 0.9 MiB in each, and the broker keeps 5 MiB.
pub(super) const EVENTS: (&str, i32) = ("events", 4);

/// The topic of the dead letters.
pub(super) const DEAD_LETTERS: &str = "demo.dead-letters";

/// Plugins that serve from the beginning.
const FROM_THE_BEGINNING: [&str; 3] = ["order", "shipment", "refund"];

/// The plugin that is dropped in later.
pub(super) const LATECOMER: &str = "audit";

const DESTINATIONS: [&str; 4] = ["orders", "shipping", "payments", "audit"];

/// Everything but the host's own run.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) broker: Broker,
    destinations: Vec<Destination>,
    folder: TempDir,
    built: PathBuf,
    pub(super) admin: String,
    pub(super) metrics: Arc<Metrics>,
    pub(super) overview: Arc<Overview>,
}

impl Stage {
    /// Sets it up with the plugins of this folder, and builds the host.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) async fn set_up(built: &Path) -> Result<(Stage, App), String> {
        for name in FROM_THE_BEGINNING.into_iter().chain([LATECOMER]) {
            let file = built.join(format!("{name}.wasm"));
            if !file.is_file() {
                return Err(format!("failed to find the plugin `{}` (`make guests` builds it)", file.display()));
            }
        }
        let broker = Broker::start(&[EVENTS, (DEAD_LETTERS, 1)])?;
        let mut destinations = Vec::with_capacity(DESTINATIONS.len());
        for name in DESTINATIONS {
            destinations.push(Destination::start(name).await?);
        }
        let folder = tempfile::Builder::new().prefix("keyway-demo-").tempdir().map_err(|error| format!("failed to make a folder: {error}"))?;
        let admin = free_address()?;
        let file = folder.path().join("keyway.toml");
        fs::write(&file, configuration(&broker, &destinations, &folder.path().join("plugins"), &admin))
            .map_err(|error| format!("failed to write `{}`: {error}", file.display()))?;
        let config = config::load(&file).map_err(|report| report.to_string())?;
        let app = App::build(config)?;
        let stage = Stage { broker, destinations, folder, built: built.to_owned(), admin, metrics: app.metrics(), overview: app.overview() };
        for name in FROM_THE_BEGINNING {
            stage.drop_in(name)?;
        }
        Ok((stage, app))
    }

    /// The folder with `keyway.toml` and `plugins/`.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The destination of this name.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn destination(&self, name: &str) -> Result<&Destination, String> {
        self.destinations.iter().find(|destination| destination.name == name).ok_or_else(|| format!("failed to find the destination `{name}`"))
    }

    /// Requests that the destinations have accepted, by their own count.
    pub(super) fn accepted(&self) -> u64 {
        self.destinations.iter().map(Destination::accepted).sum()
    }

    /// Copies a plugin with its cases into the watched directory.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn drop_in(&self, name: &str) -> Result<(), String> {
        let copied = (|| {
            let component = fs::read(self.built.join(format!("{name}.wasm")))?;
            let cases = self.built.join(format!("{name}.cases"));
            if cases.is_dir() {
                let to = self.plugins().join(format!("{name}.cases"));
                fs::create_dir_all(&to)?;
                for entry in fs::read_dir(cases)? {
                    let entry = entry?;
                    fs::copy(entry.path(), to.join(entry.file_name()))?;
                }
            }
            self.put(name, &component)
        })();
        copied.map_err(|error: std::io::Error| format!("failed to copy the plugin `{name}`: {error}"))
    }

    /// Puts the first half of a plugin's component in its place, as a copy that broke off would.
    ///
    /// # Errors
    /// In words for the operator.
    pub(super) fn break_off(&self, name: &str) -> Result<(), String> {
        let broken = fs::read(self.built.join(format!("{name}.wasm"))).and_then(|component| self.put(name, &component[..component.len() / 2]));
        broken.map_err(|error| format!("failed to break the plugin `{name}`: {error}"))
    }

    /// Puts a component into the directory, whole or not at all: written under another name, then renamed.
    fn put(&self, name: &str, component: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(self.plugins())?;
        let partial = self.plugins().join(format!(".{name}.partial"));
        fs::write(&partial, component)?;
        fs::rename(&partial, self.plugins().join(format!("{name}.wasm")))
    }

    fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }
}

fn configuration(broker: &Broker, destinations: &[Destination], plugins: &Path, admin: &str) -> String {
    let mut text = format!(
        r#"# The configuration of the demo.
[kafka]
brokers = "{}"
topics = ["{}"]
group = "demo"
dead_letters = "{DEAD_LETTERS}"

[plugins]
directory = "{}"

# What no plugin claims waits until one does.
[failures]
unrouted = "hold"

[admin]
listen = "{admin}"
"#,
        broker.address(),
        EVENTS.0,
        plugins.display()
    );
    for destination in destinations {
        // Writing into a string does not fail.
        let _ = write!(
            text,
            r#"
[destinations.{}]
url = "{}"
timeout = "2s"
retry = {{ attempts = 4, backoff = "50ms..500ms", within = "10s" }}
on_exhausted = "hold"
breaker = {{ open_for = "500ms" }}
"#,
            destination.name,
            destination.url()
        );
    }
    text
}

/// A port that was free a moment ago; the configuration has to name one.
fn free_address() -> Result<String, String> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.to_string()).map_err(|error| format!("failed to find a free port: {error}"))
}
