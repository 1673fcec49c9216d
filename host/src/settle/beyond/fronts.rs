//! What is undecided, told by key.
//!
//! Of each key with undecided records it keeps the *front*: the lowest of their offsets. A record before its key's front is settled, and so is one whose key
//! has none. That holds in whatever order records settle; since those of a key settle in order, it also leaves hardly anything out.
//!
//! As bytes a key is the leading bits of its hash, as many as there is room for, and the front is rounded down to a step. Keys that share their bits share
//! the lower front. So all that lack of room can do is to make a settled record look undecided.

use std::collections::BTreeMap;

use super::numbers::{BitReader, BitWriter, put_number, take_number};

/// Bits of a hash.
const HASH_BITS: u32 = 32;

/// Bits that a key is to cost at least. With fewer, more than every eighth settled key would look like an undecided one; the map then ends sooner.
const KEY_BITS_MIN: usize = 6;

/// Leading bits by which a key is told from others before its front is kept more exactly: one of 65,536 settled keys then looks undecided.
const APART: usize = 16;

/// Bits of a front, at the most: the step is then a 4096th of the range.
const FRONT_BITS_MAX: usize = 12;

/// The keys that have undecided records, and from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fronts {
    /// It tells of offsets below this one.
    until: i64,
    /// Leading bits of a hash that are known, 1 to [`HASH_BITS`].
    bits: u32,
    /// By these bits.
    fronts: BTreeMap<u32, i64>,
}

/// How much was written.
#[derive(Debug)]
pub(super) struct Known {
    /// Up to where it tells anything.
    pub(super) until: i64,
    /// The share of settled records below that which it tells to be settled, about.
    pub(super) share: f64,
}

/// A hash of a key that is the same on every host and in every version: FNV-1a, and the finalizer of MurmurHash3 to spread it over the leading bits
/// (both public domain). Who makes keys collide has settled records sent again. A record without a key is like one with a key of its own.
pub(in super::super) fn hash_of(key: Option<&[u8]>, offset: i64) -> u32 {
    let own = offset.to_le_bytes();
    let mut hash = key.unwrap_or(&own).iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash >> 32) as u32 ^ hash as u32
}

