//! A throw-away writable layer over a shared read-only disk: a non-persistent snapshot of
//! device-mapper. See `Documentation/admin-guide/device-mapper/snapshot.rst` of Linux.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::disk::Disk;
use crate::failure::SetupError;
use crate::sys::ioctl::{
    MAPPER_PARAMETERS, MapperHeader, MapperTable, MapperTarget, mapper_create, mapper_load,
    mapper_resume,
};

const CONTROL: &str = "/dev/mapper/control";
/// Version of the interface that is used here; kernels accept any with the same major.
const INTERFACE: [u32; 3] = [4, 0, 0];
const NAME: &[u8] = b"root";
/// The first device that device-mapper makes.
const DEVICE: &str = "dm-0";
/// What is copied at a time, in sectors: 4 KiB, a page and a block of the file system, so
/// that a write of a whole block copies nothing it does not replace.
const CHUNK: u32 = 8;

/// Makes the device and gives the kernel's name of it. It is as large as the base.
pub(crate) fn snapshot(base: &Disk, scratch: &Disk) -> Result<&'static str, SetupError> {
    let no_mapper = "; a kernel needs CONFIG_BLK_DEV_DM";
    let no_snapshot = "; a kernel needs CONFIG_DM_SNAPSHOT, and a scratch disk that is writable";
    let failed = |step, hint| move |error| SetupError::Mapper { step, error, hint };
    let control = File::options().read(true).write(true).open(CONTROL);
    let control = control.map_err(failed("open /dev/mapper/control", no_mapper))?;
    let control = control.as_fd();

    let mut table = table(base.sectors()?, &parameters(&base.node(), &scratch.node()))
        .map_err(failed("parameters", ""))?;
    let header = table.header;
    mapper_create(control, &mut table).map_err(failed("create", ""))?;
    table.header = MapperHeader { target_count: 1, ..header };
    mapper_load(control, &mut table).map_err(failed("load", no_snapshot))?;
    table.header = header;
    mapper_resume(control, &mut table).map_err(failed("resume", ""))?;
    Ok(DEVICE)
}

/// `N`: what is in the scratch disk means nothing once the machine is gone.
fn parameters(base: &str, scratch: &str) -> String {
    format!("{base} {scratch} N {CHUNK}")
}

fn table(length: u64, parameters: &str) -> io::Result<MapperTable> {
    let mut table = MapperTable {
        header: MapperHeader {
            version: INTERFACE,
            data_size: size_of::<MapperTable>() as u32,
            data_start: size_of::<MapperHeader>() as u32,
            target_count: 0,
            open_count: 0,
            flags: 0,
            event_nr: 0,
            padding: 0,
            device: 0,
            name: [0; 128],
            uuid: [0; 129],
            data: [0; 7],
        },
        target: MapperTarget {
            sector_start: 0,
            length,
            status: 0,
            next: size_of::<MapperTarget>() as u32 + MAPPER_PARAMETERS as u32,
            kind: [0; 16],
        },
        parameters: [0; MAPPER_PARAMETERS],
    };
    table.header.name[..NAME.len()].copy_from_slice(NAME);
    table.target.kind[..8].copy_from_slice(b"snapshot");
    // One byte stays zero: the text ends there.
    let room = table.parameters.get_mut(..parameters.len()).filter(|r| r.len() < MAPPER_PARAMETERS);
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(parameters.as_bytes());
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_one_snapshot_as_large_as_the_base() {
        let table = table(4096, &parameters("/dev/vda", "/dev/vdb")).unwrap();
        assert!(table.parameters.starts_with(b"/dev/vda /dev/vdb N 8\0"));
        assert_eq!((table.target.length, table.header.data_start), (4096, 312));
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        assert!(table(1, &"x".repeat(MAPPER_PARAMETERS - 1)).is_ok());
        assert!(table(1, &"x".repeat(MAPPER_PARAMETERS)).is_err());
    }
}
