//! The device calls of setting up a guest.
#![allow(unsafe_code)] // an ioctl is what its number says, which no type can know

use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// `EXT4_IOC_RESIZE_FS` of Linux's `fs/ext4/ext4.h`.
const EXT4_RESIZE: Opcode = opcode::write::<u64>(b'f', 16);
/// `SIOCGIFFLAGS` of Linux's `include/uapi/linux/sockios.h`.
const GET_INTERFACE_FLAGS: Opcode = 0x8913;
/// `SIOCSIFFLAGS`, there too.
const SET_INTERFACE_FLAGS: Opcode = 0x8914;
/// `IFF_UP` of Linux's `include/uapi/linux/if.h`.
const INTERFACE_UP: u16 = 1;

/// `struct dm_ioctl` of Linux's `include/uapi/linux/dm-ioctl.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MapperHeader {
    pub(crate) version: [u32; 3],
    pub(crate) data_size: u32,
    pub(crate) data_start: u32,
    pub(crate) target_count: u32,
    pub(crate) open_count: i32,
    pub(crate) flags: u32,
    pub(crate) event_nr: u32,
    pub(crate) padding: u32,
    pub(crate) device: u64,
    pub(crate) name: [u8; 128],
    pub(crate) uuid: [u8; 129],
    pub(crate) data: [u8; 7],
}

/// `struct dm_target_spec`, there too.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MapperTarget {
    pub(crate) sector_start: u64,
    pub(crate) length: u64,
    pub(crate) status: i32,
    pub(crate) next: u32,
    pub(crate) kind: [u8; 16],
}

/// Room for the parameters of the one target of a table.
pub(crate) const MAPPER_PARAMETERS: usize = 128;

/// A request with a table of one target.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MapperTable {
    pub(crate) header: MapperHeader,
    pub(crate) target: MapperTarget,
    pub(crate) parameters: [u8; MAPPER_PARAMETERS],
}

const fn mapper(number: u8) -> Opcode {
    opcode::read_write::<MapperHeader>(0xfd, number)
}

/// `DM_DEV_CREATE`
pub(crate) fn mapper_create(control: BorrowedFd<'_>, table: &mut MapperTable) -> io::Result<()> {
    mapper_call::<{ mapper(3) }>(control, table)
}

/// `DM_DEV_SUSPEND`; without its flag it resumes.
pub(crate) fn mapper_resume(control: BorrowedFd<'_>, table: &mut MapperTable) -> io::Result<()> {
    mapper_call::<{ mapper(6) }>(control, table)
}

/// `DM_TABLE_LOAD`
pub(crate) fn mapper_load(control: BorrowedFd<'_>, table: &mut MapperTable) -> io::Result<()> {
    mapper_call::<{ mapper(9) }>(control, table)
}

fn mapper_call<const OPCODE: Opcode>(
    control: BorrowedFd<'_>,
    table: &mut MapperTable,
) -> io::Result<()> {
    table.header.data_size = size_of::<MapperTable>() as u32;
    // SAFETY: device-mapper reads and writes `data_size` bytes from the pointer, which is
    // the size of the plain-data struct behind it, set just above.
    Ok(unsafe { ioctl(control, Updater::<OPCODE, MapperTable>::new(table)) }?)
}

/// Grows a mounted ext4 to this many blocks.
pub(crate) fn resize_ext4(file_system: BorrowedFd<'_>, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64.
    Ok(unsafe { ioctl(file_system, Setter::<EXT4_RESIZE, u64>::new(blocks)) }?)
}

/// `struct ifreq` as far as flags are concerned.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Brings up the loopback interface; the kernel gives it its addresses.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut request = InterfaceRequest { name: [0; 16], flags: 0, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: both calls read and write a `struct ifreq`, 40 bytes, which this is.
    unsafe {
        ioctl(socket, Updater::<GET_INTERFACE_FLAGS, _>::new(&mut request))?;
        request.flags |= INTERFACE_UP;
        ioctl(socket, Updater::<SET_INTERFACE_FLAGS, _>::new(&mut request))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_kernel() {
        assert_eq!(size_of::<MapperHeader>(), 312);
        assert_eq!(size_of::<MapperTarget>(), 40);
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(mapper(3), 0xc138_fd03);
        assert_eq!(EXT4_RESIZE, 0x4008_6610);
    }
}
