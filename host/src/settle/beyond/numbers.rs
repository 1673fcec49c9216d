//! Numbers as bytes and as bits. Knows nothing of what they mean.

/// Writes a number that is not negative as LEB128.
pub(super) fn put_number(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = number.unsigned_abs();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// Reads a LEB128 number; none when it is cut off or larger than an offset can be.
pub(super) fn take_number(bytes: &mut &[u8]) -> Option<i64> {
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

/// Appends bits to bytes, the highest of each byte first.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bits that are free in the last byte.
    free: u32,
}

impl BitWriter<'_> {
    /// Goes on behind these bytes.
    pub(super) fn new(bytes: &mut Vec<u8>) -> BitWriter<'_> {
        BitWriter { bytes, free: 0 }
    }

    /// Writes the lowest `count` bits of `value`, the highest first.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> at & 1) as u8) << self.free;
            }
        }
    }

    /// Writes a number by Rice's code: what is above its lowest `rest` bits as so many ones and a zero, then those bits
    /// (R. F. Rice, "Some practical universal noiseless coding techniques", 1979).
    pub(super) fn put_rice(&mut self, value: u32, rest: u32) {
        for _ in 0..value.checked_shr(rest).unwrap_or(0) {
            self.put(1, 1);
        }
        self.put(0, 1);
        self.put(value, rest);
    }
}

/// Reads what a [`BitWriter`] wrote.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    /// From the first bit of these bytes.
    pub(super) fn new(bytes: &[u8]) -> BitReader<'_> {
        BitReader { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32; none when there are not so many.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
            Some(value << 1 | bit)
        })
    }

    /// The next number of [`BitWriter::put_rice`]; none when it is cut off or has more than 32 bits.
    pub(super) fn take_rice(&mut self, rest: u32) -> Option<u32> {
        let mut above = 0_u32;
        while self.take(1)? == 1 {
            above = above.checked_add(1)?;
        }
        let low = self.take(rest)?;
        u32::try_from(u64::from(above).checked_shl(rest)? | u64::from(low)).ok()
    }
}
