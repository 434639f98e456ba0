//! How much memory a target may have at once.

use std::alloc::System;
use std::panic;

use cap::Cap;

/// Everything but the fuzzer's own memory, which is not Rust's, and guest memory, which is
/// mapped.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// From now on, ends the program where more than `bytes` more than now are in use at once:
/// nothing that is read may decide how much is allocated, but up to a named maximum.
pub fn limit_allocations(bytes: usize) {
    // Grows only: what was there first is what is allowed for.
    let limit = ALLOCATOR.allocated().saturating_add(bytes);
    // Fails where more than the limit is in use, which is above what is.
    let _ = ALLOCATOR.set_limit(limit);
    // Whoever panics says where, for which a program reads all about itself.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _ = ALLOCATOR.set_limit(usize::MAX);
        hook(info);
    }));
}