impl Fronts {
    /// Of undecided offsets below `until`, in order, with the hashes of their keys.
    pub(super) fn of<'a>(undecided: impl Iterator<Item = (&'a i64, &'a u32)>, until: i64) -> Fronts {
        let mut fronts = BTreeMap::new();
        for (&offset, &hash) in undecided {
            fronts.entry(hash).or_insert(offset);
        }
        Fronts { until, bits: HASH_BITS, fronts }
    }

    /// It tells of offsets below this one.
    pub(super) fn until(&self) -> i64 {
        self.until
    }

    /// Whether the record is known to be settled.
    pub(super) fn contains(&self, offset: i64, hash: u32) -> bool {
        offset < self.until && self.fronts.get(&(hash >> (HASH_BITS - self.bits))).is_none_or(|front| offset < *front)
    }

    /// How many keys have their front in this range.
    pub(super) fn between(&self, from: i64, to: i64) -> i64 {
        self.fronts.values().filter(|front| (from..to.min(self.until)).contains(front)).count() as i64
    }

    /// Adds what older fronts know of offsets from `high` on. What is known below is known already.
    pub(super) fn keep(&mut self, old: &Fronts, high: i64) {
        self.coarsen(old.bits);
        for (&key, &front) in &old.fronts {
            self.fronts.entry(key).or_insert(front.max(high));
        }
    }

    /// Forgets all but so many leading bits.
    fn coarsen(&mut self, bits: u32) {
        if bits >= self.bits {
            return;
        }
        let mut fronts = BTreeMap::new();
        for (&key, &front) in &self.fronts {
            let lowest = fronts.entry(key >> (self.bits - bits)).or_insert(front);
            *lowest = front.min(*lowest);
        }
        (self.bits, self.fronts) = (bits, fronts);
    }

    /// Keeps the keys with the lowest fronts, and ends before the front of the next.
    fn shorten(&mut self, keys: usize) {
        if self.fronts.len() > keys {
            let mut lowest: Vec<i64> = self.fronts.values().copied().collect();
            let (_, end, _) = lowest.select_nth_unstable(keys);
            self.until = *end;
            self.fronts.retain(|_, front| *front < self.until);
        }
    }

    /// Writes at most `max` bytes: the length of the range, the number of keys, the bits of a key and of a front, then both for each key, in order.
    pub(super) fn encode(mut self, next: i64, max: usize, bytes: &mut Vec<u8>) -> Known {
        let room = max.saturating_sub(HEAD_MAX) * 8;
        self.shorten(room / KEY_BITS_MIN);
        let range = self.until.saturating_sub(next).max(1);
        let mut front_bits = 0;
        if !self.fronts.is_empty() {
            // A key costs the bits of its distance that are written as they are, a zero, and its part of the ones; see `rice`.
            let keys = self.fronts.len();
            let spare = (room - keys.next_power_of_two()) / keys - 1;
            front_bits = (spare.saturating_sub(APART) / 2).min(FRONT_BITS_MAX) as u32;
            self.coarsen((spare as u32 - front_bits).saturating_add(ceil_log2(keys)));
        }
        let rest = rice(self.bits, self.fronts.len());
        let shift = shift(range, front_bits);
        put_number(bytes, self.until - next);
        put_number(bytes, self.fronts.len() as i64);
        bytes.push(self.bits as u8);
        bytes.push(front_bits as u8);
        let mut out = BitWriter::new(bytes);
        let mut from = 0;
        for (&key, &front) in &self.fronts {
            out.put_rice(key - from, rest);
            out.put(((front.min(self.until) - next) >> shift) as u32, front_bits);
            from = key.saturating_add(1);
        }
        Known { until: self.until, share: 1.0 - 1.0 / f64::from(rest).exp2() }
    }

    /// Reads what [`Fronts::encode`] wrote with the same watermark.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(mut bytes: &[u8], next: i64) -> Result<Fronts, String> {
        let range = take_number(&mut bytes).ok_or("the range is cut off")?;
        let until = next.checked_add(range).ok_or("the range ends out of range")?;
        let count = take_number(&mut bytes).and_then(|count| usize::try_from(count).ok()).ok_or("the number of keys is cut off")?;
        let [bits, front_bits, ..] = *bytes else { return Err("the numbers of bits are cut off".into()) };
        let (bits, front_bits) = (u32::from(bits), u32::from(front_bits));
        if !(1..=HASH_BITS).contains(&bits) || front_bits as usize > FRONT_BITS_MAX || count > bytes.len() * 8 {
            return Err(format!("{count} keys of {bits} bits and fronts of {front_bits} bits cannot be"));
        }
        let shift = shift(range.max(1), front_bits);
        let mut coded = BitReader::new(&bytes[2..]);
        let rest = rice(bits, count);
        let mut fronts = BTreeMap::new();
        let mut from = 0_u64;
        for _ in 0..count {
            let distance = coded.take_rice(rest).ok_or("a key is cut off")?;
            let key = from + u64::from(distance);
            let front = coded.take(front_bits).ok_or("a front is cut off")?;
            if key >> bits != 0 {
                return Err("a key is out of range".into());
            }
            fronts.insert(key as u32, next.saturating_add(i64::from(front) << shift));
            from = key + 1;
        }
        Ok(Fronts { until, bits, fronts })
    }
}

/// Bytes before the first key: two numbers of at most nine bytes, and two bytes.
const HEAD_MAX: usize = 20;

/// The bits of a distance between keys that Rice's code writes as they are. With `2^bits / keys` between two keys, what is above costs, over all keys, no
/// more ones than the next power of two.
fn rice(bits: u32, keys: usize) -> u32 {
    bits.saturating_sub(ceil_log2(keys))
}

/// By how much a front is to be shifted so that it fits.
fn shift(range: i64, front_bits: u32) -> u32 {
    (64 - range.leading_zeros()).saturating_sub(front_bits)
}

fn ceil_log2(number: usize) -> u32 {
    number.max(1).next_power_of_two().trailing_zeros()
}
