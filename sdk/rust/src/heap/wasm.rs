//! The heap as a plugin's global allocator: it begins where the linker says that the program's data ends.
#![expect(unsafe_code, reason = "a global allocator hands out raw memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use super::{Heap, Memory};

#[cfg(target_feature = "atomics")]
compile_error!("the allocator of keyway-sdk is for plugins, which have one thread; turn its feature `allocator` off to use another");

/// Bytes in a page of WebAssembly's memory.
const PAGE: usize = 65536;

unsafe extern "C" {
    /// Its address is the first byte past the program's data and stack.
    static mut __heap_base: u8;
}

struct Linear;

// SAFETY: no other part of the program uses the memory past `__heap_base`: the standard library's own allocator is not linked, and nothing
// else calls `memory.grow`, since the heap is the only one that does.
unsafe impl Memory for Linear {
    fn start(&self) -> NonNull<u8> {
        let base = &raw mut __heap_base;
        // SAFETY: the linker puts the stack and the data before it, so it is not at address zero.
        unsafe { NonNull::new_unchecked(base) }
    }

    fn len(&self) -> usize {
        // A memory of 65,536 pages would overflow; the last byte of it stays unused.
        memory_size(0).saturating_mul(PAGE) - self.start().as_ptr() as usize
    }

    fn grow(&mut self, len: usize) -> bool {
        let Some(missing) = (self.start().as_ptr() as usize).checked_add(len).map(|end| end.saturating_sub(memory_size(0).saturating_mul(PAGE)))
        else {
            return false;
        };
        memory_grow(0, missing.div_ceil(PAGE)) != usize::MAX
    }
}

struct Global(UnsafeCell<Heap<Linear>>);

// SAFETY: a plugin has one thread, and no method of the heap runs code that could allocate.
unsafe impl Sync for Global {}

// SAFETY: the heap's blocks do not overlap, are as long and as aligned as their layouts, and stay put until they are freed.
unsafe impl GlobalAlloc for Global {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).allocate(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_len: usize) -> *mut u8 {
        unsafe { (*self.0.get()).resize(block, layout, new_len) }
    }
}

#[global_allocator]
static HEAP: Global = Global(UnsafeCell::new(Heap::new(Linear)));
