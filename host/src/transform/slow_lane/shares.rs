//! Whose turn it is in the slow lane, and who may begin a call there.
//!
//! Pure: holds what is ready and who waits, and decides by the CPU time that each has had. Two levels: teams share the lane, and the plugins of a
//! team share what the team gets (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996, with CPU time in place of bytes). Who has
//! had least goes first, and who was away comes back at the level of the others, so that nobody saves up.
//!
//! Places for calls that have begun, each an instance with its memory, are shared by dynamic thresholds (Choudhury and Hahne, "Dynamic Queue
//! Length Thresholds", 1998): a plugin may hold no more than its team leaves free, and a team no more than all teams leave free. So a hog
//! takes many only while nobody else wants them, and there is always one left for a newcomer.

use std::collections::VecDeque;

/// Whose turn a call takes; handed out by the teams, one for each plugin.
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
#[derive(Debug)]
pub(super) struct Shares<R, W> {
    places: Places,
    begun: usize,
    teams: Vec<Team<R, W>>,
    /// The time that the team of the last slice had had: where a team begins that comes back.
    floor: u64,
}

#[derive(Debug)]
struct Team<R, W> {
    plugins: Vec<Plugin<R, W>>,
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

impl<R, W> Shares<R, W> {
    pub(super) fn new(places: Places) -> Shares<R, W> {
        Shares { places, begun: 0, teams: Vec::new(), floor: 0 }
    }

    fn team(&mut self, ShareId { team, plugin }: ShareId) -> &mut Team<R, W> {
        if self.teams.len() <= team {
            self.teams.resize_with(team + 1, || Team { plugins: Vec::new(), used: 0, floor: 0, ready: 0, begun: 0 });
        }
        let team = &mut self.teams[team];
        if team.plugins.len() <= plugin {
            team.plugins.resize_with(plugin + 1, || Plugin { ready: VecDeque::new(), waiting: VecDeque::new(), used: 0, begun: 0 });
        }
        team
    }

    /// Something is ready for a slice.
    pub(super) fn push(&mut self, id: ShareId, ready: R) {
        let floor = self.floor;
        let team = self.team(id);
        if team.ready == 0 {
            team.used = team.used.max(floor);
        }
        team.ready += 1;
        let plugin = &mut team.plugins[id.plugin];
        if plugin.ready.is_empty() {
            plugin.used = plugin.used.max(team.floor);
        }
        plugin.ready.push_back(ready);
    }

    /// What gets the next slice: of the team that has had least, the plugin that has had least, and of its calls the one that has waited longest.
    pub(super) fn pop(&mut self) -> Option<R> {
        let team = self.teams.iter_mut().filter(|team| team.ready > 0).min_by_key(|team| team.used)?;
        self.floor = team.used;
        let plugin = team.plugins.iter_mut().filter(|plugin| !plugin.ready.is_empty()).min_by_key(|plugin| plugin.used)?;
        team.floor = plugin.used;
        team.ready -= 1;
        plugin.ready.pop_front()
    }

    /// A slice took so many nanoseconds.
    pub(super) fn charge(&mut self, id: ShareId, slice: u64) {
        let team = self.team(id);
        team.used = team.used.saturating_add(slice);
        team.plugins[id.plugin].used = team.plugins[id.plugin].used.saturating_add(slice);
    }

    /// Somebody waits to begin; in front of its plugin's others where an instance waits with it.
    pub(super) fn wait(&mut self, id: ShareId, who: W, first: bool) {
        let waiting = &mut self.team(id).plugins[id.plugin].waiting;
        if first { waiting.push_front(who) } else { waiting.push_back(who) }
    }

    /// Who may begin now, in the order of [`Shares::pop`]; each has a place from then on, which [`Shares::ended`] gives back.
    pub(super) fn begin(&mut self) -> Option<(ShareId, W)> {
        let Places { plugin: of_plugin, team: of_team, all } = self.places;
        let free = all.saturating_sub(self.begun);
        let candidates = self.teams.iter().enumerate().filter_map(|(index, team)| {
            if team.begun >= of_team.min(free) {
                return None;
            }
            let free = of_team - team.begun;
            let may_begin = |plugin: &&Plugin<R, W>| !plugin.waiting.is_empty() && plugin.begun < of_plugin.min(free);
            let plugin = team.plugins.iter().enumerate().filter(|(_, plugin)| may_begin(plugin)).min_by_key(|(_, plugin)| plugin.used)?.0;
            Some((team.used, ShareId { team: index, plugin }))
        });
        let (_, id) = candidates.min_by_key(|(used, _)| *used)?;
        let team = self.team(id);
        let who = team.plugins[id.plugin].waiting.pop_front()?;
        team.begun += 1;
        team.plugins[id.plugin].begun += 1;
        self.begun += 1;
        Some((id, who))
    }

    /// A call that had begun is over.
    pub(super) fn ended(&mut self, id: ShareId) {
        self.begun -= 1;
        let team = self.team(id);
        team.begun -= 1;
        team.plugins[id.plugin].begun -= 1;
    }

    /// All that is ready, for whoever ends the lane. Nobody waits any more.
    pub(super) fn drain(&mut self) -> Vec<R> {
        let plugins = self.teams.iter_mut().flat_map(|team| {
            team.ready = 0;
            team.plugins.iter_mut()
        });
        plugins
            .flat_map(|plugin| {
                plugin.waiting.clear();
                plugin.ready.drain(..)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
