//! The one pointer through which the path of a record reads the table.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{Conflict, Table};
use crate::plugin::Plugin;
use crate::policy::Pattern;

/// The plugins that serve, by key. Shared by whoever routes and whoever changes the routes.
///
/// A change is one store of a pointer. Who has taken a plugin out keeps it for as long as its record takes, so a record sees one version
/// from beginning to end, and a version is gone when its last record is.
pub struct Routes<C> {
    table: ArcSwap<Table<Arc<Plugin<C>>>>,
    changes: watch::Sender<u64>,
    incomplete: AtomicBool,
}

/// A plugin as the table and the records in progress hold it.
type Shared<C> = Arc<Plugin<C>>;

impl<C> Default for Routes<C> {
    fn default() -> Routes<C> {
        Routes { table: ArcSwap::from_pointee(Table::default()), changes: watch::Sender::new(0), incomplete: AtomicBool::new(false) }
    }
}

impl<C> fmt::Debug for Routes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("generation", &*self.changes.borrow()).finish_non_exhaustive()
    }
}

impl<C> Routes<C> {
    /// The plugin for a key (see [`Table::find`]), to keep for as long as the record is in progress. Neither locks nor allocates.
    ///
    /// While the routes are incomplete, `*` leads nowhere: it stands for the keys that no other plugin has, and which these are is not known yet.
    pub fn find(&self, key: Option<&str>) -> Option<Arc<Plugin<C>>> {
        let table = self.table.load();
        let found = table.find(key)?;
        if *found.pattern == Pattern::Any && self.is_incomplete() {
            return None;
        }
        Some(Arc::clone(found.entry))
    }

    /// From now on until [`Routes::complete`], more plugins are known to be on their way. Before the first lookup.
    pub fn begin_incomplete(&self) {
        self.incomplete.store(true, Ordering::Release);
    }

    /// All plugins that were on their way are there.
    pub fn complete(&self) {
        self.incomplete.store(false, Ordering::Release);
        self.changes.send_modify(|generation| *generation += 1);
    }

    /// Whether a key that no plugin has may be about to get one.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.load(Ordering::Acquire)
    }

    /// The whole table as it is now.
    pub fn table(&self) -> Arc<Table<Arc<Plugin<C>>>> {
        self.table.load_full()
    }

    /// From the next lookup on, exactly these plugins serve. Seniority is the order of the slice.
    ///
    /// Returns the plugins that serve nothing because an earlier one has one of their patterns. Whoever gates plugins keeps that from
    /// happening; the table must not depend on it.
    pub fn serve(&self, plugins: &[Arc<Plugin<C>>]) -> Vec<(Shared<C>, Conflict<Shared<C>>)> {
        let mut table = Table::default();
        let mut refused = Vec::new();
        for plugin in plugins {
            if let Err(conflict) = table.claim(&plugin.keys, plugin) {
                refused.push((Arc::clone(plugin), conflict));
            }
        }
        self.table.store(Arc::new(table));
        // Only after the store: who wakes by the change must find the new table.
        self.changes.send_modify(|generation| *generation += 1);
        refused
    }

    /// Tells of changes: the value is the number of them so far. Keys that are held for want of a plugin, or of a better version of it,
    /// are worth another try after one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{OnFault, PluginName, Tally, Version};
    use crate::policy::{Grant, Limits};

    fn plugin(name: &str, version: &str, keys: &[&str]) -> Arc<Plugin<()>> {
        let limits = Limits::default();
        let grant = Grant::everything("default", limits);
        Arc::new(Plugin {
            name: PluginName::new("default", name),
            version: Version(version.into()),
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
    fn a_record_keeps_the_version_that_it_began_with() {
        let routes = Routes::default();
        assert!(routes.find(Some("order:1")).is_none());
        let old = plugin("order", "1", &["order:*"]);
        assert!(routes.serve(std::slice::from_ref(&old)).is_empty());
        let taken = routes.find(Some("order:1")).unwrap();
        routes.serve(&[plugin("order", "2", &["order:*"])]);
        assert_eq!((&*taken.version.0, &*routes.find(Some("order:1")).unwrap().version.0), ("1", "2"));
        drop(old);
        assert_eq!(Arc::strong_count(&taken), 1, "nothing but the record in progress holds the old version");
    }

    #[test]
    fn while_plugins_are_on_their_way_nobody_has_what_is_left_over() {
        let routes = Routes::default();
        routes.begin_incomplete();
        routes.serve(&[plugin("order", "1", &["order:*"]), plugin("rest", "1", &["*"])]);
        let mut changes = routes.changes();
        let name = |key| routes.find(Some(key)).map(|plugin| plugin.name.to_string());
        assert_eq!((name("order:1").as_deref(), name("refund:1"), routes.find(None).is_some()), (Some("order"), None, false));
        routes.complete();
        assert!(changes.has_changed().unwrap(), "what was held meanwhile is worth another try");
        changes.mark_unchanged();
        assert_eq!((name("order:1").as_deref(), name("refund:1").as_deref()), (Some("order"), Some("rest")));
    }

    #[test]
    fn a_change_is_told_after_it_is_made() {
        let routes = Routes::default();
        let mut changes = routes.changes();
        assert!(!changes.has_changed().unwrap());
        routes.serve(&[plugin("order", "1", &["order:*"])]);
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), 1);
        assert!(routes.find(Some("order:1")).is_some());
    }

    #[test]
    fn of_two_with_one_pattern_the_first_serves() {
        let routes = Routes::default();
        let refused = routes.serve(&[plugin("a", "1", &["k"]), plugin("b", "1", &["k", "other"])]);
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].0.name.as_str(), refused[0].1.holder.name.as_str()), ("b", "a"));
        assert_eq!(routes.find(Some("k")).unwrap().name.as_str(), "a");
        assert!(routes.find(Some("other")).is_none());
    }
}
