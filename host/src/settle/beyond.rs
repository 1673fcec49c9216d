//! The settled-beyond map: what is settled past the watermark, small enough to travel in the commit.
//!
//! Records of other keys settle ahead of a slow or held one. What is settled goes into the metadata of the offset commit, so that a
//! restart, here or on another host, does not send it again. A broker takes 4096 bytes of it (`offset.metadata.max.bytes`).
//!
//! As long as that is enough, the map is exact: `kw1:` and base64 of zstd of the runs of settled offsets. A destination that is down for long among
//! others leaves a pattern that no code can put into so little: 100,000 records held among 300,000 carry 34 KiB of information. But what is held is
//! held by key. So where the runs do not fit, `kw2:` says of the newest offsets, where the work is, exactly which are settled, and of the older ones from where on which
//! *keys* are undecided ([`Fronts`]). That costs by the number of held keys, not of their records. Where even that tells less than the longest runs
//! do, as with keys that are all different, those are kept.
//!
//! Whatever is left out is sent again after a restart, which a destination recognises; nothing stalls. Parallel Consumer stops taking records at
//! three quarters of the limit instead, and a poison key then stalls its partition (parallel-consumer#647).

mod fronts;
mod numbers;

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

pub(super) use fronts::hash_of;
use fronts::{Fronts, Known};
use numbers::{put_number, take_number};

/// The broker's default for `offset.metadata.max.bytes`, which counts the whole string.
pub(super) const METADATA_MAX: usize = 4096;

/// With less room than this nothing is told.
const METADATA_MIN: usize = 64;

/// The form that is exact.
const RUNS: &str = "kw1:";

/// The form that tells of the older part by key.
const KEYED: &str = "kw2:";

/// What fits behind a prefix, before base64.
const fn packed_max(metadata_max: usize) -> usize {
    (metadata_max - RUNS.len()) / 4 * 3
}

/// Of this, what the newest runs may take in the second form: a third, some 500 to 1,000 runs, which is what is in progress at once in one partition
/// and what settled around it. The rest is for the keys.
const NEWEST: usize = 3;

/// Runs of which it is tried whether they fit exactly. A regular pattern of many packs well; the bound is one on the work of a commit.
const RUNS_MAX: usize = 32_768;

/// Runs that are worth a try where the shortest are left out. The shortest pair of numbers is two bytes, and zstd does not halve what was densely
/// packed, so that more would hardly ever fit.
const LONGEST_MAX: usize = 4096;

/// Bytes of a decoded map; far above what [`RUNS_MAX`] runs need, far below what would hurt. Metadata may be anyone's.
const DECODED_MAX: usize = 1 << 20;

/// What is settled beyond a watermark, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Beyond {
    /// By key, for the older part. The runs speak of what comes after.
    fronts: Option<Fronts>,
    /// First offset of a run, and one past its last; apart and in order.
    runs: VecDeque<(i64, i64)>,
}

/// A map as commit metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// Empty when there is nothing to say, or no room.
    pub(super) text: String,
    /// Whether it says exactly what is settled.
    pub(super) exact: bool,
    /// About how many settled offsets it does not tell of.
    pub(super) left_out: i64,
}

impl Beyond {
    /// Whether the record with this offset and this hash of its key is settled.
    pub(super) fn contains(&self, offset: i64, hash: u32) -> bool {
        let after = self.runs.partition_point(|&(start, _)| start <= offset);
        (after > 0 && offset < self.runs[after - 1].1) || self.fronts.as_ref().is_some_and(|fronts| fronts.contains(offset, hash))
    }

    /// How many offsets from `from` to `to` are not known to be settled. Where it tells by key, that is one a key, since each has at least one; of what
    /// lies between that and the runs it knows nothing, and counts nothing.
    pub(super) fn unsettled(&self, from: i64, to: i64) -> i64 {
        let (by_key, runs_from) = match &self.fronts {
            Some(fronts) => {
                let newest = self.runs.front().map_or(fronts.until(), |(start, _)| *start);
                (fronts.between(from, to), newest.clamp(from, to.max(from)))
            }
            None => (0, from),
        };
        let settled: i64 = self.runs.iter().map(|&(start, end)| (end.min(to) - start.max(runs_from)).max(0)).sum();
        by_key + (to - runs_from).max(0) - settled
    }

