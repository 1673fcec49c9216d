//! `keyway route`: which plugin handles a key, by which pattern, and why.

use std::fmt::Write as _;
use std::sync::Arc;

use clap::Args;

use super::{ConfigFile, Exit, block_on, print, show_error};
use crate::app::{self, Rehearsal};
use crate::config::{RouteBy, Unrouted};
use crate::observe::Metrics;
use crate::plugin::Plugin;
use crate::policy::Pattern;
use crate::reload::{self, PluginStatus, Setup};
use crate::route::Table;

/// Say which plugin handles a key, by which pattern, and why; starts nothing.
#[derive(Debug, Args)]
pub struct Route {
    /// The key; with `[kafka] by`, the header's or the attribute's value
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    config: ConfigFile,
}

impl Route {
    pub(super) fn execute(self) -> Exit {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let built = app::sandbox(config.plugins.cache.as_deref(), &Metrics::new()).and_then(|sandbox| Ok((Arc::new(sandbox), Setup::new(&config)?)));
        let (sandbox, setup) = match built {
            Ok(built) => built,
            Err(error) => {
                show_error(error, None);
                return Exit::Failed;
            }
        };
        block_on(async move {
            let once = reload::load_once(setup, Arc::clone(&sandbox), Rehearsal(sandbox)).await;
            let looked_up = match &config.kafka.route_by {
                RouteBy::Key => format!("the key `{}`", self.key),
                RouteBy::Header(name) => format!("the value `{}` of the header `{name}`", self.key),
                RouteBy::CloudEvent(name) => format!("the value `{}` of the event's attribute `{name}`", self.key),
            };
            match explain(&self.key, &once.plugins) {
                Some(why) => {
                    print(format!("{looked_up} goes to {why}"));
                    Exit::Done
                }
                None => {
                    let then = match config.failures.unrouted {
                        Unrouted::DeadLetter => "its records become dead letters (`unrouted`)",
                        Unrouted::Skip => "its records are skipped",
                        Unrouted::Hold => "its records are held until one does",
                    };
                    print(format!("{looked_up} goes nowhere: no plugin claims it, and {then}{}", refused(&once.status.plugins)));
                    Exit::Wrong
                }
            }
        })
    }
}

/// The plugin, the pattern and the reason, in words; none when no pattern matches.
fn explain<C>(key: &str, plugins: &[Arc<Plugin<C>>]) -> Option<String> {
    let mut table = Table::default();
    for plugin in plugins {
        // Two with the same pattern are told of by `keyway check`; here the one that would serve counts.
        let _ = table.claim(&plugin.keys, plugin);
    }
    let found = table.find(Some(key))?;
    let mut text = format!("plugin `{}` {}\n", found.entry.name, found.entry.version);
    let _ = write!(text, "  by the pattern `{}`, ", found.pattern);
    let mut others: Vec<_> = table.iter().filter(|(pattern, _)| *pattern != found.pattern && pattern.matches(key)).collect();
    others.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.to_string().len()));
    text.push_str(match (found.pattern, others.is_empty()) {
        (_, true) => "the only one that matches",
        (Pattern::Exact(_), false) => "since an exact pattern comes before any other",
        (Pattern::Prefix(_), false) => "since the longest prefix comes first",
        (Pattern::Any, false) => "since it is the only one that matches",
    });
    for (pattern, plugin) in others {
        let _ = write!(text, "\n  also matched by `{pattern}` of plugin `{}`", plugin.name);
    }
    Some(text)
}

/// A plugin that is refused may be the one that was looked for.
fn refused(plugins: &[PluginStatus]) -> String {
    let names: Vec<String> = plugins.iter().filter(|plugin| plugin.trouble().is_some()).map(|plugin| format!("`{}`", plugin.name)).collect();
    if names.is_empty() { String::new() } else { format!("\n  refused and so not asked: {} (`keyway check` says why)", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{OnFault, PluginName, Tally, Version};
    use crate::policy::{Grant, Limits};

    fn plugin(name: &str, keys: &[&str]) -> Arc<Plugin<()>> {
        let limits = Limits::default();
        let grant = Grant::everything("default", limits);
        Arc::new(Plugin {
            name: PluginName::new("default", name),
            version: Version("1".into()),
            keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
            on_fault: OnFault::DeadLetter,
            grant: Arc::new(grant),
            limits,
            sees_replies: false,
            tally: Tally::default(),
            code: (),
        })
    }

    #[test]
    fn the_choice_is_explained() {
        let plugins = [plugin("all", &["*"]), plugin("order", &["order:*", "order:1"]), plugin("eu", &["order:eu:*"])];
        let explained = |key: &str| explain(key, &plugins).unwrap();
        insta::assert_snapshot!([explained("order:1"), explained("order:eu:1"), explained("x")].join("\n"), @r"
        plugin `order` 1
          by the pattern `order:1`, since an exact pattern comes before any other
          also matched by `order:*` of plugin `order`
          also matched by `*` of plugin `all`
        plugin `eu` 1
          by the pattern `order:eu:*`, since the longest prefix comes first
          also matched by `order:*` of plugin `order`
          also matched by `*` of plugin `all`
        plugin `all` 1
          by the pattern `*`, the only one that matches
        ");
        assert_eq!(explain("x", &plugins[1..]), None);
    }
}
