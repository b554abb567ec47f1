//! The system's allocator, counted.
//!
//! Owns the global allocator of the test that takes it in. Knows nothing of what is measured.
#![allow(unsafe_code, reason = "an allocator is unsafe to write; this one only counts")]

use crate::parts::{Thing, count};
use std::alloc::{GlobalAlloc, Layout, System};

struct Counting;

// SAFETY: every method passes its arguments unchanged to `System`, which fulfils the contract; `count` adds to an integer,
// allocates nothing and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(Thing::Allocation);
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(Thing::Allocation);
        // SAFETY: the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout, as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(Thing::Allocation);
        // SAFETY: the same; `size` is handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