    /// Drops what is known of offsets below this one.
    pub(super) fn forget_below(&mut self, offset: i64) {
        while let Some((start, end)) = self.runs.front_mut()
            && *start < offset
        {
            if *end > offset {
                *start = offset;
            } else {
                self.runs.pop_front();
            }
        }
        self.fronts.take_if(|fronts| fronts.until() <= offset);
    }

    /// What is settled from the watermark `next` up to `high`, given what is undecided and the hash of its key, and what `restored` knows from
    /// `high` on. In at most `max` bytes.
    pub(super) fn encode(next: i64, high: i64, undecided: &BTreeMap<i64, u32>, restored: &Beyond, max: usize) -> Encoded {
        let runs = settled_runs(next, high, undecided, restored);
        let is_all_in_runs = restored.fronts.is_none();
        let settled = length(&runs);
        if is_all_in_runs && runs.is_empty() {
            return Encoded { text: String::new(), exact: true, left_out: 0 };
        }
        if max < METADATA_MIN {
            return Encoded { text: String::new(), exact: false, left_out: settled };
        }
        let max = packed_max(max);
        if is_all_in_runs
            && runs.len() <= RUNS_MAX
            && let packed = pack_runs(&runs, next)
            && packed.len() <= max
        {
            return Encoded { text: with_prefix(RUNS, &packed), exact: true, left_out: 0 };
        }
        let (mut text, mut told) = encode_keyed(next, high, undecided, restored, &runs, max);
        if is_all_in_runs
            && let (longest, more) = encode_longest(runs, next, max)
            && more > told
        {
            (text, told) = (longest, more);
        }
        Encoded { text, exact: false, left_out: (settled - told).max(0) }
    }

    /// Reads commit metadata that was written with the watermark `next`.
    ///
    /// # Errors
    /// What is wrong with it. It is then best ignored: at worst, records are sent again.
    pub(super) fn decode(text: &str, next: i64) -> Result<Beyond, String> {
        if text.is_empty() {
            return Ok(Beyond::default());
        }
        let unpack = |packed: &str| BASE64.decode(packed).map_err(|error| format!("not base64: {error}"));
        if let Some(packed) = text.strip_prefix(RUNS) {
            return Ok(Beyond { fronts: None, runs: unpack_runs(&unpack(packed)?, next)? });
        }
        let packed = unpack(text.strip_prefix(KEYED).ok_or("it is not of a form that this version writes, `kw1:…` or `kw2:…`")?)?;
        let mut rest = packed.as_slice();
        let newest = take_number(&mut rest).and_then(|length| rest.split_off(..usize::try_from(length).ok()?)).ok_or("cut off")?;
        let runs = if newest.is_empty() { VecDeque::new() } else { unpack_runs(newest, next)? };
        Ok(Beyond { fronts: Some(Fronts::decode(rest, next)?), runs })
    }
}

/// The runs of offsets that are settled, apart and in order.
fn settled_runs(next: i64, high: i64, undecided: &BTreeMap<i64, u32>, restored: &Beyond) -> Vec<(i64, i64)> {
    let mut runs = Vec::new();
    let mut from = next;
    for &offset in undecided.range(next..).map(|(offset, _)| offset) {
        if offset > from {
            runs.push((from, offset));
        }
        from = offset + 1;
    }
    if high > from {
        runs.push((from, high));
    }
    // What was restored begins at `high`, so that the two never overlap.
    for &(start, end) in &restored.runs {
        match runs.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => runs.push((start, end)),
        }
    }
    runs
}

