//! Handles by name, found without a lock and without an allocation.
//!
//! The names are few and known soon: plugins, destinations, partitions. So a reader takes the map as it is, and whoever meets a new name makes a
//! new map. Names are bounded in number: what comes beyond is counted under one name of its own, so that no mistake elsewhere can
//! make the metrics grow without end.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Most names of one kind; twice the thousand plugins that a host is made for.
const NAMES_MAX: usize = 2_048;

/// Where the names beyond the bound are counted. No plugin or destination can be called so.
const OVERFLOW: &str = "(others)";

/// Handles by name.
#[derive(Debug)]
pub(super) struct Named<H> {
    map: ArcSwap<HashMap<Arc<str>, Arc<H>>>,
}

impl<H> Default for Named<H> {
    fn default() -> Named<H> {
        Named { map: ArcSwap::from_pointee(HashMap::new()) }
    }
}

impl<H: Default> Named<H> {
    /// Does something with the handles of this name, which are made if there are none.
    pub(super) fn with<R>(&self, name: &str, act: impl FnOnce(&H) -> R) -> R {
        let map = self.map.load();
        if let Some(handles) = map.get(name) {
            return act(handles);
        }
        let name = if map.len() < NAMES_MAX { name } else { OVERFLOW };
        drop(map);
        act(&insert(&self.map, name.into()))
    }

    /// The handles of this name, if there are any.
    pub(super) fn get(&self, name: &str) -> Option<Arc<H>> {
        self.map.load().get(name).map(Arc::clone)
    }

    /// All of them, by name.
    pub(super) fn sorted(&self) -> Vec<(Arc<str>, Arc<H>)> {
        let mut all: Vec<_> = self.map.load().iter().map(|(name, handles)| (Arc::clone(name), Arc::clone(handles))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// Handles by topic and partition. Partitions come and go with rebalances, and are as many as Kafka assigns.
#[derive(Debug)]
pub(super) struct Numbered<H> {
    map: ArcSwap<HashMap<(Arc<str>, i32), Arc<H>>>,
}

impl<H> Default for Numbered<H> {
    fn default() -> Numbered<H> {
        Numbered { map: ArcSwap::from_pointee(HashMap::new()) }
    }
}

impl<H: Default> Numbered<H> {
    /// Does something with the handles of this partition, which are made if there are none. Not for the path of a record.
    pub(super) fn with<R>(&self, topic: &str, partition: i32, act: impl FnOnce(&H) -> R) -> R {
        let key = (Arc::from(topic), partition);
        if let Some(handles) = self.map.load().get(&key) {
            return act(handles);
        }
        act(&insert(&self.map, key))
    }

    /// The handles of this partition, if there are any.
    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<Arc<H>> {
        self.map.load().get(&(Arc::from(topic), partition)).map(Arc::clone)
    }

    /// Forgets a partition.
    pub(super) fn remove(&self, topic: &str, partition: i32) {
        let key = (Arc::from(topic), partition);
        self.map.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.remove(&key);
            map
        });
    }

    /// All of them, by topic and partition.
    pub(super) fn sorted(&self) -> Vec<(Arc<str>, String, Arc<H>)> {
        let mut all: Vec<_> = self.map.load().iter().map(|(key, handles)| (key.clone(), Arc::clone(handles))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.into_iter().map(|((topic, partition), handles)| (topic, partition.to_string(), handles)).collect()
    }
}

/// Adds handles under this key, unless someone else was faster.
fn insert<K: Clone + Eq + Hash, H: Default>(map: &ArcSwap<HashMap<K, Arc<H>>>, key: K) -> Arc<H> {
    let new = Arc::new(H::default());
    let before = map.rcu(|map| {
        let mut map = HashMap::clone(map);
        map.entry(key.clone()).or_insert_with(|| Arc::clone(&new));
        map
    });
    before.get(&key).map_or(new, Arc::clone)
}
