//! Requests of a block device: whatever is accepted is within the disk.
#![no_main]

use libfuzzer_sys::fuzz_target;
use microagent_devices::virtio::block::{
    Clear, Disk, ID_LEN, Request, SECTOR, SEGMENT_LEN, Shape, parse, parse_segment,
};
use microagent_fuzz::Input;

fn within(disk: Disk, offset: u64, len: u64) {
    assert!(len > 0 && len.is_multiple_of(SECTOR) && offset.is_multiple_of(SECTOR));
    let end = offset.checked_add(len).expect("an end");
    assert!(u128::from(end) <= u128::from(disk.sectors) * u128::from(SECTOR));
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let how = input.byte();
    let sectors = if how & 2 == 0 { input.number().into() } else { input.u64() };
    // No file is longer.
    let sectors: u64 = std::cmp::min(sectors, i64::MAX as u64 / SECTOR);
    let disk = Disk { sectors, read_only: how & 1 == 1 };
    let readable = input.number() as usize * if how & 4 == 0 { SEGMENT_LEN } else { 1 };
    let writable = input.number() as usize;
    let request = parse(&input.array(), Shape { readable, writable }, disk);
    match request {
        Ok(Request::Read { offset }) => {
            assert_eq!(readable, 0);
            within(disk, offset, writable as u64);
        }
        Ok(Request::Write { offset }) => {
            assert!(!disk.read_only && writable == 0);
            within(disk, offset, readable as u64);
        }
        Ok(Request::Flush) => assert_eq!((readable, writable), (0, 0)),
        Ok(Request::GetId) => assert_eq!((readable, writable), (0, ID_LEN)),
        Ok(Request::Clear { segments, .. }) => {
            assert!(!disk.read_only && writable == 0);
            assert_eq!(segments * SEGMENT_LEN, readable);
        }
        Err(_) => {}
    }
    for how in [Clear::Discard, Clear::WriteZeroes] {
        if let Ok(segment) = parse_segment(&input.array(), how, disk) {
            within(disk, segment.offset, segment.len);
            assert!(segment.unmap || how == Clear::WriteZeroes);
        }
    }
});
