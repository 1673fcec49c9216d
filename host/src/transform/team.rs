//! Who shares the sandbox: teams, and the plugins of each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::slow_lane::ShareId;
use crate::plugin::PluginName;

/// Calls that began beside Kafka and HTTP and wait for a place in the slow lane, of one team at once: further ones of that team begin in the slow lane. It
/// bounds what a team of plugins that are sometimes slow takes from the pool.
const PARKED_MAX: usize = 4;

/// Calls of one plugin that wait for a place in the slow lane. Enough to keep its threads busy until records that wait in their lanes have been called
/// back, and a small part of the 8,192 records that the host has in progress: further records of the plugin wait in their lanes.
const WAITING_MAX: usize = 64;

/// One plugin, whatever its version: what it has used counts for the next one too.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) share: ShareId,
    name: Arc<str>,
    parked: Arc<AtomicUsize>,
    waiting: AtomicUsize,
    /// Whether a record was turned away since the last call back.
    turned_away: AtomicBool,
    relief: Arc<Relief>,
}

impl Member {
    /// Whether a call of it may begin beside Kafka and HTTP.
    pub(super) fn may_park(&self) -> bool {
        self.parked.load(Ordering::Relaxed) < PARKED_MAX
    }

    /// Whether a further record had better not come. Says so when there is room again.
    pub(super) fn is_busy(&self) -> bool {
        let is_busy = self.room() == 0;
        if is_busy {
            self.turned_away.store(true, Ordering::Release);
        }
        is_busy
    }

    /// So many calls may come before it is busy.
    pub(super) fn room(&self) -> usize {
        WAITING_MAX.saturating_sub(self.waiting.load(Ordering::Acquire))
    }

    /// Counts a call that waits for a place for as long as the guard lives.
    pub(super) fn wait(self: &Arc<Self>) -> Waits {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waits(Arc::clone(self))
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

pub(super) struct Waits(Arc<Member>);

impl Drop for Waits {
    fn drop(&mut self) {
        let Waits(member) = self;
        let left = member.waiting.fetch_sub(1, Ordering::AcqRel) - 1;
        // Not for each one: records are called back in batches of half of what may wait.
        if left <= WAITING_MAX / 2 && member.turned_away.swap(false, Ordering::AcqRel) {
            member.relief.tell(Arc::clone(member));
        }
    }
}

/// Plugins that take records again. Each is in it at most once, since it has to turn a record away in between.
#[derive(Debug, Default)]
struct Relief {
    relieved: Mutex<VecDeque<Arc<Member>>>,
    told: Notify,
}

impl Relief {
    fn tell(&self, member: Arc<Member>) {
        let mut relieved = self.relieved.lock().unwrap_or_else(PoisonError::into_inner);
        if !relieved.iter().any(|known| Arc::ptr_eq(known, &member)) {
            relieved.push_back(member);
        }
        drop(relieved);
        self.told.notify_one();
    }

    fn next(&self) -> Option<Arc<Member>> {
        self.relieved.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Every team that has had a plugin, and every name of one; there are as many as the operator made files.
#[derive(Debug, Default)]
pub(super) struct Teams {
    known: Mutex<HashMap<String, Team>>,
    relief: Arc<Relief>,
}

#[derive(Debug)]
struct Team {
    index: usize,
    parked: Arc<AtomicUsize>,
    members: HashMap<Arc<str>, Arc<Member>>,
}

impl Teams {
    pub(super) fn member(&self, name: &PluginName) -> Arc<Member> {
        let mut teams = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let index = teams.len();
        let team = teams.entry(name.team().to_owned()).or_insert_with(|| Team { index, parked: Arc::default(), members: HashMap::new() });
        if let Some(member) = team.members.get(name.as_str()) {
            return Arc::clone(member);
        }
        let share = ShareId { team: team.index, plugin: team.members.len() };
        let member = Arc::new(Member {
            share,
            name: name.shared(),
            parked: Arc::clone(&team.parked),
            waiting: AtomicUsize::new(0),
            turned_away: AtomicBool::new(false),
            relief: Arc::clone(&self.relief),
        });
        team.members.insert(name.shared(), Arc::clone(&member));
        member
    }

    /// The plugin of this name, if there is or was one.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Member>> {
        let teams = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        teams.values().find_map(|team| team.members.get(name)).map(Arc::clone)
    }

    /// The next plugin that takes records again after it was busy, and how many. Cancel-safe.
    pub(super) async fn relieved(&self) -> (Arc<str>, usize) {
        loop {
            if let Some(member) = self.relief.next() {
                return (Arc::clone(&member.name), member.room());
            }
            self.relief.told.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_turned_records_away_calls_them_back_when_half_are_gone() {
        let teams = Teams::default();
        let member = teams.member(&PluginName::new("team", "plugin"));
        let mut waiting: Vec<Waits> = (0..WAITING_MAX).map(|_| member.wait()).collect();
        waiting.pop();
        assert!(!member.is_busy());
        waiting.push(member.wait());
        assert!(member.is_busy());
        waiting.truncate(WAITING_MAX / 2 + 1);
        assert_eq!(teams.relieved().now_or_never(), None);
        waiting.truncate(WAITING_MAX / 2);
        assert_eq!(teams.relieved().now_or_never(), Some(("team/plugin".into(), WAITING_MAX / 2)));
        // Nobody was turned away since.
        drop(waiting);
        assert_eq!(teams.relieved().now_or_never(), None);
        assert_eq!(teams.find("team/plugin").map(|member| member.room()), Some(WAITING_MAX));
        assert!(teams.find("plugin").is_none());
    }

    #[test]
    fn plugins_of_a_team_share_its_turn_whatever_their_version() {
        let teams = Teams::default();
        let share = |team, name| teams.member(&PluginName::new(team, name)).share;
        let (first, beside, other) = (share("a", "x"), share("a", "y"), share("b", "x"));
        assert_eq!(share("a", "x"), first);
        assert!(first.team == beside.team && first.plugin != beside.plugin && first.team != other.team);
    }
}
