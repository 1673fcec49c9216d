//! What each plugin's place holds, and what is to be done about it: pure, with the time handed in.
//!
//! A slot is a plugin's name with all that is known under it: the files as last seen, the version that serves, the version on trial, what was
//! decided on and when to look again. Files go through three steps: they *settle* (nothing writes to them any more), they are *examined* by the
//! gate, and then they are let in or not. Whatever happens to a newcomer, what serves goes on until something better passed.

mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate::{Known, Outcome, Passed, Work};
use super::read::Digest;
use super::scan::{Found, Look};
use super::status::{PluginStatus, State, VersionStatus, note};
use super::trial::{Finding, MARK_EVERY, Recent, TRIAL_TIME, judge};
use crate::outcome::one_line;
use crate::plugin::{Plugin, PluginName, Refusal, Version};
use crate::policy::Pattern;

/// Files must look the same for so long. Copying tools write a chunk at least this often; those that do not are caught by the file's structure.
pub(super) const STABLE: Duration = Duration::from_millis(60);
/// What the gate does ahead takes at most a fifth of the time of one plugin, however often its files are touched.
const REST: u32 = 4;
/// Files that keep being touched are examined after so long anyway.
const PATIENCE: Duration = Duration::from_secs(2);
/// A component that ends in the middle is looked at again after so long ...
const AGAIN: Duration = Duration::from_millis(250);
/// ... and is refused when it has not grown for so long.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Files that are missing for less are not gone: editors and copiers remove before they create.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// At the start, files that nobody touched for so long are taken at once.
const OLD: Duration = Duration::from_secs(2);
/// Versions of a plugin that stay quarantined. More than anyone tries in a bad hour; arbitrary.
const QUARANTINED: usize = 64;
/// Names whose files are gone that status still shows. Arbitrary.
const GONE_SHOWN: usize = 100;

/// All plugins.
#[derive(Debug)]
pub(super) struct Slots<C> {
    slots: BTreeMap<PluginName, Slot<C>>,
    /// Passed during the first pass, which is let in as a whole, in order of names: of two with one key, every host of a group lets in the same.
    first: Option<BTreeMap<PluginName, Passed<C>>>,
    /// What the first pass did not wait for, and is not decided on yet.
    late: BTreeSet<PluginName>,
    /// Versions that serve no more, kept until their last record is done so that they are taken apart here and not on a record's path.
    retired: Vec<Arc<Plugin<C>>>,
    changed: bool,
    marked: Option<Instant>,
}

#[derive(Debug)]
struct Slot<C> {
    file: PathBuf,
    found: Option<Found>,
    absent_since: Option<Instant>,
    /// Absent for longer than the grace, and taken out.
    gone: bool,
    step: Step,
    live: Option<Live<C>>,
    decided: Option<Decided>,
    /// Since when the files, as they are, end in the middle.
    incomplete_since: Option<Instant>,
    quarantine: Vec<Version>,
    versions: Vec<VersionStatus>,
    /// Since when the gate prepares the files that were seen last when it began; and until when it does not begin again.
    ahead: Option<Instant>,
    rest: Option<Instant>,
    /// Cancelled, and replaced, when the files change.
    moved: CancellationToken,
    /// What is on its way, for the status.
    loading: Option<VersionStatus>,
    /// Since when the files are to be examined again though they are the same: what they were refused for may be gone.
    again: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Idle,
    /// Waiting for files to settle: since they began to change, and since they last did.
    Settling {
        began: Instant,
        last: Instant,
    },
    /// The component ends in the middle; when to examine it again.
    Incomplete {
        next: Instant,
    },
    /// The gate has it, with the files as they were.
    Examined(Found),
}

#[derive(Debug)]
struct Live<C> {
    plugin: Arc<Plugin<C>>,
    digest: Digest,
    recent: Recent,
    trial: Option<Trial<C>>,
}

/// A version that must still show that it is no worse than the one before it.
#[derive(Debug)]
struct Trial<C> {
    since: Instant,
    /// The last version that was proven, and its digest.
    fallback: (Arc<Plugin<C>>, Digest),
    /// The fallback's calls and faults shortly before the swap.
    fallback_count: (u64, u64),
}

#[derive(Debug)]
struct Decided {
    found: Found,
    digest: Option<Digest>,
    /// Refused because another plugin has this key; worth another try when it is free.
    conflict: Option<Pattern>,
    refused: bool,
}

/// What a slot wants of the gate after a look.
enum Wish {
    Nothing,
    /// To prepare for what is seen, which has not settled.
    Ahead,
    Examination,
}

impl<C> Default for Slots<C> {
    fn default() -> Slots<C> {
        Slots { slots: BTreeMap::new(), first: Some(BTreeMap::new()), late: BTreeSet::new(), retired: Vec::new(), changed: false, marked: None }
    }
}

impl<C> Slot<C> {
    fn new(file: PathBuf) -> Slot<C> {
        Slot {
            file,
            found: None,
            absent_since: None,
            gone: false,
            step: Step::Idle,
            live: None,
            decided: None,
            incomplete_since: None,
            quarantine: Vec::new(),
            versions: Vec::new(),
            ahead: None,
            rest: None,
            moved: CancellationToken::new(),
            loading: None,
            again: None,
        }
    }

