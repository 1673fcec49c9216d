//! One plugin on the bench: loaded as a host would load it, for `keyway try` and `keyway test`.
//!
//! Needs no host's configuration. With one, the plugin has its team's grant and limits and the destinations' URLs are the real ones; without, it has the
//! default limits, may name every destination, and their URLs are placeholders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::{Exit, show_error, show_report};
use crate::app::{self, Rehearsal};
use crate::build::Project;
use crate::config::{self, Config};
use crate::observe::Metrics;
use crate::plugin::{DEFAULT_TEAM, Plugin, PluginName};
use crate::policy::{Grant, Limits};
use crate::reload::{self, Setup, TrustedKeys};
use crate::transform::{Component, Sandbox};

/// Which plugin, under which configuration.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// The plugin: its name (`order`, `payments/refund`) in the configuration's directory, the path of its `.wasm`, or the folder of
    /// its source, with what `keyway build` made there
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// The configuration with its team's grant and its destinations [default: keyway.toml if it is there]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A plugin, ready to be called.
pub(super) struct Loaded {
    pub(super) plugin: Arc<Plugin<Component>>,
    pub(super) sandbox: Arc<Sandbox>,
    /// Names and texts of its cases.
    pub(super) cases: Vec<(String, String)>,
    /// The configuration, if there is one.
    pub(super) config: Option<Config>,
}

/// The file that is read when none is named.
const CONFIG: &str = "keyway.toml";

impl Bench {
    /// Loads the plugin, its cases and its signature aside. What is wrong goes to standard error.
    pub(super) async fn load(self) -> Result<Loaded, Exit> {
        let config = self.config()?;
        let (directory, name) = find(&self.plugin, config.as_ref());
        let file = directory.join(format!("{name}.wasm"));
        if !file.exists() {
            show_error(format!("failed to find the plugin `{}`: there is no file `{}`", self.plugin, file.display()), Some(&instead(&self.plugin)));
            return Err(Exit::Wrong);
        }
        let teams = match &config {
            Some(config) => config.teams.clone(),
            None => BTreeMap::from([(Arc::from(name.team()), Arc::new(everything(name.team())))]),
        };
        // What is tried here is not let in anywhere, so nobody has to have signed it.
        let setup = Setup { directory, teams, trusted_keys: TrustedKeys::default() };
        let cache = config.as_ref().and_then(|config| config.plugins.cache.as_deref());
        let sandbox = match app::sandbox(cache, &Metrics::new()) {
            Ok(sandbox) => Arc::new(sandbox),
            Err(error) => {
                show_error(error, None);
                return Err(Exit::Failed);
            }
        };
        match reload::load_one(setup, &name, Arc::clone(&sandbox), Rehearsal(Arc::clone(&sandbox))).await {
            Ok(one) => Ok(Loaded { plugin: one.plugin, sandbox, cases: one.cases, config }),
            Err(refusal) => {
                show_error(format!("plugin `{name}` is refused: {}", refusal.cause), refusal.hint.as_deref());
                Err(Exit::Wrong)
            }
        }
    }

    fn config(&self) -> Result<Option<Config>, Exit> {
        let path = match &self.config {
            Some(path) => path,
            None if Path::new(CONFIG).exists() => Path::new(CONFIG),
            None => return Ok(None),
        };
        config::load(path).map(Some).map_err(|report| {
            show_report(&report);
            Exit::Usage
        })
    }
}

