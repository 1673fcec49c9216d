//! Whose turn it is in the slow lane, and who may begin a call there.
//!
//! Pure: holds what is ready and who waits, and decides by the CPU time that each has had. Two levels: teams share the lane, and the plugins of a
//! team share what the team gets (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996, with CPU time in place of bytes). Who has
//! had least goes first, and who was away comes back at the level of the others, so that nobody saves up.
//!
//! Places for calls that have begun, each an instance with its memory, are shared by dynamic thresholds (Choudhury and Hahne, "Dynamic Queue
//! Length Thresholds", 1998): a plugin may hold no more than its team leaves free, and a team no more than all teams leave free. So a hog
//! takes many only while nobody else wants them, and there is always one left for a newcomer.

use std::collections::{BTreeMap, VecDeque};

/// Whose turn a call takes; handed out by the teams, one for each plugin and never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform) struct ShareId {
    pub(in crate::transform) team: usize,
    pub(in crate::transform) plugin: usize,
}

/// How many calls may have begun at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// Of one plugin.
    pub(super) plugin: usize,
    /// Of one team.
    pub(super) team: usize,
    /// Of all.
    pub(super) all: usize,
}

/// `R` is what is ready for a slice, `W` who waits to begin.
///
/// Knows those only that are here, and those that have had more than where they would begin if they came back: whoever else comes begins there, known or
/// not. So what is searched is as large as what is going on, and not as all names that there ever were.
#[derive(Debug)]
pub(super) struct Shares<R, W> {
    places: Places,
    begun: usize,
    teams: BTreeMap<usize, Team<R, W>>,
    /// The time that the team of the last slice had had: where a team begins that comes back.
    floor: u64,
}

#[derive(Debug)]
struct Team<R, W> {
    plugins: BTreeMap<usize, Plugin<R, W>>,
    /// CPU time that its plugins have had here, in nanoseconds, or what they missed by being away.
    used: u64,
    floor: u64,
    /// What is ready, over all its plugins.
    ready: usize,
    begun: usize,
}

#[derive(Debug)]
struct Plugin<R, W> {
    ready: VecDeque<R>,
    /// Bounded by the records in progress in the host.
    waiting: VecDeque<W>,
    used: u64,
    begun: usize,
}

impl<R, W> Plugin<R, W> {
    fn is_here(&self) -> bool {
        self.begun > 0 || !self.ready.is_empty() || !self.waiting.is_empty()
    }
}

impl<R, W> Shares<R, W> {
    pub(super) fn new(places: Places) -> Shares<R, W> {
        Shares { places, begun: 0, teams: BTreeMap::new(), floor: 0 }
    }

    fn team(&mut self, id: ShareId) -> &mut Team<R, W> {
        let used = self.floor;
        self.teams.entry(id.team).or_insert_with(|| Team { plugins: BTreeMap::new(), used, floor: 0, ready: 0, begun: 0 })
    }

    /// Forgets whoever is not here and would begin where it begins when it is forgotten. With a team go its plugins.
    fn forget(&mut self) {
        let floor = self.floor;
        self.teams.retain(|_, team| {
            let floor_of_team = team.floor;
            team.plugins.retain(|_, plugin| plugin.is_here() || plugin.used > floor_of_team);
            team.used > floor || team.plugins.values().any(Plugin::is_here)
        });
    }

    /// Something is ready for a slice.
    pub(super) fn push(&mut self, id: ShareId, ready: R) {
        let floor = self.floor;
        let team = self.team(id);
        if team.ready == 0 {
            team.used = team.used.max(floor);
        }
        team.ready += 1;
        let floor = team.floor;
        let plugin = team.plugin(id);
        if plugin.ready.is_empty() {
            plugin.used = plugin.used.max(floor);
        }
        plugin.ready.push_back(ready);
    }

    /// What gets the next slice: of the team that has had least, the plugin that has had least, and of its calls the one that has waited longest.
    pub(super) fn pop(&mut self) -> Option<R> {
        let team = self.teams.values_mut().filter(|team| team.ready > 0).min_by_key(|team| team.used)?;
        self.floor = team.used;
        let plugin = team.plugins.values_mut().filter(|plugin| !plugin.ready.is_empty()).min_by_key(|plugin| plugin.used)?;
        team.floor = plugin.used;
        team.ready -= 1;
        plugin.ready.pop_front()
    }

    /// A slice took so many nanoseconds.
    pub(super) fn charge(&mut self, id: ShareId, slice: u64) {
        let team = self.team(id);
        team.used = team.used.saturating_add(slice);
        let plugin = team.plugin(id);
        plugin.used = plugin.used.saturating_add(slice);
    }

    /// Somebody waits to begin; in front of its plugin's others where an instance waits with it.
    pub(super) fn wait(&mut self, id: ShareId, who: W, first: bool) {
        let waiting = &mut self.team(id).plugin(id).waiting;
        if first { waiting.push_front(who) } else { waiting.push_back(who) }
    }

    /// Who may begin now, in the order of [`Shares::pop`]; each has a place from then on, which [`Shares::ended`] gives back.
    pub(super) fn begin(&mut self) -> Option<(ShareId, W)> {
        let Places { plugin: of_plugin, team: of_team, all } = self.places;
        let free = all.saturating_sub(self.begun);
        let candidates = self.teams.iter().filter_map(|(index, team)| {
            if team.begun >= of_team.min(free) {
                return None;
            }
            let free = of_team - team.begun;
            let may_begin = |plugin: &&Plugin<R, W>| !plugin.waiting.is_empty() && plugin.begun < of_plugin.min(free);
            let plugin = team.plugins.iter().filter(|(_, plugin)| may_begin(plugin)).min_by_key(|(_, plugin)| plugin.used)?.0;
            Some((team.used, ShareId { team: *index, plugin: *plugin }))
        });
        let (_, id) = candidates.min_by_key(|(used, _)| *used)?;
        let team = self.team(id);
        let plugin = team.plugin(id);
        let who = plugin.waiting.pop_front()?;
        plugin.begun += 1;
        team.begun += 1;
        self.begun += 1;
        Some((id, who))
    }

    /// A call that had begun is over.
    pub(super) fn ended(&mut self, id: ShareId) {
        self.begun -= 1;
        let team = self.team(id);
        team.begun -= 1;
        team.plugin(id).begun -= 1;
        self.forget();
    }

    /// All that is ready, for whoever ends the lane. Nobody waits any more.
    pub(super) fn drain(&mut self) -> Vec<R> {
        let plugins = self.teams.values_mut().flat_map(|team| {
            team.ready = 0;
            team.plugins.values_mut()
        });
        plugins
            .flat_map(|plugin| {
                plugin.waiting.clear();
                plugin.ready.drain(..)
            })
            .collect()
    }
}

impl<R, W> Team<R, W> {
    fn plugin(&mut self, id: ShareId) -> &mut Plugin<R, W> {
        let used = self.floor;
        self.plugins.entry(id.plugin).or_insert_with(|| Plugin { ready: VecDeque::new(), waiting: VecDeque::new(), used, begun: 0 })
    }
}

#[cfg(test)]
mod tests;
