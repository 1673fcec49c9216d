//! The allocator of a plugin.
//!
//! Owns the memory past the program's data. Promises that a plugin which fits into the memory that it was linked with never asks for more:
//! every `memory.grow` costs the host two system calls that stop its other threads, and a fresh instance serves each record. Refuses to
//! know about threads: a plugin has one.
//!
//! How: a block is a multiple of 16 bytes, and new ones come from a pointer that only moves up. A freed block of up to 1 KiB goes to a list
//! of its size; a larger one goes to a list ordered by address, where neighbours melt together; the block that was given out last simply
//! moves the pointer back. There are no headers, since whoever frees a block says how large it was.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

#[cfg(test)]
mod tests;

/// Every block begins at a multiple of this and is a multiple of it long. It is what a free block needs for [`Free`] on 64-bit machines, where the tests run.
const GRAIN: usize = 16;
/// Blocks up to this long have lists of their own. Beyond it blocks are few, so that walking one list is cheap.
const SMALL: usize = 1024;
const CLASSES: usize = SMALL / GRAIN;

/// Where the memory comes from.
///
/// # Safety
/// The bytes from [`start`](Memory::start) to [`end`](Memory::end) must be the heap's alone, readable and writable, and stay so;
/// after `grow(end)` returned true, [`end`](Memory::end) must be at least that, with the same start.
#[expect(unsafe_code, reason = "an allocator hands out raw memory")]
pub(crate) unsafe trait Memory {
    /// First byte.
    fn start(&self) -> NonNull<u8>;
    /// Bytes there are.
    fn len(&self) -> usize;
    /// Makes it at least so many bytes; false when it may not.
    fn grow(&mut self, len: usize) -> bool;
}

/// What stands in a free block.
struct Free {
    next: Option<NonNull<Free>>,
    len: usize,
}

/// The allocator's state.
pub(crate) struct Heap<M> {
    memory: M,
    /// Bytes from the start that are or were given out; 0 also before the start has been aligned.
    top: usize,
    small: [Option<NonNull<Free>>; CLASSES],
    large: Option<NonNull<Free>>,
}

/// The length of the block that serves a layout; none when it is beyond any memory.
const fn block_len(len: usize) -> Option<usize> {
    let len = if len == 0 { 1 } else { len };
    match len.checked_next_multiple_of(GRAIN) {
        Some(rounded) if rounded <= isize::MAX as usize => Some(rounded),
        _ => None,
    }
}

const fn class(len: usize) -> usize {
    len / GRAIN - 1
}

#[expect(unsafe_code, reason = "an allocator hands out raw memory")]
impl<M: Memory> Heap<M> {
    pub(crate) const fn new(memory: M) -> Heap<M> {
        Heap { memory, top: 0, small: [None; CLASSES], large: None }
    }

