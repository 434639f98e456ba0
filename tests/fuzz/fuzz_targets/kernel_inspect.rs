//! A file that is said to be a kernel, as it is looked at before it is chosen.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microagent_fuzz::{limit_allocations, memory_file, path_of};
use microagent_kernel::inspect;

fuzz_target!(init: limit_allocations(1 << 20), |data: &[u8]| {
    let file = memory_file(data);
    let path = path_of(&file);
    if let Err(error) = inspect(&path) {
        assert!(!error.to_string().is_empty());
    }
});
