//! Any order of writes, removals, looks, verdicts of the gate and faults: what must hold after each step, and in the end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write(usize, u8),
    Remove(usize),
    Look,
    Examine(usize),
    Wait(u64),
    Fault(usize, u64),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..NAMES.len(), 1..40_u8).prop_map(|(name, content)| Step::Write(name, content)),
        1 => (0..NAMES.len()).prop_map(Step::Remove),
        6 => Just(Step::Look),
        6 => (0..NAMES.len()).prop_map(Step::Examine),
        4 => prop_oneof![Just(0), Just(70), Just(300), Just(5_100)].prop_map(Step::Wait),
        1 => (0..NAMES.len(), 1..8_u64).prop_map(|(name, faults)| Step::Fault(name, faults)),
    ]
}

/// The gate as a function of a file's content: what a version claims, or why it is none.
fn gate(name: &str, content: u8, known: &Known) -> Outcome<()> {
    let (version, digest) = (Version(content.to_string().into()), Digest::numbered(content));
    match content % 7 {
        _ if known.live == Some(digest) || known.decided == Some(digest) => Outcome::Same(digest),
        _ if known.quarantine.contains(&version) => Outcome::Quarantined(version, digest),
        0 => Outcome::Refused(Some(version), Some(digest), refusal()),
        1 => Outcome::Incomplete(version, refusal()),
        2 => passed(name, content, &["shared"]),
        3 => passed(name, content, &["shared", name]),
        _ => passed(name, content, &[name]),
    }
}

struct World {
    bench: Bench,
    files: BTreeMap<usize, (u64, u8)>,
    /// For the gate: the content as it was when the files were handed over.
    work: BTreeMap<usize, (u8, Known)>,
    /// What the gate prepares.
    ahead: BTreeSet<PluginName>,
    stamp: u64,
    /// Since which look the files are missing.
    gone_since: BTreeMap<usize, Instant>,
    published: Vec<String>,
}

impl World {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write(name, content) => {
                self.stamp += 1;
                self.files.insert(name, (self.stamp, content));
            }
            Step::Remove(name) => drop(self.files.remove(&name)),
            Step::Look => {
                self.note_gone();
                let files: Vec<(&str, u64)> = self.files.iter().map(|(name, (stamp, _))| (NAMES[*name], *stamp)).collect();
                for work in self.bench.slots.look(&look(&files), self.bench.now) {
                    if work.ahead {
                        assert!(self.ahead.insert(work.name), "one preparation of a plugin at a time");
                        continue;
                    }
                    let name = NAMES.iter().position(|name| *name == work.name.as_str()).unwrap();
                    assert!(self.work.insert(name, (self.files[&name].1, work.known)).is_none(), "one examination of a plugin at a time");
                }
            }
            Step::Examine(name) => {
                let plugin = PluginName::new("default", NAMES[name]);
                if self.ahead.remove(&plugin) {
                    self.bench.slots.prepared(&plugin, self.bench.now);
                }
                if let Some((content, known)) = self.work.remove(&name) {
                    self.bench.examined(NAMES[name], gate(NAMES[name], content, &known));
                }
            }
            Step::Wait(time) => drop(self.bench.after(Duration::from_millis(time))),
            Step::Fault(name, faults) => {
                let serving = self.bench.slots.serving();
                let plugin = serving.iter().find(|plugin| plugin.name.as_str() == NAMES[name]);
                plugin.iter().for_each(|plugin| (0..faults).for_each(|_| plugin.tally.observed(true)));
                self.bench.after(Duration::ZERO);
            }
        }
    }

    /// Only looks tell: files that came and went between two of them were never there.
    fn note_gone(&mut self) {
        for name in 0..NAMES.len() {
            if self.files.contains_key(&name) {
                self.gone_since.remove(&name);
            } else {
                self.gone_since.entry(name).or_insert(self.bench.now);
            }
        }
    }

    /// What is waited for comes of a look and is over then, or the watcher would look without end.
    fn check_look(&mut self) {
        let before = self.bench.slots.waiting(self.bench.now);
        self.take(&Step::Look);
        let after = self.bench.slots.waiting(self.bench.now);
        assert!(before.is_disjoint(&after), "{before:?} {after:?}");
    }

    fn check(&mut self, before: &[String]) {
        let serving = self.bench.slots.serving();
        let mut keys: Vec<String> = serving.iter().flat_map(|plugin| plugin.keys.iter().map(Pattern::to_string)).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all, "no key has two plugins");
        for name in before {
            let at = NAMES.iter().position(|known| known == name).unwrap();
            let long_gone = self.gone_since.get(&at).is_some_and(|since| self.bench.now >= *since + GRACE);
            assert!(
                long_gone || serving.iter().any(|plugin| plugin.name.as_str() == *name),
                "`{name}` served, its files were there within the grace, and it stopped"
            );
        }
        let (now, wake) = (self.bench.now, self.bench.slots.next_wake());
        let waiting = !self.bench.slots.waiting(now).is_empty();
        assert!(!waiting || wake.is_some_and(|wake| wake <= now), "what waits is woken for");
        if let Some(serving) = self.bench.slots.take_change() {
            self.published = names_and_versions(&serving);
        }
        assert_eq!(self.published, names_and_versions(&serving), "who serves is told");
    }

    fn names(&self) -> Vec<String> {
        self.bench.slots.serving().iter().map(|plugin| plugin.name.to_string()).collect()
    }
}

fn names_and_versions(serving: &[Arc<Plugin<()>>]) -> Vec<String> {
    serving.iter().map(|plugin| format!("{} {}", plugin.name, plugin.version)).collect()
}

proptest! {
    #[test]
    fn whatever_happens_what_serves_is_sound_and_in_the_end_right(steps in proptest::collection::vec(step(), 0..80)) {
        let bench = Bench::new();
        let mut world =
            World { bench, files: BTreeMap::new(), work: BTreeMap::new(), ahead: BTreeSet::new(), stamp: 0, gone_since: BTreeMap::new(), published: Vec::new() };
        let calm = [Step::Look, Step::Examine(0), Step::Examine(1), Step::Examine(2), Step::Examine(3), Step::Wait(300)];
        // Enough rounds for grace, for giving up, and for a key that is handed on thrice.
        let end = std::iter::repeat_n(&calm, 60).flatten();
        for step in steps.iter().chain(end) {
            let before = world.names();
            match step {
                Step::Look => world.check_look(),
                step => world.take(step),
            }
            world.check(&before);
        }
        prop_assert!(world.bench.slots.is_settled(), "{:?}", world.bench.slots);
        let serving = world.bench.slots.serving();
        for (name, (_, content)) in &world.files {
            let slot = &world.bench.slots.slots[&PluginName::new("default", NAMES[*name])];
            let serves = serving.iter().any(|plugin| plugin.name.as_str() == NAMES[*name] && *plugin.version.0 == content.to_string());
            let quarantined = slot.quarantine.iter().any(|version| *version.0 == content.to_string());
            let shared = serving.iter().any(|plugin| plugin.name.as_str() != NAMES[*name] && plugin.keys.contains(&"shared".parse().unwrap()));
            let may = content % 7 > 1 && !quarantined && !(content % 7 < 4 && shared);
            prop_assert_eq!(serves, may, "{} with {}: {:?}", NAMES[*name], content, slot);
        }
        let gone: Vec<_> = serving.iter().filter(|plugin| !world.files.keys().any(|name| NAMES[*name] == plugin.name.as_str())).collect();
        prop_assert!(gone.is_empty(), "{gone:?}");
    }
}
