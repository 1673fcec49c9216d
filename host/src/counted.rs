//! How much memory the code under test holds: an allocator that counts, for each thread apart. Under tokio's paused clock all of a test runs on one thread.

#![expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static PASSED_OVER: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: isize) {
    // At the end of a thread there is nothing to count in any more.
    let _ = PASSED_OVER.try_with(|passed_over| {
        if !passed_over.get() {
            let held = HELD.get() + bytes;
            HELD.set(held);
            PEAK.set(PEAK.get().max(held));
        }
    });
}

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What is large is moved by the system without a copy.
        count(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Begins to count from nothing, on this thread.
pub(crate) fn begin() {
    HELD.set(0);
    PEAK.set(0);
}

/// Bytes that were allocated since and not given back.
pub(crate) fn held() -> usize {
    HELD.get().max(0) as usize
}

/// The most of them that there were at once.
pub(crate) fn peak() -> usize {
    PEAK.get().max(0) as usize
}

/// Does what only a test does, and counts none of it: fakes have to keep what a real Kafka or a destination keeps.
pub(crate) fn passed_over<T>(by: impl FnOnce() -> T) -> T {
    let before = PASSED_OVER.replace(true);
    let done = by();
    PASSED_OVER.set(before);
    done
}

#[test]
fn what_is_held_is_counted_and_what_is_given_back_is_not() {
    begin();
    let held_on = vec![0_u8; 1_000_000];
    drop(vec![0_u8; 3_000_000]);
    let kept = passed_over(|| vec![0_u8; 5_000_000]);
    assert!((1_000_000..1_010_000).contains(&held()), "{}", held());
    assert!((4_000_000..4_010_000).contains(&peak()), "{}", peak());
    drop((held_on, kept));
}
