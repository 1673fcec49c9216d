//! Who serves: letting in, taking back, taking out.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Decided, Finding, GONE_SHOWN, Live, Passed, Plugin, PluginName, PluginStatus, QUARANTINED, Recent, Refusal, Slot, Slots, State, Step, TRIAL_TIME,
    Trial, judge, note,
};
use crate::policy::Pattern;

impl<C> Slots<C> {
    /// Lets in what passed during the first pass, once all of it has been examined. To be called after a look that saw the directory: that it
    /// is not there (yet) does not mean that there are no plugins. When it has taken `too_long`, what has passed is let in without the rest, which
    /// stays *late* until it is decided on.
    pub(in super::super) fn finish_first(&mut self, now: Instant, too_long: bool) {
        if self.first.is_none() {
            return;
        }
        let waiting = self.slots.iter().filter(|(_, slot)| slot.step != Step::Idle).map(|(name, _)| name.clone());
        let waiting: BTreeSet<PluginName> = waiting.collect();
        if !waiting.is_empty() && !too_long {
            return;
        }
        self.late = waiting;
        if let Some(first) = self.first.take() {
            for (name, passed) in first {
                self.admit(&name, passed, now);
            }
            // Even of nothing: whoever waits for the routes to be there may go on.
            self.changed = true;
        }
    }

    /// Whether the first pass is over.
    pub(in super::super) fn is_ready(&self) -> bool {
        self.first.is_none()
    }

    /// The plugins that lay there at the start and are not decided on yet, after the first pass.
    pub(in super::super) fn late(&self) -> &BTreeSet<PluginName> {
        &self.late
    }

    /// From now on they are as any other newcomer.
    pub(in super::super) fn give_up_late(&mut self) {
        self.late.clear();
    }

    /// Lets a version serve, unless one of its keys is another plugin's.
    pub(super) fn admit(&mut self, name: &PluginName, passed: Passed<C>, now: Instant) {
        let claimed = passed.plugin.keys.iter().find_map(|key| Some((key, self.holder(key, name)?)));
        let conflict = claimed.as_ref().map(|(key, _)| (*key).clone());
        let refusal = claimed.map(|(key, holder)| Refusal {
            cause: format!("its key `{key}` is served by the plugin `{holder}` already"),
            hint: Some(format!("take the key out of one of them, or remove `{holder}`")),
        });
        let version = passed.plugin.version.clone();
        if refusal.is_none() {
            self.end_trials_over(&passed.plugin.keys, name);
        }
        let Some(slot) = self.slots.get_mut(name) else { return };
        if let Some(refusal) = refusal {
            slot.refuse(name, Some(&version), refusal);
            if let Some(decided) = &mut slot.decided {
                (decided.conflict, decided.refused) = (conflict, true);
            }
            self.retired.push(passed.plugin);
            return;
        }
        if let Some(live) = slot.live.as_mut().filter(|live| live.plugin.version == version) {
            // Only what is around it is other, its signature or its cases: the same code under the same settings goes on.
            live.digest = passed.digest;
            note(&mut slot.versions, Some(&version), State::Live, None);
            self.retired.push(passed.plugin);
            return;
        }
        let keys: Vec<String> = passed.plugin.keys.iter().map(Pattern::to_string).collect();
        tracing::info!(plugin = %name, %version, ?keys, about = passed.about, "plugin live");
        if let Some(remark) = &passed.remark {
            tracing::warn!(plugin = %name, %version, "plugin {remark}");
        }
        let mut live = Live { plugin: passed.plugin, digest: passed.digest, recent: Recent::default(), trial: None };
        let mut freed = Vec::new();
        if let Some(old) = slot.live.take() {
            freed.extend(old.plugin.keys.iter().filter(|key| !live.plugin.keys.contains(key)).cloned());
            let why = Refusal { cause: format!("replaced by {version}"), hint: None };
            note(&mut slot.versions, Some(&old.plugin.version), State::Retired, Some(why));
            live.trial = Some(self::trial(old, now, &mut self.retired));
            live.plugin.tally.set_on_trial(true);
        }
        note(&mut slot.versions, Some(&version), State::Live, None);
        if let Some(first) = slot.versions.first_mut() {
            (first.about, first.remark) = (passed.about, passed.remark);
        }
        slot.live = Some(live);
        self.routes_changed(&freed, now);
    }

