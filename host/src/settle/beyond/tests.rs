use proptest::prelude::*;

use super::*;

fn runs(next: i64, runs: &[(i64, i64)]) -> Beyond {
    assert!(runs.iter().all(|&(start, _)| start >= next));
    Beyond { fronts: None, runs: runs.iter().copied().collect() }
}

/// A map of which nothing was seen yet, as metadata.
fn write(beyond: &Beyond, next: i64) -> Encoded {
    Beyond::encode(next, next, &BTreeMap::new(), beyond, METADATA_MAX)
}

#[test]
fn nothing_beyond_is_the_empty_string() {
    assert_eq!(write(&Beyond::default(), 7), Encoded { text: String::new(), exact: true, left_out: 0 });
    assert_eq!(Beyond::decode("", 7), Ok(Beyond::default()));
}

#[test]
fn what_is_settled_is_the_complement_of_what_is_undecided() {
    let restored = runs(20, &[(20, 22), (30, 31)]);
    let written = Beyond::encode(10, 20, &BTreeMap::from([(10, 0), (11, 0), (15, 0)]), &restored, METADATA_MAX);
    assert!(written.exact);
    assert_eq!(Beyond::decode(&written.text, 10), Ok(runs(10, &[(12, 15), (16, 22), (30, 31)])));
}

#[test]
fn metadata_of_others_is_refused() {
    for text in ["someone else's", "kw3:AAAA", "kw1:%%%", "kw1:AAAA", "kw2:", "kw2:AAAA", "kw2:AP////8"] {
        assert!(Beyond::decode(text, 0).is_err(), "{text}");
    }
}

/// Settled runs of a length without a pattern, so that zstd cannot help.
fn scattered(count: usize) -> Vec<(i64, i64)> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut runs = Vec::new();
    let mut at = 1;
    for _ in 0..count {
        let end = at + random.i64(1..5_000);
        runs.push((at, end));
        at = end + random.i64(1..5_000);
    }
    runs
}

#[test]
fn where_no_key_is_known_the_longest_runs_are_kept() {
    let all = scattered(20_000);
    let beyond = runs(0, &all);
    let Encoded { text, exact, .. } = write(&beyond, 0);
    assert!(text.len() <= METADATA_MAX && !exact, "{}", text.len());
    let kept = Beyond::decode(&text, 0).unwrap();
    assert!(kept.runs.len() > 500, "{}", kept.runs.len());
    assert!(kept.runs.iter().all(|run| beyond.runs.binary_search(run).is_ok()));
    let shortest_kept = kept.runs.iter().map(|(start, end)| end - start).min().unwrap();
    let longer_left_out = all.iter().filter(|run| run.1 - run.0 > shortest_kept && kept.runs.binary_search(run).is_err()).count();
    assert_eq!(longer_left_out, 0);
}

/// Records of random keys in a partition, some of them undecided.
struct Log {
    keys: Vec<u32>,
    undecided: BTreeMap<i64, u32>,
}

impl Log {
    /// Every record of a held key is undecided, and of the last `busy` records every other one.
    fn new(records: usize, keys: usize, held: usize, busy: usize) -> Log {
        let mut random = fastrand::Rng::with_seed(2);
        let drawn: Vec<usize> = (0..records).map(|_| random.usize(..keys)).collect();
        let keys: Vec<u32> = drawn.iter().map(|key| hash_of(Some(format!("order:{key}").as_bytes()), 0)).collect();
        let is_undecided = |at: usize| drawn[at] < held || (at + busy >= records && at.is_multiple_of(2));
        let undecided = (0..records).filter(|&at| is_undecided(at)).map(|at| (at as i64, keys[at])).collect();
        Log { keys, undecided }
    }

    fn high(&self) -> i64 {
        self.keys.len() as i64
    }

    fn next(&self) -> i64 {
        *self.undecided.first_key_value().unwrap().0
    }

    fn encode(&self) -> Encoded {
        Beyond::encode(self.next(), self.high(), &self.undecided, &Beyond::default(), METADATA_MAX)
    }

