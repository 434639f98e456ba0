//! Files that a guest sends: the input is a list of records, with paths that mean something.
#![no_main]

// The run flow uses it; it has no other user, and no library of its own.
#[path = "../../../crates/workspace/src/outputs/receive.rs"]
mod receive;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use microagent_fuzz::{Input, limit_allocations};
use microagent_guest_protocol::transfer::{EntryMeta, Record};

/// The receiver's buffer, names, and as much again.
const MAX_ALLOCATED: usize = 4 << 20;
/// What nobody may change, beside what is received.
const CANARY: &[u8] = b"as it was";
/// Of what is made.
const UMASK: u32 = 0o027;

/// Paths and targets.
const PATHS: [&[u8]; 16] = [
    b"",
    b"d",
    b"f",
    b"d/e",
    b"d/e/f",
    b"l",
    b"l/f",
    b"..",
    b"../canary",
    b"d/../../canary",
    b"/proc/self/cwd",
    b".",
    b"d//f",
    b"d/l",
    b"\xff",
    b"d/l/canary",
];

fn path<'a>(input: &mut Input<'a>) -> &'a [u8] {
    match usize::from(input.byte()) {
        known @ 0..0xf0 => PATHS[known & 15],
        length => input.take(length & 15),
    }
}

/// The bytes of the stream that the input tells of.
fn stream(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() {
        let kind = input.byte();
        let meta = EntryMeta { mode: input.u16().into(), mtime: (input.byte().into(), 0) };
        let (record, rest) = match kind & 7 {
            0 => (Record::Directory { path: 0, meta }, vec![path(input)]),
            1 => (Record::File { path: 0, meta, size: input.number().into() }, vec![path(input)]),
            2 => (Record::Symlink { path: 0, target: 0, meta }, vec![path(input), path(input)]),
            3 => (Record::HardLink { path: 0, target: 0 }, vec![path(input), path(input)]),
            4 => (Record::LeftOut { path: 0 }, vec![path(input)]),
            5 => {
                let (offset, length) = (input.number().into(), usize::from(input.byte()));
                (Record::Data { offset, length: 0 }, vec![input.take(length)])
            }
            6 => (Record::End, vec![]),
            _ => {
                stream.extend_from_slice(input.take(usize::from(kind >> 3)));
                continue;
            }
        };
        stream.extend_from_slice(&with_lengths(record, &rest).encode());
        stream.extend_from_slice(&rest.concat());
    }
    stream
}

fn with_lengths(record: Record, rest: &[&[u8]]) -> Record {
    let length = |n: usize| rest.get(n).map_or(0, |bytes| bytes.len());
    match record {
        Record::Directory { meta, .. } => Record::Directory { path: length(0), meta },
        Record::File { meta, size, .. } => Record::File { path: length(0), meta, size },
        Record::Symlink { meta, .. } => {
            Record::Symlink { path: length(0), target: length(1), meta }
        }
        Record::HardLink { .. } => Record::HardLink { path: length(0), target: length(1) },
        Record::LeftOut { .. } => Record::LeftOut { path: length(0) },
        Record::Data { offset, .. } => Record::Data { offset, length: length(0) },
        Record::End => Record::End,
    }
}

/// A directory of this process's own, with the canary.
fn ground() -> &'static Path {
    static GROUND: OnceLock<PathBuf> = OnceLock::new();
    GROUND.get_or_init(|| {
        let ground = std::env::temp_dir().join(format!("outputs-{}", std::process::id()));
        fs::create_dir_all(&ground).expect("a directory to receive in");
        fs::write(ground.join("canary"), CANARY).expect("write a file");
        ground.canonicalize().expect("it was just made")
    })
}

/// Nothing that was made has more rights than it may, and no link leads out. How many there are.
fn judge(path: &Path, place: &Path) -> u64 {
    let meta = path.symlink_metadata().expect("it is listed");
    if meta.is_symlink() {
        let leads = path.canonicalize();
        assert!(leads.is_err() || leads.is_ok_and(|to| to.starts_with(place)), "{path:?}");
        return 1;
    }
    assert!(meta.is_file() || meta.is_dir(), "{path:?}");
    assert_eq!(meta.mode() & 0o7000, 0, "{path:?}");
    assert_eq!(meta.mode() & UMASK, 0, "{path:?}");
    let entries =
        if meta.is_dir() { Some(fs::read_dir(path).expect("it may be read")) } else { None };
    let entries = entries.into_iter().flatten();
    1 + entries.map(|entry| judge(&entry.expect("an entry").path(), place)).sum::<u64>()
}

fuzz_target!(init: limit_allocations(MAX_ALLOCATED), |data: &[u8]| {
    let ground = ground();
    let place = ground.join("out");
    let stream = stream(&mut Input::new(data));
    let received = receive::receive(&stream[..], &place, UMASK);
    assert_eq!(fs::read(ground.join("canary")).expect("it is there"), CANARY);
    let left = fs::read_dir(ground).expect("it is there").count();
    assert_eq!(left, 1 + usize::from(received.is_ok()), "{received:?}");
    let Ok(done) = received else { return };
    assert_eq!(judge(&place, &place), done.entries);
    if place.symlink_metadata().expect("it was made").is_dir() {
        fs::remove_dir_all(&place).expect("it may be removed");
    } else {
        fs::remove_file(&place).expect("it may be removed");
    }
});
