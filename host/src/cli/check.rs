//! `keyway check`: the configuration and every plugin, all problems at once.

use std::sync::Arc;

use clap::Args;

use super::{ConfigFile, Exit, block_on, print, show_error, show_warning};
use crate::app::{self, Rehearsal};
use crate::deliver::Http;
use crate::observe::Metrics;
use crate::reload::{self, Setup};

/// Checks without starting anything.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

impl Check {
    pub(super) fn execute(self) -> Exit {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let metrics = Metrics::new();
        if let Err(error) = Http::new(&config.destinations, &metrics) {
            show_error(error, None);
            return Exit::Usage;
        }
        let (sandbox, setup) =
            match app::sandbox(config.plugins.cache.as_deref(), &metrics).and_then(|sandbox| Ok((Arc::new(sandbox), Setup::new(&config)?))) {
                Ok(built) => built,
                Err(error) => {
                    show_error(error, None);
                    return Exit::Failed;
                }
            };
        block_on(async {
            let once = reload::load_once(setup, Arc::clone(&sandbox), Rehearsal(sandbox)).await;
            let mut wrong = 0;
            for problem in &once.status.problems {
                wrong += 1;
                show_error(format!("`{}`: {}", problem.path.display(), problem.cause), problem.hint.as_deref());
            }
            for plugin in &once.status.plugins {
                let Some(version) = plugin.trouble() else { continue };
                wrong += 1;
                show_error(
                    format!("plugin `{}` is refused: {}", plugin.name, version.reason.as_deref().unwrap_or("for no known reason")),
                    version.hint.as_deref(),
                );
            }
            for plugin in &once.plugins {
                let keys: Vec<String> = plugin.keys.iter().map(|key| format!("`{key}`")).collect();
                print(format!("plugin `{}` {} serves {}", plugin.name, plugin.version, keys.join(", ")));
                let about = once.status.plugins.iter().find(|status| status.name == plugin.name.as_str());
                if let Some(remark) = about.and_then(|status| status.versions.first()?.remark.as_deref()) {
                    show_warning(format!("plugin `{}` {remark}", plugin.name));
                }
            }
            if wrong > 0 {
                return Exit::Wrong;
            }
            print(format!("the configuration and {} plugins are right", once.plugins.len()));
            Exit::Done
        })
    }
}