    /// Of the settled records beyond the watermark, those that the map does not tell of. None that is undecided may be settled by it.
    fn forgotten(&self, map: &Beyond) -> Vec<i64> {
        let unsettled = |&offset: &i64| !map.contains(offset, self.keys[offset as usize]);
        let (undecided, settled): (Vec<i64>, Vec<i64>) = (self.next()..self.high()).partition(|offset| self.undecided.contains_key(offset));
        assert!(undecided.iter().all(unsettled), "an undecided record became settled");
        settled.into_iter().filter(unsettled).collect()
    }
}

#[test]
fn a_hundred_thousand_records_of_a_thousand_held_keys_are_told_by_key() {
    let log = Log::new(300_000, 3_000, 1_000, 500);
    let Encoded { text, exact, .. } = log.encode();
    assert!(text.starts_with(KEYED) && text.len() <= METADATA_MAX && !exact, "{}", text.len());
    let map = Beyond::decode(&text, log.next()).unwrap();
    assert_eq!(log.forgotten(&map), [] as [i64; 0]);
    // What comes after the map is unknown, whatever its key.
    assert!(log.keys.iter().all(|&key| !map.contains(log.high(), key)));
}

#[test]
fn with_more_held_keys_more_is_forgotten_and_nothing_undecided_is_settled() {
    let forgotten = |keys, held| {
        let log = Log::new(100_000, keys, held, 500);
        let Encoded { text, .. } = log.encode();
        assert!(text.len() <= METADATA_MAX, "{}", text.len());
        log.forgotten(&Beyond::decode(&text, log.next()).unwrap()).len() as f64 / (100_000 - log.undecided.len()) as f64
    };
    assert!(forgotten(6_000, 2_000) < 0.05);
    assert!(forgotten(9_000, 3_000) < 0.9);
    assert!(forgotten(60_000, 20_000) < 1.0);
}

#[test]
fn what_was_restored_by_key_stays_known_while_it_is_read_again() {
    let log = Log::new(60_000, 1_500, 500, 300);
    let next = log.next();
    let mut map = Beyond::decode(&log.encode().text, next).unwrap();
    // Hosts that each read some thousand records more and settle one held record of each key that they see, and crash.
    let mut settled = 0;
    let mut undecided = log.undecided.clone();
    for high in (5_000..60_000).step_by(5_000) {
        map.forget_below(high);
        let fronts: BTreeMap<u32, i64> = undecided.range(..high).rev().map(|(&offset, &key)| (key, offset)).collect();
        for front in fronts.into_values().filter(|&front| front != next).take(100) {
            undecided.remove(&front);
            settled += 1;
        }
        let seen: BTreeMap<i64, u32> = undecided.range(..high).map(|(&offset, &key)| (offset, key)).collect();
        let written = Beyond::encode(next, high, &seen, &map, METADATA_MAX);
        assert!(written.text.starts_with(KEYED) && written.text.len() <= METADATA_MAX);
        map = Beyond::decode(&written.text, next).unwrap();
        let log = Log { keys: log.keys.clone(), undecided: undecided.clone() };
        // A front is rounded down to a step, so it forgets some of what was settled just before it.
        let forgotten = log.forgotten(&map).len();
        assert!(forgotten < 300 + settled / 5, "{forgotten} of what was settled is forgotten, {settled} of it lately");
    }
}

#[test]
fn what_is_not_known_to_be_settled_is_counted() {
    let map = runs(10, &[(12, 15), (20, 30)]);
    assert_eq!(map.unsettled(10, 40), 5 + 2 + 10);
    assert_eq!(map.unsettled(13, 22), 5);
    assert_eq!(map.unsettled(22, 25), 0);
    assert_eq!(map.unsettled(40, 10), 0);
    assert_eq!(Beyond::default().unsettled(0, 7), 7);

    // By key: 1,000 held keys among 300,000 records, and 10,000 after them that nobody has seen.
    let log = Log::new(300_000, 3_000, 1_000, 500);
    let Encoded { text, left_out, .. } = log.encode();
    let counted = Beyond::decode(&text, log.next()).unwrap().unsettled(log.next(), log.high() + 10_000);
    // No more than there are, and no fewer than there are keys.
    assert!((10_000 + 900..=10_000 + log.undecided.len() as i64).contains(&counted), "{counted}");
    assert!(left_out < 1_000, "{left_out}");
}

