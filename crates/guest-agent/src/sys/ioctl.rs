//! The device calls of setting up a guest.
#![allow(unsafe_code)] // an ioctl is what its number says, which no type can know

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// `EXT4_IOC_RESIZE_FS` of Linux's `fs/ext4/ext4.h`.
const EXT4_RESIZE: Opcode = opcode::write::<u64>(b'f', 16);
/// `SIOCADDRT` of Linux's `include/uapi/linux/sockios.h`, and others from there.
const ADD_ROUTE: Opcode = 0x890b;
/// `SIOCGIFFLAGS`
const GET_INTERFACE_FLAGS: Opcode = 0x8913;
/// `SIOCSIFFLAGS`
const SET_INTERFACE_FLAGS: Opcode = 0x8914;
/// `SIOCSIFADDR`
const SET_INTERFACE_ADDRESS: Opcode = 0x8916;
/// `SIOCSIFNETMASK`
const SET_INTERFACE_NETMASK: Opcode = 0x891c;
/// `SIOCSIFMTU`
const SET_INTERFACE_MTU: Opcode = 0x8922;
/// `IFF_UP` of Linux's `include/uapi/linux/if.h`.
const INTERFACE_UP: u16 = 1;
/// `RTF_UP` and `RTF_GATEWAY` of Linux's `include/uapi/linux/route.h`.
const ROUTE_BY_GATEWAY: u16 = 1 | 2;
/// `AF_INET` of Linux's `include/linux/socket.h`.
const INTERNET: u16 = 2;

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

/// The name of a network interface: at most 15 bytes, with a zero after them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InterfaceName([u8; 16]);

impl InterfaceName {
    /// The loopback interface.
    pub(crate) const LOOPBACK: Self = Self(*b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0");

    /// `None` for what is too long.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let mut name = [0; 16];
        name.get_mut(..text.len()).filter(|part| part.len() < 16)?.copy_from_slice(text.as_bytes());
        Some(Self(name))
    }
}

/// `struct ifreq` of Linux's `include/uapi/linux/if.h`, with flags, an address or a number.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    value: [u8; 24],
}

impl InterfaceRequest {
    fn new(name: &InterfaceName, value: &[u8]) -> Self {
        let mut request = Self { name: name.0, value: [0; 24] };
        request.value[..value.len()].copy_from_slice(value);
        request
    }
}

/// `struct sockaddr_in` of Linux's `include/uapi/linux/in.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SocketAddress {
    family: u16,
    port: u16,
    address: [u8; 4],
    zero: [u8; 8],
}

impl From<Ipv4Addr> for SocketAddress {
    fn from(address: Ipv4Addr) -> Self {
        Self { family: INTERNET, address: address.octets(), ..Self::default() }
    }
}

/// `struct rtentry` of Linux's `include/uapi/linux/route.h`, on a machine of 64 bits.
#[repr(C)]
#[derive(Default)]
struct RouteRequest {
    pad1: u64,
    destination: SocketAddress,
    gateway: SocketAddress,
    mask: SocketAddress,
    flags: u16,
    pad2: i16,
    pad3: u64,
    pad4: u64,
    metric: i16,
    device: u64,
    mtu: u64,
    window: u64,
    initial_rtt: u16,
}

/// Brings up an interface; the loopback interface gets its addresses by that.
pub(crate) fn interface_up(socket: BorrowedFd<'_>, name: &InterfaceName) -> io::Result<()> {
    let mut request = InterfaceRequest::new(name, &[]);
    interface_call::<GET_INTERFACE_FLAGS>(socket, &mut request)?;
    let [low, high, ..] = &mut request.value;
    [*low, *high] = (u16::from_ne_bytes([*low, *high]) | INTERFACE_UP).to_ne_bytes();
    interface_call::<SET_INTERFACE_FLAGS>(socket, &mut request)
}

/// Gives an interface an address.
pub(crate) fn set_address(
    socket: BorrowedFd<'_>,
    name: &InterfaceName,
    address: Ipv4Addr,
) -> io::Result<()> {
    interface_call::<SET_INTERFACE_ADDRESS>(socket, &mut with_address(name, address))
}

/// Says which part of an interface's address is its network's.
pub(crate) fn set_netmask(
    socket: BorrowedFd<'_>,
    name: &InterfaceName,
    mask: Ipv4Addr,
) -> io::Result<()> {
    interface_call::<SET_INTERFACE_NETMASK>(socket, &mut with_address(name, mask))
}

/// Says how long an interface's packets may be, in bytes.
pub(crate) fn set_mtu(socket: BorrowedFd<'_>, name: &InterfaceName, mtu: u16) -> io::Result<()> {
    let value = u32::from(mtu).to_ne_bytes();
    interface_call::<SET_INTERFACE_MTU>(socket, &mut InterfaceRequest::new(name, &value))
}

/// Sends what has no other way to this gateway.
pub(crate) fn add_default_route(socket: BorrowedFd<'_>, gateway: Ipv4Addr) -> io::Result<()> {
    let mut request = RouteRequest {
        destination: Ipv4Addr::UNSPECIFIED.into(),
        gateway: gateway.into(),
        mask: Ipv4Addr::UNSPECIFIED.into(),
        flags: ROUTE_BY_GATEWAY,
        ..RouteRequest::default()
    };
    // SAFETY: SIOCADDRT reads a `struct rtentry`, 120 bytes, which this is; its pointer to the
    // name of a device is null.
    Ok(unsafe { ioctl(socket, Updater::<ADD_ROUTE, _>::new(&mut request)) }?)
}

fn with_address(name: &InterfaceName, address: Ipv4Addr) -> InterfaceRequest {
    let SocketAddress { family, address, .. } = address.into();
    let [low, high] = family.to_ne_bytes();
    let [a, b, c, d] = address;
    InterfaceRequest::new(name, &[low, high, 0, 0, a, b, c, d])
}

fn interface_call<const OPCODE: Opcode>(
    socket: BorrowedFd<'_>,
    request: &mut InterfaceRequest,
) -> io::Result<()> {
    // SAFETY: the calls on an interface's flags, addresses and MTU read and write a `struct
    // ifreq`, 40 bytes, which this is; none of those holds a pointer.
    Ok(unsafe { ioctl(socket, Updater::<OPCODE, _>::new(request)) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_kernel() {
        assert_eq!(size_of::<MapperHeader>(), 312);
        assert_eq!(size_of::<MapperTarget>(), 40);
        assert_eq!(size_of::<InterfaceRequest>(), 40);
        assert_eq!(size_of::<SocketAddress>(), 16);
        assert_eq!(size_of::<RouteRequest>(), 120);
        assert_eq!(std::mem::offset_of!(RouteRequest, flags), 56);
        assert_eq!(std::mem::offset_of!(RouteRequest, device), 88);
        assert_eq!(mapper(3), 0xc138_fd03);
        assert_eq!(EXT4_RESIZE, 0x4008_6610);
    }

    #[test]
    fn names_are_short() {
        assert_eq!(InterfaceName::new("lo").unwrap().0, InterfaceName::LOOPBACK.0);
        assert!(InterfaceName::new("fifteen-letters").is_some());
        assert!(InterfaceName::new("sixteen-letters-").is_none());
    }
}