/// The directory to look into, and the plugin's name in it.
///
/// A path that lies in the configuration's directory is the plugin that it would be there, with its team; any other is of the team `default`.
fn place(plugin: &str, config: Option<&Config>) -> (PathBuf, PluginName) {
    let configured = config.map(|config| config.plugins.directory.as_path());
    let Some(stem) = plugin.strip_suffix(".wasm") else {
        let (team, name) = plugin.split_once('/').unwrap_or((DEFAULT_TEAM, plugin));
        return (configured.unwrap_or(Path::new("plugins")).to_owned(), PluginName::new(team, name));
    };
    let stem = Path::new(stem);
    let name = stem.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = stem.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inside = configured.and_then(|root| Some((root, folder.canonicalize().ok()?.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned())));
    match inside {
        Some((root, team)) if team.components().count() == 1 => (root.to_owned(), PluginName::new(&team.to_string_lossy(), &name)),
        _ => (folder.to_owned(), PluginName::new(DEFAULT_TEAM, &name)),
    }
}

/// The same, but a folder with a plugin's source stands for the component that was built there, unless a plugin has that name.
fn find(plugin: &str, config: Option<&Config>) -> (PathBuf, PluginName) {
    let (directory, name) = place(plugin, config);
    match component_of(Path::new(plugin)).filter(|component| component.exists()) {
        Some(component) if !directory.join(format!("{name}.wasm")).exists() => place(&component.to_string_lossy(), config),
        _ => (directory, name),
    }
}

/// The component of a folder that holds a plugin's source, whether it is built or not.
fn component_of(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(format!("{}.wasm", Project::open(folder).ok()?.name)))
}

/// What to do about a plugin that is not there. What was named may be the folder of its source, or its component, and that is still to be built.
fn instead(plugin: &str) -> String {
    let path = Path::new(plugin);
    let folder =
        if plugin.ends_with(".wasm") { path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")) } else { path };
    match component_of(folder) {
        Some(component) if component.exists() => format!("the component is `{}`", component.display()),
        Some(component) => format!("`keyway build {}` makes `{}`", folder.display(), component.display()),
        None => "name the path of its `.wasm` or the folder of its source, or the configuration with `--config`".to_owned(),
    }
}

fn everything(team: &str) -> Grant {
    Grant::everything(team, Limits::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[kafka]\nbrokers = \"b\"\ntopics = [\"t\"]\ngroup = \"g\"\ndead_letters = \"d\"\n[plugins]\ndirectory = \"plugins\"";

    #[test]
    fn a_plugin_is_found_by_name_and_by_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("plugins/payments")).unwrap();
        let config = config::parse(LEAST, &folder.path().join("keyway.toml")).unwrap();
        let root = folder.path().join("plugins");
        let path = |rest: &str| root.join(rest).to_string_lossy().into_owned();
        for (given, config, directory, name) in [
            ("order", None, PathBuf::from("plugins"), PluginName::new("default", "order")),
            ("payments/refund", Some(&config), root.clone(), PluginName::new("payments", "refund")),
            ("order.wasm", None, PathBuf::from("."), PluginName::new("default", "order")),
            ("build/order.wasm", Some(&config), PathBuf::from("build"), PluginName::new("default", "order")),
            (&path("order.wasm"), Some(&config), root.clone(), PluginName::new("default", "order")),
            (&path("payments/refund.wasm"), Some(&config), root.clone(), PluginName::new("payments", "refund")),
        ] {
            assert_eq!(place(given, config), (directory, name), "{given}");
        }
    }

    #[test]
    fn whoever_names_the_source_is_told_of_the_component() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("order");
        std::fs::create_dir_all(project.join("src")).unwrap();
        std::fs::write(project.join("src/lib.rs"), "").unwrap();
        let (named, component) = (project.to_str().unwrap(), project.join("order.wasm"));
        let component = component.to_str().unwrap();
        assert_eq!(instead(named), format!("`keyway build {named}` makes `{component}`"));
        assert_eq!(instead(component), format!("`keyway build {named}` makes `{component}`"));
        std::fs::write(component, "").unwrap();
        assert_eq!(instead(&format!("{named}/other.wasm")), format!("the component is `{component}`"));
        assert_eq!(find(named, None), (project.clone(), PluginName::new("default", "order")));
        assert!(instead("nope").starts_with("name the path"), "{}", instead("nope"));
    }
}
