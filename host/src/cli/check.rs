//! `keyway check`: the configuration, the destinations and every plugin, all problems at once.

use std::sync::Arc;

use clap::Args;

use super::{ConfigFile, Exit, block_on, print, show_error, show_report, show_warning};
use crate::app::{self, Rehearsal};
use crate::config::Examined;
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
        let examined = self.config.examine();
        let mut is_usable = examined.report.is_empty();
        if !is_usable {
            show_report(&examined.report);
        }
        if let Err(unusable) = Http::new(&examined.destinations, &Metrics::new()) {
            is_usable = false;
            unusable.causes.iter().for_each(|cause| show_error(cause, None));
        }
        let plugins = check_plugins(&examined);
        let remarks = examined.whole().map(|config| config.remarks()).unwrap_or_default();
        remarks.iter().for_each(show_warning);
        match plugins {
            // What is wrong with the configuration may be why plugins are refused, so it comes first.
            Ok(_) | Err(Exit::Wrong) if !is_usable => Exit::Usage,
            Ok(plugins) => {
                print(format!("the configuration and {plugins} plugins are right"));
                Exit::Done
            }
            Err(exit) => exit,
        }
    }
}

/// Says what serves and what is refused, of the plugins that the configuration leads to; how many serve, if nothing is wrong with any.
fn check_plugins(examined: &Examined) -> Result<usize, Exit> {
    let Some(plugins) = &examined.plugins else { return Ok(0) };
    let built =
        app::sandbox(plugins.cache.as_deref(), &Metrics::new()).and_then(|sandbox| Ok((Arc::new(sandbox), Setup::of(plugins, &examined.teams)?)));
    let (sandbox, setup) = built.map_err(|error| {
        show_error(error, None);
        Exit::Failed
    })?;
    let (mut serving, mut wrong) = (0, 0);
    let exit = block_on(async {
        let once = reload::load_once(setup, Arc::clone(&sandbox), Rehearsal(sandbox)).await;
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
        serving = once.plugins.len();
        Exit::Done
    });
    match exit {
        Exit::Done if wrong > 0 => Err(Exit::Wrong),
        Exit::Done => Ok(serving),
        exit => Err(exit),
    }
}
