//! Who shares the sandbox: teams, and the plugins of each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::slow_lane::ShareId;
use crate::plugin::PluginName;

/// Calls that began beside Kafka and HTTP and wait for a place in the slow lane, of one team at once: further ones of that team begin in the slow lane. It
/// bounds what a team of plugins that are sometimes slow takes from the pool.
const PARKED_MAX: usize = 4;

/// Calls of one plugin that wait for a place in the slow lane. Enough to keep its threads busy until records that wait in their lanes have been called
/// back, and a small part of the 8,192 records that the host has in progress: further records of the plugin wait in their lanes.
const WAITING_MAX: usize = 64;

/// The same of all plugins of one team, so that a team with a hundred of them takes no more of the records in progress than a few plugins do. Shared as
/// places in the slow lane are: a plugin may have no more waiting than its team leaves free, and always one, so that those that never wait never notice.
const TEAM_WAITING_MAX: usize = 512;

/// The same of all teams, half of the records that the host has in progress. A team may have no more waiting than all leave free.
const ALL_WAITING_MAX: usize = 4_096;

/// One plugin, whatever its version: what it has used counts for the next one too.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) share: ShareId,
    name: Arc<str>,
    waiting: AtomicUsize,
    /// Whether a record was turned away since the last call back.
    turned_away: AtomicBool,
    team: Arc<Crowd>,
    relief: Arc<Relief>,
}

/// The calls of a team.
#[derive(Debug, Default)]
struct Crowd {
    parked: AtomicUsize,
    waiting: AtomicUsize,
    /// Plugins of which records were turned away.
    turned_away: Mutex<Vec<Arc<Member>>>,
}

impl Crowd {
    fn turned_away(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.turned_away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Whether a call of it may begin beside Kafka and HTTP.
    pub(super) fn may_park(&self) -> bool {
        self.team.parked.load(Ordering::Relaxed) < PARKED_MAX
    }

    /// Whether a further record had better not come. Says so when there is room again.
    pub(super) fn is_busy(self: &Arc<Self>) -> bool {
        let is_busy = self.room() == 0;
        if is_busy && !self.turned_away.swap(true, Ordering::AcqRel) {
            self.team.turned_away().push(Arc::clone(self));
        }
        is_busy
    }

    /// So many calls may come before it is busy.
    pub(super) fn room(&self) -> usize {
        self.share_of_waiting().saturating_sub(self.waiting.load(Ordering::Acquire))
    }

    /// How many of its calls may wait, as things are.
    fn share_of_waiting(&self) -> usize {
        let of_team = TEAM_WAITING_MAX.min(ALL_WAITING_MAX.saturating_sub(self.relief.waiting.load(Ordering::Acquire)));
        WAITING_MAX.min(of_team.saturating_sub(self.team.waiting.load(Ordering::Acquire))).max(1)
    }

    /// Counts a call that waits for a place for as long as the guard lives.
    pub(super) fn wait(self: &Arc<Self>) -> Waits {
        for count in [&self.waiting, &self.team.waiting, &self.relief.waiting] {
            count.fetch_add(1, Ordering::AcqRel);
        }
        Waits(Arc::clone(self))
    }

    /// Counts a parked call of the team for as long as the guard lives.
    pub(super) fn park(&self) -> Parked<'_> {
        self.team.parked.fetch_add(1, Ordering::Relaxed);
        Parked(self)
    }
}

pub(super) struct Parked<'a>(&'a Member);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.team.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct Waits(Arc<Member>);

impl Drop for Waits {
    fn drop(&mut self) {
        let Waits(member) = self;
        for count in [&member.waiting, &member.team.waiting, &member.relief.waiting] {
            count.fetch_sub(1, Ordering::AcqRel);
        }
        // Whichever of the team's plugins has room now; which teams have, when another one leaves more, the loop asks now and then.
        member.team.turned_away().retain(|turned_away| {
            // Not for each one: records are called back in batches of half of what may wait.
            let is_relieved = turned_away.room() >= turned_away.share_of_waiting().div_ceil(2).max(1);
            if is_relieved {
                turned_away.turned_away.store(false, Ordering::Release);
                turned_away.relief.tell(Arc::clone(turned_away));
            }
            !is_relieved
        });
    }
}

/// Plugins that take records again. Each is in it at most once, since it has to turn a record away in between.
#[derive(Debug, Default)]
struct Relief {
    /// Calls that wait, of all teams.
    waiting: AtomicUsize,
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

/// Every team that has a plugin, and every name of one; there are as many as the operator made files.
#[derive(Debug, Default)]
pub(super) struct Teams {
    known: Mutex<Known>,
    relief: Arc<Relief>,
}

#[derive(Debug, Default)]
struct Known {
    teams: HashMap<String, Team>,
    /// Numbers that were given out, to teams and to plugins: none is given out twice, so that nobody is taken for another who had it before.
    numbers: usize,
}

impl Known {
    fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }
}