    /// What to do now that the files were seen.
    fn see(&mut self, found: Found, now: Instant, at_start: bool) -> Wish {
        let settled = self.settle(found, now, at_start);
        match self.step {
            _ if settled => Wish::Examination,
            // Seen for the first time. What it takes to compile them runs beside the time that it takes to believe them.
            Step::Settling { began, .. } if began == now && self.ahead.is_none() && self.rest.is_none_or(|rest| now >= rest) => Wish::Ahead,
            _ => Wish::Nothing,
        }
    }

    /// Whether the files are to be examined now.
    fn settle(&mut self, found: Found, now: Instant, at_start: bool) -> bool {
        self.file.clone_from(&found.file);
        (self.absent_since, self.gone) = (None, false);
        let before = self.found.replace(found.clone());
        if before.as_ref() != Some(&found) {
            self.incomplete_since = None;
            if !before.as_ref().is_some_and(|before| before.same_but_touched(&found)) {
                mem::take(&mut self.moved).cancel();
            }
        }
        let decided = self.decided.as_ref().is_some_and(|decided| decided.found == found);
        match self.step {
            Step::Examined(_) => false,
            _ if decided => {
                self.step = Step::Idle;
                self.again.is_some()
            }
            Step::Idle if at_start && found.is_old(OLD) => true,
            Step::Idle => {
                self.step = Step::Settling { began: now, last: now };
                false
            }
            Step::Settling { began, .. } if before.as_ref() != Some(&found) => {
                // Touched only: it is whole, as far as sizes tell, and may be touched for ever.
                let touched = before.is_some_and(|before| before.same_but_touched(&found));
                self.step = Step::Settling { began, last: now };
                touched && now >= began + PATIENCE
            }
            Step::Settling { last, .. } => now >= last + STABLE,
            Step::Incomplete { .. } if before.as_ref() != Some(&found) => {
                self.step = Step::Settling { began: now, last: now };
                false
            }
            Step::Incomplete { next } => now >= next,
        }
    }

    /// What was decided on of it before.
    fn known(&self) -> Known {
        let decided = self.decided.as_ref().filter(|_| self.again.is_none()).and_then(|decided| decided.digest);
        Known { decided, live: self.live.as_ref().map(|live| live.digest), quarantine: self.quarantine.clone() }
    }

    /// When its files are to be looked at, if something is to come of that.
    fn due(&self) -> Option<Instant> {
        match self.step {
            Step::Settling { last, .. } => Some(last + STABLE),
            Step::Incomplete { next } => Some(next),
            Step::Idle if self.found.is_some() => self.again,
            Step::Idle => self.absent_since.filter(|_| !self.gone).map(|since| since + GRACE),
            Step::Examined(_) => None,
        }
    }

    /// Keeps what status shows of the newcomer in step with what becomes of it.
    fn note_loading(&mut self, incomplete: Option<(Version, Refusal)>) {
        if self.step == Step::Idle {
            self.loading = None;
            return;
        }
        let loading = self.loading.get_or_insert_with(VersionStatus::loading);
        if let Some((version, why)) = incomplete {
            (loading.version, loading.reason, loading.hint) = (Some(version), Some(why.cause), why.hint);
        } else if self.incomplete_since.is_none() {
            (loading.version, loading.reason, loading.hint) = (None, None, None);
        }
    }

    fn refuse(&mut self, name: &PluginName, version: Option<&Version>, refusal: Refusal) {
        tracing::warn!(plugin = %name, version = version.map(|version| &*version.0), hint = refusal.hint, "plugin refused: {}", one_line(&refusal.cause));
        note(&mut self.versions, version, State::Refused, Some(refusal));
    }
}

impl<C> Slots<C> {
    /// Takes in a look, and says what the gate should examine.
    pub(super) fn look(&mut self, look: &Look, now: Instant) -> Vec<Work> {
        let at_start = self.first.is_some();
        let mut ready = Vec::new();
        for (name, found) in &look.plugins {
            let slot = self.slots.entry(name.clone()).or_insert_with(|| Slot::new(found.file.clone()));
            match slot.see(found.clone(), now, at_start) {
                Wish::Nothing => {}
                wish => ready.push((name.clone(), matches!(wish, Wish::Ahead))),
            }
        }
        let mut gone = Vec::new();
        for (name, slot) in &mut self.slots {
            if look.plugins.contains_key(name) || !look.saw(name) {
                continue;
            }
            let since = *slot.absent_since.get_or_insert(now);
            slot.found = None;
            if !matches!(slot.step, Step::Examined(_)) {
                slot.step = Step::Idle;
                // By a look, not by the clock: files may have come back since the last one.
                if now >= since + GRACE && !slot.gone {
                    gone.push(name.clone());
                }
            }
        }
        self.retire(&gone, now);
        if self.marked.is_none_or(|marked| now >= marked + MARK_EVERY) {
            self.marked = Some(now);
            for live in self.slots.values_mut().filter_map(|slot| slot.live.as_mut()) {
                live.recent.mark(live.plugin.tally.read());
            }
        }
        let work = ready.into_iter().filter_map(|(name, ahead)| if ahead { self.prepare(name, now) } else { self.start(name) }).collect();
        self.slots.values_mut().for_each(|slot| slot.note_loading(None));
        self.late.retain(|name| self.slots.get(name).is_some_and(|slot| slot.step != Step::Idle));
        work
    }

