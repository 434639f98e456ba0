//! The C library's allocator, made to do nothing that a filter does not foresee.
#![allow(unsafe_code)] // its settings have no safe interface

/// Makes all threads share one heap, before there is a second thread. The heap of another
/// thread, on the day that it shrinks, opens a file below `/proc` to learn how the host commits
/// memory, which no thread of a monitor may do. The first one never does, and one takes less
/// room than three.
#[cfg(target_env = "gnu")]
pub(crate) fn share_one_heap() {
    // SAFETY: sets a number of the allocator's, under the allocator's own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share_one_heap() {}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;
    use crate::filters::{self, Class};

    /// Set in the process that is filtered.
    const FILTERED: &str = "MICROAGENT_TEST_FILTERED";
    /// How that exits.
    const DONE: i32 = 77;

    /// More than a heap keeps, in pieces that it does not map one by one.
    fn grow_and_shrink() {
        let pieces: Vec<_> = (0..64u8).map(|byte| vec![byte; 100 << 10]).collect();
        drop(std::hint::black_box(pieces));
    }

    #[test]
    fn every_thread_frees_what_it_took() {
        if std::env::var_os(FILTERED).is_some() {
            filtered();
        }
        // With one thread of tests, so that nobody has had a heap before.
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "allocator::tests::every_thread_frees_what_it_took"]);
        let output = again.args(["--test-threads", "1"]).env(FILTERED, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(DONE), "{output:?}");
    }

    fn filtered() -> ! {
        share_one_heap();
        microagent_confine::forbid_new_privileges().unwrap();
        let (done, all_done) = channel();
        thread::spawn(move || {
            filters::install_on_this_thread(Class::Io).unwrap();
            grow_and_shrink();
            done.send(()).unwrap();
            // None of a monitor's threads ends before it does.
            loop {
                thread::park();
            }
        });
        all_done.recv().unwrap();
        std::process::exit(DONE)
    }
}
