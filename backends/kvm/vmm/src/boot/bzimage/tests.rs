use std::io::Cursor;

use super::*;

const RAM_END: u64 = 128 << 20;
const AT: u64 = 16 << 20;

fn header() -> setup_header {
    setup_header {
        setup_sects: 1,
        syssize: 0x1000 / 16,
        jump: 0x6aeb, // to the end of the structure
        header: MAGIC,
        version: 0x20f,
        loadflags: LOADED_HIGH,
        initrd_addr_max: 0x7fff_ffff,
        kernel_alignment: 2 << 20,
        xloadflags: XLF_KERNEL_64,
        cmdline_size: 2047,
        pref_address: AT,
        init_size: 0x100_0000,
        ..setup_header::default()
    }
}

fn file(header: setup_header) -> Vec<u8> {
    let mut bytes = vec![0xcc; 0x400 + 0x1000];
    let at = HEADER as usize;
    bytes[at..at + size_of_val(&header)].copy_from_slice(header.as_slice());
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
fn a_kernel_goes_where_it_would_like_to_be() {
    let plan = planned(&file(header())).unwrap();
    assert_eq!((plan.start, plan.entry, plan.end), (AT, AT + 0x200, AT + 0x100_0000));
    let setup_header { code32_start, cmdline_size, .. } = plan.header;
    assert_eq!((u64::from(code32_start), cmdline_size), (AT, 2047));
}

#[test]
fn no_setup_sectors_are_four() {
    let bytes = file(setup_header { setup_sects: 0, syssize: 0xa00 / 16, ..header() });
    assert!(planned(&bytes).is_ok());
    let bytes = file(setup_header { setup_sects: 0, syssize: 0xa10 / 16, ..header() });
    refused(&bytes, "compressed part (bytes 0xa00 and 0xa10 more)");
}

#[test]
fn what_is_behind_an_older_header_is_not_its() {
    // Up to 0x264, version 2.12: `handover_offset` and what follows is code.
    let bytes = file(setup_header {
        version: 0x20c,
        jump: 0x62eb,
        handover_offset: 0xcccc_cccc,
        ..header()
    });
    let setup_header { init_size, handover_offset, kernel_info_offset, .. } =
        planned(&bytes).unwrap().header;
    assert_eq!((init_size, handover_offset, kernel_info_offset), (0x100_0000, 0, 0));
}

#[test]
fn what_is_no_kernel() {
    let check = |header, expect: &str| refused(&file(header), expect);
    check(setup_header { header: 1, ..header() }, "it has 0x1 where 0x53726448 should be");
    check(setup_header { version: 0x20b, ..header() }, "boot protocol is 0x20b");
    check(setup_header { loadflags: 0, ..header() }, "its flags are 0x0 and 0x1");
    check(setup_header { xloadflags: 2, ..header() }, "its flags are 0x1 and 0x2");
    check(setup_header { syssize: u32::MAX, ..header() }, "0xffffffff0 more) is not in its file");
    check(setup_header { pref_address: 0x1000, ..header() }, "below 1 MiB");
    check(setup_header { pref_address: u64::MAX, ..header() }, "addresses do not go so far");
    check(setup_header { pref_address: RAM_END, ..header() }, "give the machine more memory");
    check(setup_header { init_size: u32::MAX, ..header() }, "needs RAM up to 0x100ffffff");
    check(setup_header { pref_address: AT + 1, ..header() }, "no multiple of the alignment");
    check(setup_header { kernel_alignment: 0, ..header() }, "no multiple of the alignment");
    refused(&file(header())[..0x26b], "header (bytes 0x1f1 and 0x7b more)");
    refused(&file(header())[..0x13ff], "compressed part (bytes 0x400 and 0x1000 more)");
    refused(&file(setup_header { syssize: 0, ..header() })[..0x600], "bytes 0x400 and 0x201 more");
    refused(&[], "not in its file of 0x0 bytes");
}

#[test]
fn arguments_are_no_longer_than_there_is_room() {
    let bytes = file(setup_header { cmdline_size: u32::MAX, ..header() });
    let setup_header { cmdline_size, .. } = planned(&bytes).unwrap().header;
    assert_eq!(cmdline_size as usize, CMDLINE_ROOM - 1);
}

/// Each byte of the header changed: an error or a plan, and a plan is in RAM.
#[test]
fn no_file_is_trusted() {
    for (at, byte) in (0x1f1..0x270).flat_map(|at| [0, 1, 0x7f, 0xff].map(|byte| (at, byte))) {
        let mut bytes = file(header());
        bytes[at] = byte;
        if let Ok(plan) = planned(&bytes) {
            assert!(plan.start >= 1 << 20 && plan.end <= RAM_END, "byte {at:#x}: {plan:?}");
        }
    }
}