#[test]
fn a_map_keeps_to_the_room_that_there_is_and_says_what_it_leaves_out() {
    let log = Log::new(30_000, 300, 100, 300);
    let settled = 30_000 - log.next() - log.undecided.len() as i64;
    let mut left_out_before = -1;
    for max in [METADATA_MAX, 1_000, 300, METADATA_MIN, METADATA_MIN - 1, 0] {
        let Encoded { text, exact, left_out } = Beyond::encode(log.next(), log.high(), &log.undecided, &Beyond::default(), max);
        assert!(text.len() <= max && !exact, "{} of {max}", text.len());
        let forgotten = log.forgotten(&Beyond::decode(&text, log.next()).unwrap()).len() as i64;
        assert!(forgotten.abs_diff(left_out) < settled.unsigned_abs() / 5, "{left_out} instead of {forgotten} of {settled} in {max}");
        assert!(left_out >= left_out_before, "{left_out} in {max}");
        left_out_before = left_out;
    }
    assert_eq!(left_out_before, settled);
}

proptest! {
    #[test]
    fn any_map_fits_into_any_room(records in 1_usize..3_000, keys in 1_usize..600, held in 0_usize..300, max in 0_usize..METADATA_MAX) {
        let log = Log::new(records, keys, held.min(keys).max(1), 0);
        if !log.undecided.is_empty() {
            let written = Beyond::encode(log.next(), log.high(), &log.undecided, &Beyond::default(), max);
            prop_assert!(written.text.len() <= max, "{} of {max}", written.text.len());
            log.forgotten(&Beyond::decode(&written.text, log.next()).unwrap());
        }
    }

    #[test]
    fn what_is_written_is_read(next in 0_i64..1 << 40, steps in prop::collection::vec((1_i64..1 << 20, 1_i64..1 << 20), 0..300)) {
        let mut at = next;
        let settled: Vec<_> = steps.iter().map(|(gap, length)| { let run = (at + gap, at + gap + length); at = run.1; run }).collect();
        let beyond = runs(next, &settled);
        prop_assert_eq!(Beyond::decode(&write(&beyond, next).text, next).unwrap(), beyond);
    }

    #[test]
    fn fronts_fit_where_they_are_told_to_and_settle_nothing(
        next in 0_i64..1 << 40,
        steps in prop::collection::vec((0_i64..1 << 12, any::<u32>()), 0..2_000),
        same in 0_u32..24,
        max in 64_usize..3_000,
    ) {
        let mut at = next - 1;
        let undecided: BTreeMap<i64, u32> = steps.iter().map(|(gap, hash)| { at += gap + 1; (at, hash << same) }).collect();
        let fronts = Fronts::of(undecided.iter(), at + 10);
        let mut bytes = Vec::new();
        let known = fronts.clone().encode(next, max, &mut bytes);
        prop_assert!(bytes.len() <= max, "{} bytes instead of {max}", bytes.len());
        let read = Fronts::decode(&bytes, next).unwrap();
        prop_assert_eq!(read.until(), known.until);
        prop_assert!(undecided.iter().all(|(&offset, &hash)| !read.contains(offset, hash)));
        for (offset, hash) in undecided.values().flat_map(|&hash| [next, next + 50, at].map(|offset| (offset, hash ^ 1))) {
            prop_assert!(fronts.contains(offset, hash) || !read.contains(offset, hash));
        }
    }

    #[test]
    fn any_metadata_is_read_or_refused(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200), next in any::<i64>()) {
        let _ = Beyond::decode(&text, next);
        let packed = zstd::bulk::compress(&bytes, 1).unwrap();
        let _ = Beyond::decode(&format!("{RUNS}{}", BASE64.encode(packed)), next);
        let _ = Beyond::decode(&format!("{KEYED}{}", BASE64.encode([&[0], bytes.as_slice()].concat())), next);
    }
}