    /// Hands everything that was found to the gate, settled or not.
    pub(super) fn take_all(&mut self, look: &Look, now: Instant) -> Vec<Work> {
        let mut work = self.look(look, now);
        work.retain(|work| !work.ahead);
        let rest: Vec<PluginName> =
            self.slots.iter().filter(|(_, slot)| !matches!(slot.step, Step::Examined(_))).map(|(name, _)| name.clone()).collect();
        work.extend(rest.into_iter().filter_map(|name| self.start(name)));
        work
    }

    fn start(&mut self, name: PluginName) -> Option<Work> {
        let slot = self.slots.get_mut(&name)?;
        let found = slot.found.clone()?;
        slot.step = Step::Examined(found.clone());
        let (known, moved) = (slot.known(), slot.moved.clone());
        slot.again = None;
        Some(Work { ahead: false, name, found, known, moved })
    }

    fn prepare(&mut self, name: PluginName, now: Instant) -> Option<Work> {
        let slot = self.slots.get_mut(&name)?;
        let (found, known, moved) = (slot.found.clone()?, slot.known(), slot.moved.clone());
        slot.ahead = Some(now);
        Some(Work { ahead: true, name, found, known, moved })
    }

    /// The gate has prepared what it could.
    pub(super) fn prepared(&mut self, name: &PluginName, now: Instant) {
        if let Some(slot) = self.slots.get_mut(name)
            && let Some(since) = slot.ahead.take()
        {
            slot.rest = Some(now + (now - since) * REST);
        }
    }

    /// Takes in what the gate says.
    pub(super) fn examined(&mut self, name: &PluginName, outcome: Outcome<C>, now: Instant) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let Step::Examined(found) = mem::replace(&mut slot.step, Step::Idle) else { return };
        if slot.absent_since.is_some() {
            slot.note_loading(None);
            // Gone meanwhile. If the files come back they are examined again, and the compiled code is in the cache.
            return;
        }
        let decided = |digest, refused| Some(Decided { found: found.clone(), digest, conflict: None, refused });
        match outcome {
            Outcome::Same(digest) => {
                let serves = slot.live.as_ref().is_some_and(|live| live.digest == digest);
                if serves && slot.versions.first().is_some_and(|version| version.state != State::Live) {
                    // The files were put back to what serves: nothing is wrong any more.
                    let version = slot.live.as_ref().map(|live| live.plugin.version.clone());
                    note(&mut slot.versions, version.as_ref(), State::Live, None);
                }
                let conflict = slot.decided.take().and_then(|decided| decided.conflict).filter(|_| !serves);
                slot.decided = Some(Decided { found: found.clone(), digest: Some(digest), conflict, refused: !serves });
            }
            Outcome::Moved => slot.step = Step::Settling { began: now, last: now },
            Outcome::Incomplete(version, refusal) => {
                let since = *slot.incomplete_since.get_or_insert(now);
                if now >= since + GIVE_UP {
                    slot.refuse(name, Some(&version), refusal);
                    slot.decided = decided(None, true);
                } else {
                    slot.step = Step::Incomplete { next: now + AGAIN };
                    slot.note_loading(Some((version, refusal)));
                }
            }
            Outcome::Quarantined(version, digest) => {
                tracing::warn!(plugin = %name, %version, "plugin refused: this version was rolled back before");
                note(&mut slot.versions, Some(&version), State::Quarantined, Some(quarantined()));
                slot.decided = decided(Some(digest), true);
            }
            Outcome::Refused(version, digest, refusal) => {
                slot.refuse(name, version.as_ref(), refusal);
                slot.decided = decided(digest, true);
            }
            Outcome::Passed(passed) => {
                slot.decided = decided(Some(passed.digest), false);
                match &mut self.first {
                    Some(first) => drop(first.insert(name.clone(), *passed)),
                    None => self.admit(name, *passed, now),
                }
            }
        }
        // Files that changed while the gate was busy are next.
        if let Some(slot) = self.slots.get_mut(name)
            && slot.step == Step::Idle
            && slot.found.as_ref().is_some_and(|latest| *latest != found)
        {
            slot.step = Step::Settling { began: now, last: now };
        }
        if let Some(slot) = self.slots.get_mut(name) {
            slot.note_loading(None);
            if slot.step == Step::Idle {
                self.late.remove(name);
            }
        }
    }
}

/// Why a version in quarantine stays out.
fn quarantined() -> Refusal {
    Refusal {
        cause: "this version was rolled back before, because it faulted much more than the one before it".into(),
        hint: Some("deploy a mended version; a restart of the host lifts the quarantine".into()),
    }
}

#[cfg(test)]
mod tests;
