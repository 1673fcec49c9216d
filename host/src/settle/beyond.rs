//! The settled-beyond map: what is settled past the watermark, small enough to travel in the commit.
//!
//! Records of other keys settle ahead of a slow or held one. Their runs of offsets go into the metadata of the offset commit, so that a
//! restart, here or on another host, does not send them again.
//!
//! The form is `kw1:` and base64 of zstd of pairs of LEB128 numbers: the distance from the end of the run before (first, from the
//! watermark), and the run's length. A broker takes 4096 bytes (`offset.metadata.max.bytes`). When it gets longer, the shortest
//! runs are left out until it fits: they are sent again after a restart, which a destination recognises, and nothing stalls. Parallel Consumer
//! stops taking records at three quarters of the limit instead, and a poison key then stalls its partition (parallel-consumer#647).

use std::collections::{BTreeSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

/// The broker's default for `offset.metadata.max.bytes`, which counts the whole string.
const METADATA_MAX: usize = 4096;

/// Names the form and its version.
const PREFIX: &str = "kw1:";

/// Runs that are worth encoding at all. The shortest pair of numbers is two bytes, and zstd does not halve what was densely packed,
/// so that more would hardly ever fit; it also bounds the work of one commit.
const RUNS_MAX: usize = 4096;

/// Bytes of a decoded map; far above what [`RUNS_MAX`] runs need, far below what would hurt. Metadata may be anyone's.
const DECODED_MAX: usize = 1 << 20;

/// Runs of settled offsets, apart and in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Beyond {
    /// First offset of a run, and one past its last. It is made anew at each commit, which a tree would make costly, and taken from at its front.
    runs: VecDeque<(i64, i64)>,
}

impl Beyond {
    /// What is settled from the watermark `next` up to `high`, and what `restored` knows beyond that.
    pub(super) fn between(next: i64, high: i64, undecided: &BTreeSet<i64>, restored: &Beyond) -> Beyond {
        let mut runs = VecDeque::new();
        let mut from = next;
        for &offset in undecided.range(next..) {
            if offset > from {
                runs.push_back((from, offset));
            }
            from = offset + 1;
        }
        if high > from {
            runs.push_back((from, high));
        }
        // What was restored begins at `high`, so that the two never overlap.
        for &(start, end) in &restored.runs {
            match runs.back_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => runs.push_back((start, end)),
            }
        }
        Beyond { runs }
    }

    /// Whether this offset is settled.
    pub(super) fn contains(&self, offset: i64) -> bool {
        let after = self.runs.partition_point(|&(start, _)| start <= offset);
        after > 0 && offset < self.runs[after - 1].1
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
    }

    /// The map as commit metadata, at most [`METADATA_MAX`] bytes; empty when there is nothing to say.
    pub(super) fn encode(&self, next: i64) -> String {
        if self.runs.is_empty() {
            return String::new();
        }
        let mut runs: Vec<(i64, i64)> = self.runs.iter().copied().collect();
        keep_longest(&mut runs, RUNS_MAX);
        let mut text = encode_runs(&runs, next);
        while text.len() > METADATA_MAX {
            // In proportion to what fits, and a little more so that it ends soon.
            let fitting = runs.len() * METADATA_MAX / text.len();
            keep_longest(&mut runs, fitting - fitting / 16 - 1);
            text = encode_runs(&runs, next);
        }
        text
    }

    /// Reads commit metadata that was written with the watermark `next`.
    ///
    /// # Errors
    /// What is wrong with it. It is then best ignored: at worst, records are sent again.
    pub(super) fn decode(text: &str, next: i64) -> Result<Beyond, String> {
        if text.is_empty() {
            return Ok(Beyond::default());
        }
        let packed = text.strip_prefix(PREFIX).ok_or("it is not of the form `kw1:…` that this version writes")?;
        let packed = BASE64.decode(packed).map_err(|error| format!("not base64: {error}"))?;
        let bytes = zstd::bulk::decompress(&packed, DECODED_MAX).map_err(|error| format!("not zstd: {error}"))?;
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
        Ok(Beyond { runs })
    }
}

