#![expect(unsafe_code, reason = "an allocator is tested by its raw memory")]

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{GRAIN, Heap, Memory, SMALL};

/// Memory that really is there up to its limit, of which the heap may see only what it has asked for.
struct Arena {
    start: NonNull<u8>,
    layout: Layout,
    len: usize,
    grown: usize,
}

impl Arena {
    /// `skew` moves the start off its alignment, as a linker may do.
    fn new(len: usize, limit: usize, skew: usize) -> Arena {
        let layout = Layout::from_size_align(limit + 64, 4096).unwrap();
        // SAFETY: not zero bytes long.
        let start = NonNull::new(unsafe { std::alloc::alloc(layout) }).unwrap();
        // SAFETY: 64 bytes more were taken than the limit.
        Arena { start: unsafe { start.add(skew) }, layout, len, grown: 0 }
    }
}

// SAFETY: an allocation of its own, which outlives the heap that owns the arena.
unsafe impl Memory for Arena {
    fn start(&self) -> NonNull<u8> {
        self.start
    }

    fn len(&self) -> usize {
        self.len
    }

    fn grow(&mut self, len: usize) -> bool {
        if len > self.layout.size() - 64 {
            return false;
        }
        self.grown += 1;
        self.len = self.len.max(len);
        true
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let skew = self.start.as_ptr() as usize % 4096;
        // SAFETY: what `new` took.
        unsafe { std::alloc::dealloc(self.start.as_ptr().sub(skew), self.layout) }
    }
}

fn layout(len: usize, align: usize) -> Layout {
    Layout::from_size_align(len, align).unwrap()
}

/// A block that is in use, filled with a byte of its own.
struct Used {
    at: *mut u8,
    layout: Layout,
    fill: u8,
}

impl Used {
    fn check(&self) {
        for offset in 0..self.layout.size() {
            // SAFETY: the block is in use and so long.
            assert_eq!(unsafe { *self.at.add(offset) }, self.fill, "a block of {:?} was written over at {offset}", self.layout);
        }
    }
}

/// SplitMix64, so that a failure can be run again from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}

/// Whatever is asked in whatever order: blocks are aligned, inside the memory, and never share a byte; their contents survive.
#[test]
fn blocks_never_overlap() {
    let (seeds, steps) = if cfg!(miri) { (3, 300) } else { (60, 4000) };
    for seed in 0..seeds {
        let mut dice = Dice(seed);
        let mut heap = Heap::new(Arena::new(8192, 1 << 20, [0, 1, 8, 12][seed as usize % 4]));
        let mut used: Vec<Used> = Vec::new();
        for step in 0..steps {
            let len = match dice.roll(10) {
                0 => dice.roll(20_000) + 1,
                1..3 => dice.roll(3000) + 1,
                _ => dice.roll(200) + 1,
            };
            match dice.roll(5) {
                0..2 => {
                    let widest = if dice.roll(8) == 0 { 9 } else { 4 };
                    let layout = layout(len, 1 << dice.roll(widest));
                    let at = heap.allocate(layout);
                    if at.is_null() {
                        continue;
                    }
                    used.push(Used { at, layout, fill: 0 });
                }
                2 if !used.is_empty() => {
                    let block = used.swap_remove(dice.roll(used.len()));
                    block.check();
                    unsafe { heap.free(block.at, block.layout) };
                    continue;
                }
                3 if !used.is_empty() => {
                    let block = used.swap_remove(dice.roll(used.len()));
                    block.check();
                    let at = unsafe { heap.resize(block.at, block.layout, len) };
                    if at.is_null() {
                        used.push(block);
                        continue;
                    }
                    let moved = Used { at, layout: layout(len, block.layout.align()), fill: block.fill };
                    Used { layout: layout(len.min(block.layout.size()), 1), ..moved }.check();
                    used.push(moved);
                }
                _ => continue,
            }
            let block = used.last_mut().unwrap();
            assert_eq!(block.at as usize % block.layout.align(), 0);
            let start = heap.memory.start.as_ptr() as usize;
            assert!(block.at as usize >= start && block.at as usize + block.layout.size() <= start + heap.memory.len);
            block.fill = step as u8;
            unsafe { block.at.write_bytes(block.fill, block.layout.size()) };
        }
        for block in used {
            block.check();
            unsafe { heap.free(block.at, block.layout) };
        }
    }
}

