//! What the generated bindings need at run time; not for plugins.
#![doc(hidden)]
#![expect(unsafe_code, reason = "the canonical ABI passes raw memory")]

use std::alloc::Layout;
use std::ptr::NonNull;

/// The bindings call this to be sure that `cabi_realloc` is linked, which it is, because they are in one crate with it.
#[inline]
pub fn maybe_link_cabi_realloc() {}

/// By this the host makes room for what it passes: a new block for `old_len` 0, else a longer one.
///
/// # Safety
/// As for `realloc`: the block came from here with this length and alignment.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabi_realloc(old: *mut u8, old_len: usize, align: usize, new_len: usize) -> *mut u8 {
    if new_len == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    // SAFETY: the canonical ABI passes alignments of its types, which are powers of two, and lengths of a 32-bit memory.
    let block = unsafe {
        match old_len {
            0 => std::alloc::alloc(Layout::from_size_align_unchecked(new_len, align)),
            _ => std::alloc::realloc(old, Layout::from_size_align_unchecked(old_len, align), new_len),
        }
    };
    // No message: writing one would need memory.
    if block.is_null() { std::process::abort() } else { block }
}

/// Runs the constructors of linked C code, once. Without this call the linker would run them at every export.
#[cfg(target_arch = "wasm32")]
pub fn run_ctors_once() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static RUN: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    if !RUN.swap(true, Ordering::Relaxed) {
        // SAFETY: the linker defines it, and it runs once.
        unsafe { __wasm_call_ctors() }
    }
}

/// A block that is freed when it is dropped.
#[derive(Debug)]
pub struct Cleanup {
    block: NonNull<u8>,
    layout: Layout,
}

impl Cleanup {
    /// A block of this layout; null and nothing for a layout of no bytes.
    pub fn new(layout: Layout) -> (*mut u8, Option<Cleanup>) {
        if layout.size() == 0 {
            return (std::ptr::null_mut(), None);
        }
        // SAFETY: the layout has bytes.
        match NonNull::new(unsafe { std::alloc::alloc(layout) }) {
            Some(block) => (block.as_ptr(), Some(Cleanup { block, layout })),
            None => std::alloc::handle_alloc_error(layout),
        }
    }

    /// Leaves the block to whoever has its address.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // SAFETY: `new` took the block with this layout, and only a value that was not forgotten comes here.
        unsafe { std::alloc::dealloc(self.block.as_ptr(), self.layout) }
    }
}
