//! What is in the journal counts where a kernel would play it back.

use super::hostile::{chain, content, open};
use super::sample::{BLOCK, JOURNAL, Sample};

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;

/// Journals whose first block of the log is this one.
const FIRST: u32 = 1;

/// A sample whose journal is to be played back from `start` on.
struct Log {
    sample: Sample,
    at: u32,
    length: u32,
}

impl Log {
    fn new(start: u32, length: u32) -> Self {
        let mut sample = Sample::new();
        sample.set32(BLOCK + 0x60, 0x2 | 0x40 | 0x4);
        let mut log = Self { sample, at: start, length };
        log.be(0, 0, 0xc03b_3998);
        log.be(0, 4, 4);
        log.be(0, 0xc, BLOCK as u32);
        log.be(0, 0x10, length);
        log.be(0, 0x14, FIRST);
        log.be(0, 0x18, 7);
        log.be(0, 0x1c, start);
        log
    }

    fn be(&mut self, block: u32, at: usize, value: u32) {
        let at = (JOURNAL + block as usize) * BLOCK + at;
        self.sample.set(at, &value.to_be_bytes());
    }

    fn next(&mut self) -> u32 {
        let at = self.at;
        self.at = if at + 1 == self.length { FIRST } else { at + 1 };
        at
    }

    fn header(&mut self, kind: u32, sequence: u32) -> u32 {
        let block = self.next();
        for (n, value) in [0xc03b_3998, kind, sequence].into_iter().enumerate() {
            self.be(block, 4 * n, value);
        }
        block
    }

    /// A descriptor and the blocks that it describes, filled with a byte each.
    fn write(mut self, sequence: u32, blocks: &[(u32, u8)]) -> Self {
        let descriptor = self.header(DESCRIPTOR, sequence);
        for (n, (to, byte)) in blocks.iter().enumerate() {
            let last = if n + 1 == blocks.len() { 8 } else { 0 };
            let escaped = u32::from(*byte == 0);
            self.be(descriptor, 12 + 8 * n, *to);
            self.be(descriptor, 16 + 8 * n, 2 | last | escaped);
            let at = (JOURNAL + self.next() as usize) * BLOCK;
            self.sample.set(at, &[*byte; BLOCK]);
        }
        self
    }

    fn commit(mut self, sequence: u32) -> Self {
        self.header(COMMIT, sequence);
        self
    }

    fn revoke(mut self, sequence: u32, block: u32) -> Self {
        let at = self.header(REVOKE, sequence);
        self.be(at, 12, 20);
        self.be(at, 16, block);
        self
    }

    /// What is in the one block of `d/tree` then.
    fn check(self, expect: u8) {
        let ext4 = open(&self.sample).unwrap();
        assert_eq!(content(&ext4, "/d/tree").unwrap(), [expect; BLOCK]);
    }
}

#[test]
fn finished_transactions_count() {
    Log::new(1, 32).check(b'b');
    Log::new(1, 32).write(7, &[(10, b'x'), (11, b'y')]).check(b'b');
    Log::new(1, 32).write(7, &[(10, b'x'), (11, b'y')]).commit(7).check(b'y');
    let two = || Log::new(1, 32).write(7, &[(11, b'y')]).commit(7);
    two().write(8, &[(11, b'z')]).commit(8).check(b'z');
    two().write(8, &[(11, b'z')]).check(b'y');
    // Of another time that went over the same blocks.
    two().write(6, &[(11, b'z')]).commit(6).check(b'y');
    // Nothing to play back, whatever is in it.
    let mut clean = two();
    clean.be(0, 0x1c, 0);
    clean.check(b'b');
}

#[test]
fn the_log_goes_on_at_its_beginning() {
    for start in [5, 6, 7] {
        let log = Log::new(start, 8).write(7, &[(10, b'x'), (11, b'y')]).commit(7);
        log.write(8, &[(9, b'q')]).check(b'y');
    }
}

#[test]
fn what_was_revoked_does_not_come_back() {
    let log = || Log::new(1, 32).write(7, &[(11, b'y')]).commit(7).revoke(8, 11);
    log().commit(8).check(b'b');
    log().check(b'y');
    log().commit(8).write(9, &[(11, b'z')]).commit(9).check(b'z');
    // In its own transaction it counts for what was there before.
    Log::new(1, 32).revoke(7, 11).write(7, &[(11, b'y')]).commit(7).check(b'b');
}

#[test]
fn a_block_that_looks_like_the_journals_own_is_escaped() {
    let log = Log::new(1, 32).write(7, &[(11, 0)]).commit(7);
    let ext4 = open(&log.sample).unwrap();
    let bytes = content(&ext4, "/d/tree").unwrap();
    assert_eq!(bytes[..8], [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 0]);
}

#[test]
fn journals_that_lie_are_refused() {
    let check = |change: &dyn Fn(&mut Log), says: &str| {
        let mut log = Log::new(1, 32).write(7, &[(11, b'y')]).commit(7);
        change(&mut log);
        let message = chain(&open(&log.sample).map(drop).unwrap_err());
        assert!(message.contains(says), "{says}: {message}");
    };
    check(&|log| log.be(0, 0, 0), "no superblock");
    check(&|log| log.be(0, 4, 9), "no superblock");
    check(&|log| log.be(0, 0xc, 4096), "blocks of another size");
    check(&|log| log.be(0, 0x10, u32::MAX), "blocks in a journal");
    check(&|log| log.be(0, 0x1c, 32), "outside of itself");
    check(&|log| log.be(0, 0x14, 0), "outside of itself");
    check(&|log| log.be(0, 0x28, 0x20), "features 0x20");
    check(&|log| log.sample.extents(8, 0, &[(0, 2, 16)]), "no block 2");
    check(&|log| log.sample.set32(BLOCK + 0xe0, 0), "no inode 0");
    check(&|log| log.sample.set32(BLOCK + 0xe0, 14), "not in extents");
}
