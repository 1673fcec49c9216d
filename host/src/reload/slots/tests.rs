mod random;

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::plugin::{OnFault, Tally};
use crate::policy::{Grant, Limits};
use crate::reload::scan::{Blind, Input, Role, Stamp};

/// A look at files of which each is told by a number.
fn look(files: &[(&str, u64)]) -> Look {
    let found = |name: &str, state: u64| {
        let path = PathBuf::from(format!("/plugins/{name}.wasm"));
        let boundary = Arc::from(PathBuf::from("/plugins"));
        let input = Input { role: Role::Component, path: path.clone(), boundary, stamp: Stamp::numbered(state) };
        (PluginName::new("default", name), Found { file: path, inputs: Ok(vec![input]) })
    };
    Look { plugins: files.iter().map(|&(name, state)| found(name, state)).collect(), ..Look::default() }
}

fn passed(name: &str, version: u8, keys: &[&str]) -> Outcome<()> {
    let limits = Limits::default();
    let plugin = Plugin {
        name: PluginName::new("default", name),
        version: Version(version.to_string().into()),
        keys: keys.iter().map(|key| key.parse().unwrap()).collect(),
        on_fault: OnFault::DeadLetter,
        grant: Arc::new(Grant::everything("default", limits)),
        limits,
        sees_replies: false,
        tally: Tally::default(),
        code: (),
    };
    Outcome::Passed(Box::new(Passed { plugin: Arc::new(plugin), digest: Digest::numbered(version), about: None, remark: None }))
}

/// Slots after a first pass, with a clock that the test moves.
struct Bench {
    slots: Slots<()>,
    now: Instant,
}

impl Bench {
    fn new() -> Bench {
        let mut bench = Bench { slots: Slots::default(), now: Instant::now() };
        bench.look(&[]);
        bench.slots.finish_first(bench.now, false);
        bench.slots.take_change();
        bench
    }

    /// Looks, and says who is to be examined.
    fn look(&mut self, files: &[(&str, u64)]) -> Vec<String> {
        let work = self.slots.look(&look(files), self.now);
        work.iter().filter(|work| !work.ahead).map(|work| work.name.to_string()).collect()
    }

    fn after(&mut self, time: Duration) -> &mut Bench {
        self.now += time;
        self.slots.judge(self.now);
        self
    }

    fn examined(&mut self, name: &str, outcome: Outcome<()>) {
        self.slots.examined(&PluginName::new("default", name), outcome, self.now);
    }

    /// These files settle and this comes of the plugin.
    fn deploy(&mut self, files: &[(&str, u64)], name: &str, outcome: Outcome<()>) {
        self.look(files);
        assert_eq!(self.after(STABLE).look(files), [name]);
        self.examined(name, outcome);
    }

    fn serving(&self) -> Vec<String> {
        self.slots.serving().iter().map(|plugin| format!("{} {}", plugin.name, plugin.version)).collect()
    }

    fn state(&self, name: &str) -> State {
        let status = self.slots.status();
        status.iter().find(|plugin| plugin.name == name).unwrap().versions[0].state
    }

    fn observe(&self, faults: u64, good: u64) {
        let plugin = self.slots.serving().remove(0);
        (0..faults).for_each(|_| plugin.tally.observed(true));
        (0..good).for_each(|_| plugin.tally.observed(false));
    }
}

fn refusal() -> Refusal {
    Refusal { cause: "no".into(), hint: None }
}

#[test]
fn files_are_examined_once_when_they_have_settled() {
    let mut bench = Bench::new();
    assert!(bench.look(&[("a", 1)]).is_empty());
    assert!(bench.after(STABLE / 2).look(&[("a", 2)]).is_empty());
    assert!(bench.after(STABLE / 2).look(&[("a", 2)]).is_empty(), "it changed half of the time ago");
    assert_eq!(bench.after(STABLE / 2).look(&[("a", 2)]), ["a"]);
    assert!(bench.after(STABLE * 9).look(&[("a", 2)]).is_empty(), "the gate has it");
    bench.examined("a", passed("a", 1, &["a"]));
    assert!(bench.after(STABLE * 9).look(&[("a", 2)]).is_empty());
    assert_eq!(bench.serving(), ["a 1"]);
    assert!(bench.slots.take_change().is_some() && bench.slots.take_change().is_none());
}

