//! The tables of processors and devices: one kind or the other, never both.

use microagent_vmm_protocol::Announcement;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{BootError, BootRequest};
use crate::arch::layout::{ACPI_TABLES, MP_TABLE, TABLES_ROOM};
use crate::arch::x86_64::{acpi, mptable};

/// Writes them, and says where ACPI's root pointer is if there is one.
pub(super) fn write(
    memory: &GuestMemoryMmap,
    request: &BootRequest<'_>,
) -> Result<Option<u64>, BootError> {
    let BootRequest { vcpus, devices, .. } = *request;
    let (what, at, bytes, root_pointer) = match request.announcement {
        Announcement::Arguments => {
            ("MP table", MP_TABLE, mptable::build(MP_TABLE, vcpus, devices), None)
        }
        Announcement::Acpi => {
            let bytes = acpi::build(ACPI_TABLES, vcpus, devices);
            ("ACPI tables", ACPI_TABLES, bytes, Some(ACPI_TABLES))
        }
    };
    if bytes.len() > TABLES_ROOM {
        return Err(BootError::TablesTooLong { what, len: bytes.len(), max: TABLES_ROOM });
    }
    memory.write_slice(&bytes, GuestAddress(at)).map_err(|source| BootError::Write {
        what,
        at,
        source,
    })?;
    Ok(root_pointer)
}
