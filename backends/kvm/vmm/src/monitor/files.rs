//! Everything that a monitor opens, before it may open nothing more.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use microagent_vmm_protocol::{
    CONTROL_LISTENER_FD, MonitorDisk, MonitorSpec, NET_FD, SPEC_FD, VSOCK_LISTENER_FD,
};
use rustix::fs::OFlags;

use super::lock::{self, LockError, Use};
use crate::inherited::{self, InheritedError};
use crate::spec::{self, SpecError};

/// Why something could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("cannot use standard output as the console")]
    Console(#[source] io::Error),
    #[error("cannot open /dev/kvm, load KVM's modules and see that this user may use it")]
    Kvm(#[source] io::Error),
    #[error("cannot open the {what} {path}")]
    Open {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the image {path} of disk {id:?} cannot be used")]
    Lock {
        id: String,
        path: PathBuf,
        #[source]
        source: LockError,
    },
}

/// What a monitor works with.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) kvm: File,
    pub(crate) kernel: File,
    pub(crate) initramfs: File,
    /// In the order of the specification.
    pub(crate) disks: Vec<DiskFile>,
    /// Where the guest's console goes.
    pub(crate) console: File,
    pub(crate) control: UnixListener,
    pub(crate) vsock: OwnedFd,
    /// There if the specification has a network device.
    pub(crate) net: Option<OwnedFd>,
}

/// A disk's image, locked.
#[derive(Debug)]
pub(crate) struct DiskFile {
    pub(crate) file: File,
    /// How long it is, in bytes.
    pub(crate) len: u64,
}

impl Files {
    /// Takes what was passed, reads the specification, and opens what it names.
    pub(crate) fn open() -> Result<(MonitorSpec, Self), FileError> {
        const CONTROL: (i32, &str) = (CONTROL_LISTENER_FD, "control listener");
        const VSOCK: (i32, &str) = (VSOCK_LISTENER_FD, "hybrid vsock listener");
        const SPEC: (i32, &str) = (SPEC_FD, "specification");
        // Whether there is a network device is not known before the specification is read, and
        // it cannot be read before the descriptors are taken.
        let net = (NET_FD, "host end of the network device");
        let ([control, vsock, spec], net) =
            inherited::take_with_optional([CONTROL, VSOCK, SPEC], net)?;
        let spec: MonitorSpec = spec::read(File::from(spec))?;
        let net = match (&spec.net, net) {
            (Some(_), Some(net)) => Some(net),
            (Some(_), None) => return Err(missing_net().into()),
            (None, _) => None,
        };
        let console = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
            .map_err(|e| FileError::Console(e.into()))?;
        let files = Self {
            kvm: File::options().read(true).write(true).open("/dev/kvm").map_err(FileError::Kvm)?,
            kernel: open("kernel", &spec.kernel, Use::Reading)?,
            initramfs: open("initramfs", &spec.initramfs, Use::Reading)?,
            disks: spec.disks.iter().map(DiskFile::open).collect::<Result<_, _>>()?,
            console: console.into(),
            control: control.into(),
            vsock,
            net,
        };
        Ok((spec, files))
    }
}

impl DiskFile {
    fn open(disk: &MonitorDisk) -> Result<Self, FileError> {
        let MonitorDisk { id, path, read_only } = disk;
        let how = if *read_only { Use::Reading } else { Use::Writing };
        let mut file = open("disk", path, how)?;
        lock::lock(&file, how).map_err(|source| FileError::Lock {
            id: id.clone(),
            path: path.clone(),
            source,
        })?;
        let len = io::Seek::seek(&mut file, io::SeekFrom::End(0))
            .map_err(|source| FileError::Open { what: "disk", path: path.clone(), source })?;
        Ok(Self { file, len })
    }
}

fn open(what: &'static str, path: &Path, how: Use) -> Result<File, FileError> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(true)
        .write(how == Use::Writing)
        // Something that is no file at all, such as a pipe, must not hold this up.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|source| FileError::Open { what, path: path.to_owned(), source })
}

fn missing_net() -> InheritedError {
    InheritedError::Missing {
        fd: NET_FD,
        what: "host end of the network device",
        source: io::Error::from_raw_os_error(libc::EBADF),
    }
}