#[test]
fn what_is_seen_for_the_first_time_is_prepared_and_not_too_often() {
    let mut bench = Bench::new();
    let prepared = |bench: &mut Bench, state: u64| {
        let work = bench.slots.look(&look(&[("a", state)]), bench.now);
        work.iter().filter(|work| work.ahead).count()
    };
    assert_eq!(prepared(&mut bench, 1), 1);
    bench.after(STABLE / 2);
    assert_eq!(prepared(&mut bench, 2), 0, "the gate has it, and they are changing");
    bench.after(STABLE);
    assert_eq!(bench.look(&[("a", 2)]), ["a"]);
    bench.slots.prepared(&PluginName::new("default", "a"), bench.now);
    bench.examined("a", passed("a", 1, &["a"]));
    assert_eq!(bench.serving(), ["a 1"]);
    // It took a time and a half, so it rests for six: a fifth of the time at most.
    bench.after(STABLE * 5);
    assert_eq!(prepared(&mut bench, 3), 0);
    bench.after(STABLE);
    bench.look(&[("a", 3)]);
    bench.examined("a", passed("a", 3, &["a"]));
    assert_eq!(prepared(&mut bench, 4), 1);
}

#[test]
fn what_the_first_pass_does_not_wait_for_is_late_until_it_is_decided_on() {
    let mut bench = Bench { slots: Slots::default(), now: Instant::now() };
    assert_eq!(bench.look(&[("a", 1), ("b", 1), ("c", 1)]), ["a", "b", "c"]);
    bench.examined("a", passed("a", 1, &["a"]));
    bench.slots.finish_first(bench.now, false);
    assert!(!bench.slots.is_ready());
    bench.slots.finish_first(bench.now, true);
    assert_eq!((bench.serving(), bench.slots.late().len()), (vec!["a 1".to_owned()], 2));
    bench.examined("b", passed("b", 2, &["b"]));
    assert_eq!((bench.serving(), bench.slots.late().len()), (vec!["a 1".to_owned(), "b 2".to_owned()], 1));
    bench.examined("c", Outcome::Refused(None, None, refusal()));
    assert!(bench.slots.late().is_empty());
    // Who changes later is a newcomer like any other.
    bench.look(&[("a", 2), ("b", 1), ("c", 2)]);
    assert!(bench.slots.late().is_empty());
}

#[test]
fn files_that_change_while_the_gate_is_busy_are_next() {
    let mut bench = Bench::new();
    bench.look(&[("a", 1)]);
    assert_eq!(bench.after(STABLE).look(&[("a", 1)]), ["a"]);
    bench.look(&[("a", 2)]);
    bench.examined("a", passed("a", 1, &["a"]));
    assert_eq!(bench.serving(), ["a 1"]);
    assert_eq!(bench.after(STABLE).look(&[("a", 2)]), ["a"]);
}

#[test]
fn files_that_are_touched_for_ever_are_examined_all_the_same() {
    let mut bench = Bench::new();
    let mut examined = Vec::new();
    for touch in 0..100 {
        // Another time, the same file of the same size.
        examined.extend(bench.after(PATIENCE / 50).look(&[("a", touch)]));
    }
    assert_eq!(examined, ["a"]);
}