/// The second form, and of how many offsets it tells that they are settled.
fn encode_keyed(next: i64, high: i64, undecided: &BTreeMap<i64, u32>, restored: &Beyond, runs: &[(i64, i64)], max: usize) -> (String, i64) {
    let old = restored.fronts.as_ref();
    // Below what was restored by key, no runs are known.
    let exact_from = runs.partition_point(|(start, _)| old.is_some_and(|old| *start < old.until()));
    let mut newest = &runs[exact_from..];
    newest = &newest[newest.len().saturating_sub(LONGEST_MAX)..];
    let mut packed = pack_runs(newest, next);
    while packed.len() > max / NEWEST {
        let keep = fitting(newest.len(), packed.len(), max / NEWEST);
        newest = &newest[newest.len() - keep..];
        packed = pack_runs(newest, next);
    }
    // What is undecided past `high` has not been seen, and no key is known of it.
    let until = old.map_or_else(|| newest.first().map_or(high, |(start, _)| high.min(*start)), Fronts::until);
    let mut bytes = Vec::with_capacity(max);
    put_number(&mut bytes, packed.len() as i64);
    bytes.extend_from_slice(&packed);
    let mut fronts = Fronts::of(undecided.range(next..until), until);
    if let Some(old) = old {
        fronts.keep(old, high);
    }
    let Known { until, share } = fronts.encode(next, max - bytes.len(), &mut bytes);
    let older: i64 = runs.iter().map(|&(start, end)| (end.min(until) - start).max(0)).sum();
    (with_prefix(KEYED, &bytes), (older as f64 * share) as i64 + length(newest))
}

/// The first form with the longest runs only, and how many offsets are in them.
fn encode_longest(mut runs: Vec<(i64, i64)>, next: i64, max: usize) -> (String, i64) {
    keep_longest(&mut runs, LONGEST_MAX);
    let mut packed = pack_runs(&runs, next);
    while packed.len() > max {
        let keep = fitting(runs.len(), packed.len(), max);
        keep_longest(&mut runs, keep);
        packed = pack_runs(&runs, next);
    }
    (with_prefix(RUNS, &packed), length(&runs))
}

/// How many of so many runs might fit: in proportion, and a little fewer so that the search ends soon.
fn fitting(runs: usize, packed: usize, max: usize) -> usize {
    let fitting = runs * max / packed;
    (fitting - fitting / 16).saturating_sub(1)
}

fn length(runs: &[(i64, i64)]) -> i64 {
    runs.iter().map(|(start, end)| end - start).sum()
}

/// Keeps this many of the longest runs, in their order.
fn keep_longest(runs: &mut Vec<(i64, i64)>, count: usize) {
    if runs.len() > count {
        runs.select_nth_unstable_by_key(count, |(start, end)| std::cmp::Reverse(end - start));
        runs.truncate(count);
        runs.sort_unstable();
    }
}

fn with_prefix(prefix: &str, packed: &[u8]) -> String {
    let mut text = String::from(prefix);
    BASE64.encode_string(packed, &mut text);
    text
}

/// zstd of pairs of numbers: the distance from the end of the run before (first, from the watermark), and the run's length. No runs are no bytes.
fn pack_runs(runs: &[(i64, i64)], next: i64) -> Vec<u8> {
    if runs.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(runs.len() * 4);
    let mut at = next;
    for &(start, end) in runs {
        put_number(&mut bytes, start - at);
        put_number(&mut bytes, end - start);
        at = end;
    }
    // Level 1: the numbers are short already, and this runs at every commit.
    zstd::bulk::compress(&bytes, 1).unwrap_or_default()
}

fn unpack_runs(packed: &[u8], next: i64) -> Result<VecDeque<(i64, i64)>, String> {
    let bytes = zstd::bulk::decompress(packed, DECODED_MAX).map_err(|error| format!("not zstd: {error}"))?;
    let mut numbers = bytes.as_slice();
    let mut runs = VecDeque::new();
    let mut at = next;
    while !numbers.is_empty() {
        let start = take_number(&mut numbers).and_then(|distance| at.checked_add(distance)).ok_or("a run begins out of range")?;
        let end = take_number(&mut numbers).and_then(|length| start.checked_add(length)).ok_or("a run ends out of range")?;
        if end == start || (start == at && at != next) {
            return Err("runs are not apart".into());
        }
        runs.push_back((start, end));
        at = end;
    }
    Ok(runs)
}

#[cfg(test)]
mod tests;