/// Keeps this many of the longest runs, in their order.
fn keep_longest(runs: &mut Vec<(i64, i64)>, count: usize) {
    if runs.len() > count {
        runs.sort_unstable_by_key(|(start, end)| std::cmp::Reverse(end - start));
        runs.truncate(count);
        runs.sort_unstable();
    }
}

fn encode_runs(runs: &[(i64, i64)], next: i64) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let mut bytes = Vec::with_capacity(runs.len() * 4);
    let mut at = next;
    for &(start, end) in runs {
        put_number(&mut bytes, start - at);
        put_number(&mut bytes, end - start);
        at = end;
    }
    // Level 1: the numbers are short already, and this runs at every commit.
    let packed = zstd::bulk::compress(&bytes, 1).unwrap_or_default();
    let mut text = String::from(PREFIX);
    BASE64.encode_string(packed, &mut text);
    text
}

/// Writes a number that is not negative as LEB128.
fn put_number(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = number.unsigned_abs();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// Reads a LEB128 number; none when it is cut off or larger than an offset can be.
fn take_number(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return i64::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settled(next: i64, runs: &[(i64, i64)]) -> Beyond {
        assert!(runs.iter().all(|&(start, _)| start >= next));
        Beyond { runs: runs.iter().copied().collect() }
    }

    #[test]
    fn nothing_beyond_is_the_empty_string() {
        assert_eq!(Beyond::default().encode(7), "");
        assert_eq!(Beyond::decode("", 7), Ok(Beyond::default()));
    }

    #[test]
    fn what_is_settled_is_the_complement_of_what_is_undecided() {
        let beyond = Beyond::between(10, 20, &BTreeSet::from([10, 11, 15]), &settled(20, &[(20, 22), (30, 31)]));
        assert_eq!(beyond, settled(10, &[(12, 15), (16, 22), (30, 31)]));
    }

    #[test]
    fn metadata_of_others_is_refused() {
        for text in ["someone else's", "kw2:AAAA", "kw1:%%%", "kw1:AAAA"] {
            assert!(Beyond::decode(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn a_map_that_does_not_fit_keeps_its_longest_runs() {
        // Lengths without a pattern, so that zstd cannot help.
        let mut random = fastrand::Rng::with_seed(1);
        let mut runs = Vec::new();
        let mut at = 1;
        for _ in 0..20_000 {
            let end = at + random.i64(1..5_000);
            runs.push((at, end));
            at = end + random.i64(1..5_000);
        }
        let beyond = settled(0, &runs);
        let text = beyond.encode(0);
        assert!(text.len() <= METADATA_MAX, "{}", text.len());
        let kept = Beyond::decode(&text, 0).unwrap();
        assert!(kept.runs.len() > 500, "{}", kept.runs.len());
        assert!(kept.runs.iter().all(|run| beyond.runs.binary_search(run).is_ok()));
        let shortest_kept = kept.runs.iter().map(|(start, end)| end - start).min().unwrap();
        let longer_left_out = runs.iter().filter(|run| run.1 - run.0 > shortest_kept && kept.runs.binary_search(run).is_err()).count();
        assert_eq!(longer_left_out, 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(next in 0_i64..1 << 40, steps in prop::collection::vec((1_i64..1 << 20, 1_i64..1 << 20), 0..300)) {
            let mut at = next;
            let runs: Vec<_> = steps.iter().map(|(gap, length)| { let run = (at + gap, at + gap + length); at = run.1; run }).collect();
            let beyond = settled(next, &runs);
            prop_assert_eq!(Beyond::decode(&beyond.encode(next), next).unwrap(), beyond);
        }

        #[test]
        fn any_metadata_is_read_or_refused(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200), next in any::<i64>()) {
            let _ = Beyond::decode(&text, next);
            let packed = zstd::bulk::compress(&bytes, 1).unwrap();
            let _ = Beyond::decode(&format!("{PREFIX}{}", BASE64.encode(packed)), next);
        }
    }
}