    /// A block for this layout, or null.
    pub(crate) fn allocate(&mut self, layout: Layout) -> *mut u8 {
        let Some(len) = block_len(layout.size()) else { return ptr::null_mut() };
        let align = layout.align().max(GRAIN);
        let block = self
            .reuse(len, align)
            .or_else(|| self.bump(len, align, false))
            .or_else(|| self.reuse_large(len, align))
            .or_else(|| self.bump(len, align, true));
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// The block came from this heap for this layout, and nobody uses it any more.
    pub(crate) unsafe fn free(&mut self, block: *mut u8, layout: Layout) {
        if let (Some(block), Some(len)) = (NonNull::new(block), block_len(layout.size())) {
            // SAFETY: the caller's promise; the block is as long as `block_len` of its layout.
            unsafe { self.give_back(block, len) };
        }
    }

    /// Makes a block longer or shorter, where it stands if that can be, else by a move.
    ///
    /// # Safety
    /// As for [`free`](Heap::free); `new_len` is not zero and does not overflow when rounded up to the alignment.
    pub(crate) unsafe fn resize(&mut self, block: *mut u8, layout: Layout, new_len: usize) -> *mut u8 {
        let (Some(start), Some(old), Some(new)) = (NonNull::new(block), block_len(layout.size()), block_len(new_len)) else { return ptr::null_mut() };
        if new <= old {
            if new < old {
                // SAFETY: the tail lies within the caller's block, at a multiple of the grain, and the caller gives it up.
                unsafe { self.give_back(start.add(new), old - new) };
            }
            return block;
        }
        if self.offset(start) + old == self.top
            && let Some(top) = self.top.checked_add(new - old)
            && self.reach(top, true)
        {
            self.top = top;
            return block;
        }
        // SAFETY: the caller's promise on `new_len` is the one that `Layout` asks for.
        let moved = self.allocate(unsafe { Layout::from_size_align_unchecked(new_len, layout.align()) });
        if !moved.is_null() {
            // SAFETY: two distinct blocks, both at least as long as the old layout; the old one is the caller's to give up.
            unsafe {
                ptr::copy_nonoverlapping(block, moved, layout.size());
                self.give_back(start, old);
            }
        }
        moved
    }

    fn offset(&self, block: NonNull<u8>) -> usize {
        block.as_ptr() as usize - self.memory.start().as_ptr() as usize
    }

    /// Whether the memory reaches to `len`, after growing it if that is allowed now.
    fn reach(&mut self, len: usize, may_grow: bool) -> bool {
        if len <= self.memory.len() {
            return true;
        }
        // By half of what there is at least, so that growing stays rare; by what is needed only, when the limit is near.
        let more = self.memory.len().saturating_add(self.memory.len() / 2);
        may_grow && (self.memory.grow(len.max(more)) || self.memory.grow(len))
    }

    /// A block that was never given out.
    fn bump(&mut self, len: usize, align: usize, may_grow: bool) -> Option<NonNull<u8>> {
        let base = self.memory.start().as_ptr() as usize;
        let at = (base + self.top).checked_next_multiple_of(align)? - base;
        let end = at.checked_add(len)?;
        if !self.reach(end, may_grow) {
            return None;
        }
        let gap_start = (base + self.top).next_multiple_of(GRAIN) - base;
        self.top = end;
        // SAFETY: both offsets lie within the memory, which `reach` has made sure of.
        let (gap, block) = unsafe { (self.memory.start().add(gap_start), self.memory.start().add(at)) };
        if at > gap_start {
            // SAFETY: the gap was never given out; it begins and ends at multiples of the grain.
            unsafe { self.give_back(gap, at - gap_start) };
        }
        Some(block)
    }

    fn reuse(&mut self, len: usize, align: usize) -> Option<NonNull<u8>> {
        if len > SMALL {
            return self.reuse_large(len, align);
        }
        let mut link: *mut Option<NonNull<Free>> = &mut self.small[class(len)];
        // SAFETY: `link` is a list's head or the `next` of a free block, and free blocks are the heap's own.
        unsafe {
            while let Some(block) = *link {
                if (block.as_ptr() as usize).is_multiple_of(align) {
                    *link = block.as_ref().next;
                    return Some(block.cast());
                }
                link = &raw mut (*block.as_ptr()).next;
            }
        }
        None
    }

    /// Takes from the first large block that is long enough, from its beginning; what is left of it stays free.
    fn reuse_large(&mut self, len: usize, align: usize) -> Option<NonNull<u8>> {
        let mut link: *mut Option<NonNull<Free>> = &mut self.large;
        // SAFETY: as in `reuse`. The rest begins within the free block, at a multiple of the grain, and is at least one grain long.
        unsafe {
            while let Some(block) = *link {
                let Free { next, len: there } = block.read();
                if there >= len && (block.as_ptr() as usize).is_multiple_of(align) {
                    *link = if there == len {
                        next
                    } else {
                        let rest = block.cast::<u8>().add(len).cast::<Free>();
                        rest.write(Free { next, len: there - len });
                        Some(rest)
                    };
                    return Some(block.cast());
                }
                link = &raw mut (*block.as_ptr()).next;
            }
        }
        None
    }

    /// Takes back `len` bytes.
    ///
    /// # Safety
    /// They were given out or skipped by this heap, nobody uses them, and both ends are multiples of the grain.
    unsafe fn give_back(&mut self, block: NonNull<u8>, len: usize) {
        if self.offset(block) + len == self.top {
            self.top -= len;
            return;
        }
        let block = block.cast::<Free>();
        if len <= SMALL {
            let head = &mut self.small[class(len)];
            // SAFETY: a grain holds a `Free` and is aligned for one.
            unsafe { block.write(Free { next: *head, len }) };
            *head = Some(block);
            return;
        }
        // SAFETY: as in `reuse`; free blocks never overlap, so one that ends where another begins is its neighbour.
        unsafe {
            let mut before: Option<NonNull<Free>> = None;
            let mut link: *mut Option<NonNull<Free>> = &mut self.large;
            while let Some(other) = *link {
                if other > block {
                    break;
                }
                before = Some(other);
                link = &raw mut (*other.as_ptr()).next;
            }
            let (mut len, mut next) = (len, *link);
            if let Some(after) = next
                && block.cast::<u8>().add(len) == after.cast()
            {
                len += after.as_ref().len;
                next = after.as_ref().next;
            }
            match before {
                Some(mut other) if other.cast::<u8>().add(other.as_ref().len) == block.cast() => {
                    let other = other.as_mut();
                    other.len += len;
                    other.next = next;
                }
                _ => {
                    block.write(Free { next, len });
                    *link = Some(block);
                }
            }
        }
    }
}

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod wasm;