#[test]
fn what_is_half_copied_at_the_start_is_waited_for_until_it_is_given_up() {
    for grows in [true, false] {
        let mut bench = Bench { slots: Slots::default(), now: Instant::now() };
        let incomplete = || Outcome::Incomplete(Version("0".into()), refusal());
        assert_eq!(bench.look(&[("a", 1)]), ["a"]);
        bench.examined("a", incomplete());
        bench.slots.finish_first(bench.now, false);
        assert!(!bench.slots.is_ready(), "its records would be given up as unrouted");
        if grows {
            bench.deploy(&[("a", 2)], "a", passed("a", 1, &["a"]));
        } else {
            assert_eq!(bench.after(GIVE_UP).look(&[("a", 1)]), ["a"]);
            bench.examined("a", incomplete());
        }
        bench.slots.finish_first(bench.now, false);
        assert!(bench.slots.is_ready());
        assert_eq!(bench.serving().len(), usize::from(grows));
    }
}

#[test]
fn a_file_that_ends_in_the_middle_is_refused_when_it_stops_growing() {
    let mut bench = Bench::new();
    let incomplete = || Outcome::Incomplete(Version("0".into()), refusal());
    bench.deploy(&[("a", 1)], "a", incomplete());
    let begin = bench.now;
    while bench.slots.next_wake().is_some_and(|wake| wake < begin + GIVE_UP) {
        assert!(bench.slots.status()[0].versions[0].state == State::Loading);
        assert_eq!(bench.after(AGAIN).look(&[("a", 1)]), ["a"]);
        bench.examined("a", incomplete());
    }
    assert_eq!(bench.after(AGAIN).look(&[("a", 1)]), ["a"]);
    bench.examined("a", incomplete());
    assert_eq!(bench.state("a"), State::Refused);
    // It goes on after all.
    bench.deploy(&[("a", 2)], "a", passed("a", 1, &["a"]));
    assert_eq!(bench.serving(), ["a 1"]);
}

#[test]
fn what_is_gone_is_retired_after_the_grace_and_what_comes_back_is_not() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["a"]));
    bench.look(&[]);
    bench.after(GRACE - STABLE).look(&[]);
    assert_eq!(bench.serving(), ["a 1"]);
    bench.look(&[("a", 1)]);
    bench.after(GRACE).look(&[]);
    assert_eq!(bench.serving(), ["a 1"], "it came back in between");
    assert_eq!(bench.slots.next_wake(), Some(bench.now + GRACE));
    bench.after(GRACE);
    assert_eq!((bench.serving().len(), bench.slots.waiting(bench.now).len()), (1, 1), "a look decides, not the clock");
    bench.look(&[]);
    assert_eq!((bench.serving().len(), bench.state("a")), (0, State::Retired));
    assert_eq!(bench.slots.next_wake(), None);
    assert!(bench.slots.is_settled());
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["a"]));
    assert_eq!(bench.serving(), ["a 1"]);
}

#[test]
fn what_a_look_could_not_see_is_not_gone() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["a"]));
    let blind = Look { blind: Blind { everywhere: true, ..Blind::default() }, ..Look::default() };
    bench.slots.look(&blind, bench.now);
    bench.after(GRACE * 2);
    bench.slots.look(&blind, bench.now);
    assert_eq!(bench.serving(), ["a 1"]);
}

#[test]
fn a_key_that_is_free_again_goes_to_who_was_refused_for_it() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["k", "x"]));
    bench.deploy(&[("a", 1), ("b", 1)], "b", passed("b", 2, &["k"]));
    assert_eq!((bench.serving(), bench.state("b")), (vec!["a 1".to_owned()], State::Refused));
    // A change of other keys is no reason to try again; the file gone is.
    bench.deploy(&[("a", 1), ("b", 1), ("c", 1)], "c", passed("c", 3, &["c"]));
    assert!(bench.slots.waiting(bench.now).is_empty());
    bench.look(&[("b", 1), ("c", 1)]);
    bench.after(GRACE).look(&[("b", 1), ("c", 1)]);
    assert_eq!(bench.slots.waiting(bench.now).len(), 1);
    assert_eq!(bench.look(&[("b", 1), ("c", 1)]), ["b"]);
    bench.examined("b", passed("b", 2, &["k"]));
    assert_eq!(bench.serving(), ["b 2", "c 3"]);
}