    /// The other plugin that serves this key.
    fn holder(&self, key: &Pattern, besides: &PluginName) -> Option<PluginName> {
        let others = self.slots.iter().filter(|(name, _)| *name != besides);
        let mut holders = others.filter(|(_, slot)| slot.live.as_ref().is_some_and(|live| live.plugin.keys.contains(key)));
        holders.next().map(|(name, _)| name.clone())
    }

    /// A key that is handed on cannot be taken back: versions of other plugins that had one of these have nothing to fall back to any more.
    fn end_trials_over(&mut self, keys: &[Pattern], besides: &PluginName) {
        for (_, slot) in self.slots.iter_mut().filter(|(name, _)| *name != besides) {
            let Some(live) = &mut slot.live else { continue };
            if let Some(trial) = live.trial.take_if(|trial| keys.iter().any(|key| trial.fallback.0.keys.contains(key))) {
                live.plugin.tally.set_on_trial(false);
                self.retired.push(trial.fallback.0);
            }
        }
    }

    /// What serves is other than it was, and these keys are free now: whoever was refused for one of them may have it.
    fn routes_changed(&mut self, freed: &[Pattern], now: Instant) {
        self.changed = true;
        for slot in self.slots.values_mut() {
            let wanted = slot.decided.as_ref().and_then(|Decided { conflict, .. }| conflict.as_ref());
            if wanted.is_some_and(|wanted| freed.contains(wanted)) {
                slot.again = Some(now);
            }
        }
    }

    /// Takes back versions that fault much more than those before them, and ends trials that are over.
    pub(in super::super) fn judge(&mut self, now: Instant) {
        let mut freed = Vec::new();
        for (name, slot) in &mut self.slots {
            let Some(live) = &mut slot.live else { continue };
            let Some(trial) = live.trial.take() else { continue };
            let count = live.plugin.tally.read();
            match judge(count, trial.fallback_count, now.duration_since(trial.since)) {
                Finding::Open => live.trial = Some(trial),
                Finding::Passed => {
                    live.plugin.tally.set_on_trial(false);
                    self.retired.push(trial.fallback.0);
                }
                Finding::Failed => {
                    live.plugin.tally.set_on_trial(false);
                    let ((plugin, digest), version) = (trial.fallback, live.plugin.version.clone());
                    let (old, back) = (trial.fallback_count, plugin.version.clone());
                    let cause = format!(
                        "{} of its first {} records faulted, of the last {} of {back} it was {}; {back} serves again",
                        count.1, count.0, old.0, old.1
                    );
                    tracing::warn!(plugin = %name, %version, "plugin rolled back: {cause}");
                    let hint = Some("deploy a mended version; this one is not tried again".to_owned());
                    note(&mut slot.versions, Some(&back), State::Live, None);
                    note(&mut slot.versions, Some(&version), State::RolledBack, Some(Refusal { cause, hint }));
                    slot.quarantine.push(version);
                    if slot.quarantine.len() > QUARANTINED {
                        slot.quarantine.remove(0);
                    }
                    if let Some(decided) = &mut slot.decided {
                        decided.refused = true;
                    }
                    let bad = std::mem::replace(live, Live { plugin, digest, recent: Recent::default(), trial: None });
                    freed.extend(bad.plugin.keys.iter().cloned());
                    self.retired.push(bad.plugin);
                }
            }
        }
        if !freed.is_empty() {
            self.routes_changed(&freed, now);
        }
    }