#[derive(Debug)]
struct Team {
    number: usize,
    crowd: Arc<Crowd>,
    /// Each lives as long as a version of it.
    members: HashMap<Arc<str>, Weak<Member>>,
}

impl Teams {
    /// The plugin of this name: the same for all its versions that there are at once.
    pub(super) fn member(&self, name: &PluginName) -> Arc<Member> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // A look at each name for each version that is loaded, which takes far longer.
        known.teams.retain(|_, team| {
            team.members.retain(|_, member| member.strong_count() > 0);
            !team.members.is_empty()
        });
        let (number, plugin) = (known.number(), known.number());
        let team = known.teams.entry(name.team().to_owned()).or_insert_with(|| Team { number, crowd: Arc::default(), members: HashMap::new() });
        if let Some(member) = team.members.get(name.as_str()).and_then(Weak::upgrade) {
            return member;
        }
        let member = Arc::new(Member {
            share: ShareId { team: team.number, plugin },
            name: name.shared(),
            waiting: AtomicUsize::new(0),
            turned_away: AtomicBool::new(false),
            team: Arc::clone(&team.crowd),
            relief: Arc::clone(&self.relief),
        });
        team.members.insert(name.shared(), Arc::downgrade(&member));
        member
    }

    /// The plugin of this name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Member>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.teams.values().find_map(|team| team.members.get(name)).and_then(Weak::upgrade)
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
    fn a_team_of_many_plugins_that_loop_leaves_room_for_every_other() {
        const PLUGINS: usize = 100;
        let teams = Teams::default();
        let fill = |team: &str| {
            let members: Vec<_> = (0..PLUGINS).map(|n| teams.member(&PluginName::new(team, &format!("loops{n}")))).collect();
            let mut waiting = Vec::new();
            // In turn, as records of many keys come.
            while let Some(member) = members.iter().max_by_key(|member| member.room()).filter(|member| member.room() > 0) {
                waiting.push(member.wait());
            }
            waiting
        };
        let first = fill("loops");
        assert!(first.len() > TEAM_WAITING_MAX / 2 && first.len() <= TEAM_WAITING_MAX, "{}", first.len());
        let beside = teams.member(&PluginName::new("loops", "beside"));
        assert!(beside.room() > 0, "its neighbours take all");
        let quiet = teams.member(&PluginName::new("quiet", "plugin"));
        assert_eq!(quiet.room(), WAITING_MAX);

        let others: Vec<_> = (0..20).map(|n| fill(&format!("loops{n}"))).collect();
        let all = first.len() + others.iter().map(Vec::len).sum::<usize>();
        assert!(all <= ALL_WAITING_MAX + 21 * PLUGINS, "{all}");
        assert!(quiet.room() > 0, "twenty teams take all");
    }

    #[test]
    fn a_plugin_that_its_neighbours_left_no_room_is_called_back_when_they_do() {
        let teams = Teams::default();
        let member = |name: &str| teams.member(&PluginName::new("team", name));
        // More than one plugin may have, as when all others of the team had gone meanwhile.
        let waiting: Vec<Waits> = (0..TEAM_WAITING_MAX).map(|_| member("loops").wait()).collect();
        let beside = member("beside");
        assert!(!beside.is_busy(), "one is always let in");
        let own = beside.wait();
        assert!(beside.is_busy());
        assert!(beside.is_busy(), "and told of once");
        drop(own);
        assert_eq!(teams.relieved().now_or_never(), Some(("team/beside".into(), 1)));
        assert_eq!(teams.relieved().now_or_never(), None);
        drop(waiting);
        assert_eq!(beside.room(), WAITING_MAX);
    }

    #[test]
    fn plugins_of_a_team_share_its_turn_whatever_their_version() {
        let teams = Teams::default();
        let member = |team, name| teams.member(&PluginName::new(team, name));
        let (first, beside, other) = (member("a", "x"), member("a", "y"), member("b", "x"));
        assert!(Arc::ptr_eq(&member("a", "x"), &first));
        assert!(first.share.team == beside.share.team && first.share.plugin != beside.share.plugin && first.share.team != other.share.team);
    }

    #[test]
    fn a_name_goes_with_its_last_version_and_its_number_never_comes_back() {
        let teams = Teams::default();
        let member = |team: &str, name: &str| teams.member(&PluginName::new(team, name));
        let stays = member("a", "stays");
        let shares: Vec<ShareId> = (0..1_000).map(|n| member(&format!("team{}", n % 10), &format!("plugin{n}")).share).collect();
        assert!(teams.find("team1/plugin1").is_none());
        let again = member("team1", "plugin1");
        assert!(!shares.contains(&again.share) && shares.iter().all(|share| share.team != again.share.team));
        let known = teams.known.lock().unwrap();
        let members = known.teams.values().map(|team| team.members.len()).sum::<usize>();
        assert_eq!((known.teams.len(), members), (2, 2));
        drop(known);
        assert!(Arc::ptr_eq(&teams.find("a/stays").unwrap(), &stays));
    }
}