#[test]
fn a_bad_version_is_rolled_back_to_the_last_that_was_proven() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["a"]));
    bench.observe(0, 1_000);
    // The second replaces the first, and is replaced itself before it has proven anything.
    bench.deploy(&[("a", 2)], "a", passed("a", 2, &["a"]));
    bench.deploy(&[("a", 3)], "a", passed("a", 3, &["a"]));
    bench.observe(6, 0);
    bench.after(Duration::ZERO);
    assert_eq!((bench.serving(), bench.state("a")), (vec!["a 1".to_owned()], State::RolledBack));
    // What was rolled back is known to the gate from now on.
    bench.look(&[("a", 4)]);
    bench.now += STABLE;
    let work = bench.slots.look(&look(&[("a", 4)]), bench.now);
    assert_eq!(work[0].known.quarantine, [Version("3".into())]);
    bench.examined("a", Outcome::Quarantined(Version("3".into()), Digest::numbered(3)));
    assert_eq!((bench.serving(), bench.state("a")), (vec!["a 1".to_owned()], State::Quarantined));
}

#[test]
fn a_version_that_passed_its_trial_is_what_the_next_falls_back_to() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["a"]));
    bench.deploy(&[("a", 2)], "a", passed("a", 2, &["a"]));
    bench.observe(1, 49);
    bench.after(Duration::ZERO);
    bench.slots.reap();
    assert!(bench.slots.retired.is_empty(), "nothing keeps the first any more");
    bench.deploy(&[("a", 3)], "a", passed("a", 3, &["a"]));
    bench.observe(50, 0);
    bench.after(Duration::ZERO);
    assert_eq!(bench.serving(), ["a 2"]);
}

#[test]
fn a_version_does_not_come_back_once_its_key_was_handed_on() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["shared"]));
    bench.deploy(&[("a", 2)], "a", passed("a", 2, &["a"]));
    bench.deploy(&[("a", 2), ("b", 1)], "b", passed("b", 1, &["shared"]));
    bench.observe(100, 0);
    bench.after(Duration::ZERO);
    assert_eq!(bench.serving(), ["a 2", "b 1"]);
    bench.slots.reap();
    assert!(bench.slots.retired.is_empty(), "nothing keeps the first any more");
}

#[test]
fn a_first_version_has_nothing_to_fall_back_to() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["a"]));
    bench.observe(100, 0);
    bench.after(TRIAL_TIME);
    assert_eq!((bench.serving(), bench.state("a")), (vec!["a 1".to_owned()], State::Live));
}

#[test]
fn a_version_in_use_is_kept_until_its_last_record_is_done() {
    let mut bench = Bench::new();
    bench.deploy(&[("a", 1)], "a", passed("a", 1, &["a"]));
    let record = bench.slots.serving().remove(0);
    bench.look(&[]);
    bench.after(GRACE).look(&[]);
    bench.slots.reap();
    assert_eq!(bench.slots.retired.len(), 1);
    drop(record);
    bench.slots.reap();
    assert!(bench.slots.retired.is_empty());
}

#[test]
fn names_that_are_gone_are_not_shown_for_ever() {
    let mut bench = Bench::new();
    for round in 0..GONE_SHOWN + 20 {
        let name = format!("a{round}");
        bench.deploy(&[(&name, 1)], &name, passed(&name, 1, &["k"]));
        bench.look(&[]);
        bench.after(GRACE).look(&[]);
    }
    let status = bench.slots.status();
    assert_eq!((status.len(), status.iter().any(|plugin| plugin.name == "a19")), (GONE_SHOWN, false), "the first to go is the first forgotten");
}