    /// Takes out the plugins whose files have been gone for long enough.
    pub(super) fn retire(&mut self, names: &[PluginName], now: Instant) {
        let mut freed = Vec::new();
        for name in names {
            let Some(slot) = self.slots.get_mut(name) else { continue };
            slot.gone = true;
            slot.decided = None;
            if let Some(live) = slot.live.take() {
                tracing::info!(plugin = %name, version = %live.plugin.version, "plugin retired: its files are gone");
                let why = Refusal { cause: "its files are gone".into(), hint: None };
                note(&mut slot.versions, Some(&live.plugin.version), State::Retired, Some(why));
                self.retired.extend(live.trial.map(|trial| trial.fallback.0));
                freed.extend(live.plugin.keys.iter().cloned());
                self.retired.push(live.plugin);
            } else if let Some(last) = slot.versions.first().filter(|last| last.state == State::Refused) {
                let (version, why) = (last.version.clone(), Refusal { cause: "its files are gone".into(), hint: None });
                note(&mut slot.versions, version.as_ref(), State::Retired, Some(why));
            }
        }
        let gone = self.slots.iter().filter(|(_, slot)| slot.gone);
        let mut shown: Vec<_> = gone.map(|(name, slot)| (slot.absent_since, name.clone())).collect();
        shown.sort_unstable();
        for (_, name) in shown.iter().take(shown.len().saturating_sub(GONE_SHOWN)) {
            self.slots.remove(name);
        }
        if !freed.is_empty() {
            self.routes_changed(&freed, now);
        }
    }

    /// Has everything that was refused examined again, because a person says so.
    pub(in super::super) fn retry_refused(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            if slot.decided.as_ref().is_some_and(|decided| decided.refused) {
                slot.again = Some(now);
            }
        }
    }

    /// Drops the versions whose last record is done.
    pub(in super::super) fn reap(&mut self) {
        self.retired.retain(|plugin| Arc::strong_count(plugin) > 1);
    }

    /// The plugins that serve, if that changed since it was last asked.
    pub(in super::super) fn take_change(&mut self) -> Option<Vec<Arc<Plugin<C>>>> {
        // The first pass is let in as a whole.
        let told = self.is_ready() && std::mem::take(&mut self.changed);
        told.then(|| self.serving())
    }

    /// The plugins that serve, by name.
    pub(in super::super) fn serving(&self) -> Vec<Arc<Plugin<C>>> {
        self.slots.values().filter_map(|slot| Some(Arc::clone(&slot.live.as_ref()?.plugin))).collect()
    }

    /// When there is something to do even if nothing happens: a look, or a judgement.
    pub(in super::super) fn next_wake(&self) -> Option<Instant> {
        let trial = |slot: &Slot<C>| Some(slot.live.as_ref()?.trial.as_ref()?.since + TRIAL_TIME);
        self.slots.values().flat_map(|slot| [slot.due(), trial(slot)]).flatten().min()
    }

    /// The plugins whose files are to be looked at now, by what is known here.
    pub(in super::super) fn waiting(&self, now: Instant) -> BTreeSet<PluginName> {
        self.slots.iter().filter(|(_, slot)| slot.due().is_some_and(|due| due <= now)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether nothing is being looked at, loaded or waited for.
    pub(in super::super) fn is_settled(&self) -> bool {
        self.is_ready() && self.slots.values().all(|slot| slot.step == Step::Idle && slot.due().is_none())
    }

    /// How each plugin stands.
    pub(in super::super) fn status(&self) -> Vec<PluginStatus> {
        let of = |(name, slot): (&PluginName, &Slot<C>)| {
            let versions = slot.loading.iter().chain(&slot.versions).cloned().collect();
            let live = slot.live.as_ref().map(|live| &live.plugin);
            PluginStatus {
                name: name.as_str().to_owned(),
                team: name.team().to_owned(),
                file: slot.file.clone(),
                serving: live.map(|plugin| plugin.version.clone()),
                keys: live.map_or(Vec::new(), |plugin| plugin.keys.iter().map(Pattern::to_string).collect()),
                loading: slot.step != Step::Idle,
                versions,
            }
        };
        self.slots.iter().map(of).collect()
    }
}

/// The trial of whoever comes after `old`. What was on trial itself proves nothing: its own fallback goes on as the fallback.
fn trial<C>(old: Live<C>, now: Instant, retired: &mut Vec<Arc<Plugin<C>>>) -> Trial<C> {
    old.plugin.tally.set_on_trial(false);
    match old.trial {
        Some(unproven) => {
            retired.push(old.plugin);
            Trial { since: now, ..unproven }
        }
        None => Trial { since: now, fallback_count: old.recent.of(old.plugin.tally.read()), fallback: (old.plugin, old.digest) },
    }
}