#[test]
fn what_fits_never_grows() {
    let mut heap = Heap::new(Arena::new(4 * SMALL, 1 << 20, 0));
    for _ in 0..4 {
        assert!(!heap.allocate(layout(SMALL, 8)).is_null());
    }
    assert_eq!(heap.memory.grown, 0);
    assert!(!heap.allocate(layout(1, 1)).is_null());
    assert_eq!(heap.memory.grown, 1);
}

/// What a string does while it is written to: it is the last block, so it stays where it is.
#[test]
fn the_last_block_grows_in_place() {
    let mut heap = Heap::new(Arena::new(65536, 1 << 20, 0));
    let start = heap.allocate(layout(8, 1));
    let mut len = 8;
    while len < 32768 {
        assert_eq!(unsafe { heap.resize(start, layout(len, 1), len * 2) }, start);
        len *= 2;
    }
    unsafe { heap.free(start, layout(len, 1)) };
    assert_eq!(heap.allocate(layout(5000, 1)), start);
    assert_eq!(heap.memory.grown, 0);
}

#[test]
fn a_shrunk_block_gives_up_its_tail() {
    let mut heap = Heap::new(Arena::new(65536, 65536, 0));
    let block = heap.allocate(layout(64, 1));
    let fence = heap.allocate(layout(16, 1));
    assert_eq!(unsafe { heap.resize(block, layout(64, 1), 20) }, block);
    let tail = heap.allocate(layout(32, 1));
    assert_eq!(tail, unsafe { block.add(32) });
    assert!(tail < fence);
}

/// Free neighbours of more than 1 KiB melt together, in whatever order they are freed.
#[test]
fn large_neighbours_melt_together() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut heap = Heap::new(Arena::new(65536, 65536, 0));
        let blocks = [0; 3].map(|_| heap.allocate(layout(2048, 8)));
        let fence = heap.allocate(layout(GRAIN, 1));
        for index in order {
            unsafe { heap.free(blocks[index], layout(2048, 8)) };
        }
        assert_eq!(heap.allocate(layout(3 * 2048, 8)), blocks[0], "freed in the order {order:?}");
        assert_ne!(heap.allocate(layout(2048, 8)), fence);
    }
}

/// A kept instance sees the same work again and again: it must come to rest.
#[test]
fn the_same_work_again_takes_no_more_memory() {
    let mut heap = Heap::new(Arena::new(4096, 1 << 20, 0));
    let mut tops = Vec::new();
    for _ in 0..if cfg!(miri) { 20 } else { 500 } {
        let mut dice = Dice(7);
        let mut used: Vec<(*mut u8, Layout)> = Vec::new();
        for _ in 0..200 {
            if dice.roll(3) == 0 && !used.is_empty() {
                let (block, layout) = used.swap_remove(dice.roll(used.len()));
                unsafe { heap.free(block, layout) };
            } else {
                let len = if dice.roll(9) == 0 { dice.roll(9000) } else { dice.roll(300) } + 1;
                let layout = layout(len, 1 << dice.roll(7));
                used.push((heap.allocate(layout), layout));
            }
        }
        for (block, layout) in used {
            assert!(!block.is_null());
            unsafe { heap.free(block, layout) };
        }
        tops.push(heap.memory.len);
    }
    assert_eq!(tops[tops.len() / 2], *tops.last().unwrap(), "the memory still grows");
}

#[test]
fn too_much_is_refused_and_harms_nothing() {
    let mut heap = Heap::new(Arena::new(4096, 8192, 0));
    assert!(heap.allocate(layout(isize::MAX as usize - 64, 1)).is_null());
    assert!(heap.allocate(layout(8193, 1)).is_null());
    let block = heap.allocate(layout(8000, 1));
    assert!(!block.is_null());
    assert!(unsafe { heap.resize(block, layout(8000, 1), 9000) }.is_null());
    unsafe { heap.free(block, layout(8000, 1)) };
    assert!(!heap.allocate(layout(8192, 1)).is_null());
}
