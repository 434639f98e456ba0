use std::io::Cursor;

use super::*;

const RAM_END: u64 = 128 << 20;
const AT: u64 = 16 << 20;

/// A segment: type, offset in the file, address, bytes in the file, bytes in memory.
type Segment = (u32, u64, u64, u64, u64);

fn elf(entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut header = Elf64_Ehdr {
        e_type: TYPE_EXECUTABLE,
        e_machine: MACHINE_X86_64,
        e_entry: entry,
        e_phoff: HEADER_LEN,
        e_phentsize: SEGMENT_LEN as u16,
        e_phnum: segments.len() as u16,
        ..Elf64_Ehdr::default()
    };
    header.e_ident[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut bytes = header.as_slice().to_vec();
    for &(p_type, p_offset, p_paddr, p_filesz, p_memsz) in segments {
        let segment =
            Elf64_Phdr { p_type, p_offset, p_paddr, p_filesz, p_memsz, ..Default::default() };
        bytes.extend(segment.as_slice());
    }
    bytes.resize(0x1000, 0x90);
    bytes
}

fn note(owner: &[u8], kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (owner.len() as u32).to_le_bytes().to_vec();
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(owner);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn planned(bytes: &[u8]) -> Result<Plan, BootError> {
    plan(&mut Cursor::new(bytes), bytes.len() as u64, RAM_END)
}

fn refused(bytes: &[u8], expect: &str) {
    let got = planned(bytes).map_or_else(|e| e.to_string(), |plan| format!("{plan:?}"));
    assert!(got.contains(expect), "{expect}: {got}");
}

#[test]
fn a_kernel_of_several_segments() {
    let segments = [
        (PT_LOAD, 0x200, AT, 0x100, 0x100),
        (PT_LOAD, 0, 0, 0, 0), // nothing, anywhere
        (PT_LOAD, 0x300, AT + 0x2000, 0x100, 0x5000),
        (PT_LOAD, 0x300, AT + 0x1000, 0, 0x1000),
        (7, u64::MAX, 0, u64::MAX, 0),
    ];
    let expect = Plan { entry: AT + 0x80, pvh: None, end: AT + 0x7000 };
    assert_eq!(planned(&elf(AT + 0x80, &segments)).unwrap(), expect);
}

#[test]
fn pvh_is_found_in_whichever_notes_have_it() {
    let mut bytes = elf(
        0xffff_ffff_8000_0000, // of no consequence then
        &[
            (PT_LOAD, 0x200, AT, 0x100, 0x100),
            (PT_NOTE, 0x400, 0, 0x80, 0x80),
            (PT_NOTE, 0x500, 0, 0x10, 0x10),
        ],
    );
    let entry = (AT + 8).to_le_bytes();
    let notes = [note(b"GNU\0", 3, &[1; 20]), note(b"Xen\0", 18, &entry)].concat();
    bytes[0x400..0x400 + notes.len()].copy_from_slice(&notes);
    assert_eq!(planned(&bytes).unwrap().pvh, Some(AT + 8));
    // Not in a segment.
    bytes[0x400 + notes.len() - 8 + 3] = 0x7f;
    refused(&bytes, "first instruction would be at 0x7f000008");
}

#[test]
fn notes_of_others_and_broken_ones() {
    let entry = 0x100_0000u32.to_le_bytes();
    let check = |notes: &[u8], expect| assert_eq!(pvh_entry(notes), expect, "{notes:x?}");
    check(&note(b"Xen\0", 18, &entry), Some(0x100_0000));
    check(&note(b"Xen\0", 17, &entry), None);
    check(&note(b"Xen", 18, &entry), None);
    check(&note(b"Xen\0", 18, &entry[..3]), None);
    check(&note(b"Xen\0", 18, &entry)[..19], None);
    check(&[note(b"odd", 1, &[1]), note(b"Xen\0", 18, &entry)].concat(), Some(0x100_0000));
    check(&[0xff; 64], None);
    check(&[0xff; 11], None);
    check(&[], None);
}

#[test]
fn what_is_no_kernel() {
    let good = elf(AT, &[(PT_LOAD, 0x200, AT, 0x100, 0x100)]);
    let check = |at: usize, byte: u8, expect: &str| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        refused(&bytes, expect);
    };
    refused(&good, "entry: 16777216");
    check(1, b'F', "it begins with [7f, 46, 4c, 46]");
    check(4, 1, "its class is 1");
    check(5, 2, "its byte order 2");
    check(16, 3, "its type is 3");
    check(18, 3, "its machine 3");
    check(32, 63, "is at 0x3f");
    check(39, 0xff, "table of segments (bytes 0xff00000000000040");
    check(54, 57, "with 57 bytes each");
    check(56, 0, "it has 0 segments");
    check(57, 0xff, "it has 65281 segments");
    refused(&good[..63], "header (bytes 0x0 and 0x40 more) is not in its file of 0x3f bytes");
    refused(&good[..119], "table of segments (bytes 0x40 and 0x38 more)");
    refused(&good[..0x2ff], "segment (bytes 0x200 and 0x100 more)");
}

#[test]
fn segments_where_they_cannot_be() {
    let check = |segment: Segment, expect: &str| {
        let bytes = elf(AT, &[(PT_LOAD, 0x200, AT, 0x100, 0x100), segment]);
        refused(&bytes, expect);
    };
    check((PT_LOAD, 0xfff, AT * 2, 2, 2), "bytes 0xfff and 0x2 more");
    check((PT_LOAD, u64::MAX, AT * 2, 2, 2), "bytes 0xffffffffffffffff and 0x2 more");
    check((PT_LOAD, 0, AT * 2, 3, 2), "its file has more bytes than that");
    check((PT_LOAD, 0, 0x7000, 1, 1), "0x7000 to 0x7001: below 1 MiB");
    check((PT_LOAD, 0, 0xf_ffff, 1, 1), "below 1 MiB");
    check((PT_LOAD, 0, AT * 2, 1, u64::MAX), "addresses do not go so far");
    check((PT_LOAD, 0, RAM_END, 1, 1), "needs RAM up to 0x8000001");
    check((PT_LOAD, 0, 1 << 40, 1, 1), "there is none from 0x8000000: give the machine more");
    check((PT_LOAD, 0, AT - 1, 1, 2), "another segment is there");
    check((PT_LOAD, 0, AT + 0xff, 1, 1), "another segment is there");
    check((PT_LOAD, 0, AT, 1, 1), "another segment is there");
    check((PT_NOTE, 0xfff, 0, 2, 0), "notes (bytes 0xfff and 0x2 more)");
    refused(&elf(AT, &[(PT_NOTE, 0, 0, 0, 0)]), "no segment is there");
    refused(&elf(AT - 1, &[(PT_LOAD, 0, AT, 1, 1)]), "no segment is there");
    refused(&elf(AT + 1, &[(PT_LOAD, 0, AT, 1, 1)]), "no segment is there");
}

#[test]
fn long_notes_are_not_read() {
    let mut bytes = elf(AT, &[(PT_LOAD, 0, AT, 1, 1), (PT_NOTE, 0, 0, MAX_NOTES + 1, 0)]);
    bytes.resize(MAX_NOTES as usize * 2, 0);
    refused(&bytes, "notes has 65537 bytes, the most is 65536");
}

/// Each byte of the headers changed, and the file cut everywhere: an error or a plan, and
/// a plan is in RAM.
#[test]
fn no_file_is_trusted() {
    let mut bytes = elf(
        AT,
        &[(PT_LOAD, 0x200, AT, 0x100, 0x100), (PT_NOTE, 0x400, 0, 0x40, 0), (PT_LOAD, 0, 0, 0, 0)],
    );
    let notes = note(b"Xen\0", 18, &AT.to_le_bytes());
    bytes[0x400..0x400 + notes.len()].copy_from_slice(&notes);
    let headers = (0..232).chain(0x400..0x440);
    for (at, byte) in headers.flat_map(|at| [0, 1, 0x7f, 0x80, 0xff].map(|byte| (at, byte))) {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        if let Ok(plan) = planned(&bytes) {
            assert!(plan.end <= RAM_END, "byte {at}: {plan:?}");
        }
    }
    for len in 0..bytes.len() {
        let _ = planned(&bytes[..len]);
    }
}
