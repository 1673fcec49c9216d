//! Who shares the sandbox: teams, and the plugins of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::slow_lane::ShareId;
use crate::plugin::PluginName;

/// Calls that began beside Kafka and HTTP and wait for a place in the slow lane, of one team at once: further ones of that team begin in the slow lane. It
/// bounds what a team of plugins that are sometimes slow takes from the pool.
const PARKED_MAX: usize = 4;

/// One plugin, whatever its version: what it has used counts for the next one too.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) share: ShareId,
    parked: Arc<AtomicUsize>,
}

impl Member {
    /// Whether a call of it may begin beside Kafka and HTTP.
    pub(super) fn may_park(&self) -> bool {
        self.parked.load(Ordering::Relaxed) < PARKED_MAX
    }

    /// Counts a parked call of the team for as long as the guard lives.
    pub(super) fn park(&self) -> Parked<'_> {
        self.parked.fetch_add(1, Ordering::Relaxed);
        Parked(self)
    }
}

pub(super) struct Parked<'a>(&'a Member);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every team that has had a plugin, and every name of one; there are as many as the operator made files.
#[derive(Debug, Default)]
pub(super) struct Teams(Mutex<HashMap<String, Team>>);

#[derive(Debug)]
struct Team {
    index: usize,
    parked: Arc<AtomicUsize>,
    members: HashMap<String, Arc<Member>>,
}

impl Teams {
    pub(super) fn member(&self, name: &PluginName) -> Arc<Member> {
        let mut teams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = teams.len();
        let team = teams.entry(name.team().to_owned()).or_insert_with(|| Team { index, parked: Arc::default(), members: HashMap::new() });
        if let Some(member) = team.members.get(name.as_str()) {
            return Arc::clone(member);
        }
        let share = ShareId { team: team.index, plugin: team.members.len() };
        let member = Arc::new(Member { share, parked: Arc::clone(&team.parked) });
        team.members.insert(name.as_str().to_owned(), Arc::clone(&member));
        member
    }
}
