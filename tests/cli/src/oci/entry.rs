//! One member of a layer.

use tar::EntryType;

/// One member of a layer: by default of root, dated 2020, mode 0644 or 0755.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) link: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) mtime: u64,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) pax: Vec<(String, Vec<u8>)>,
}

/// The first second of 2020.
const DATE: u64 = 1_577_836_800;

impl Entry {
    fn new(path: impl AsRef<[u8]>, kind: EntryType, mode: u32) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            kind,
            link: Vec::new(),
            content: Vec::new(),
            mode,
            owner: (0, 0),
            mtime: DATE,
            device: None,
            pax: Vec::new(),
        }
    }

    /// A regular file.
    pub fn file(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Self {
        Self { content: content.into(), ..Self::new(path, EntryType::Regular, 0o644) }
    }

    /// A file of this length whose last four bytes are all that is in the archive.
    pub fn sparse(path: &str, size: u64) -> Self {
        Self::file("x", "end\n")
            .pax("GNU.sparse.size", size.to_string())
            .pax("GNU.sparse.map", format!("{},4", size - 4))
            .pax("GNU.sparse.name", path)
    }

    /// An empty file that hides `name` of a lower layer.
    pub fn whiteout(path: &str) -> Self {
        let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
        let slash = if dir.is_empty() { "" } else { "/" };
        Self::file(format!("{dir}{slash}.wh.{name}"), "")
    }

    /// The marker that hides all that lower layers have in `dir`.
    pub fn opaque(dir: &str) -> Self {
        Self::file(format!("{dir}/.wh..wh..opq"), "")
    }

    /// A directory.
    pub fn dir(path: impl AsRef<[u8]>) -> Self {
        Self::new(path, EntryType::Directory, 0o755)
    }

    /// A symbolic link.
    pub fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let link = target.as_ref().to_owned();
        Self { link, ..Self::new(path, EntryType::Symlink, 0o777) }
    }

    /// Another name of a file.
    pub fn hardlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let link = target.as_ref().to_owned();
        Self { link, ..Self::new(path, EntryType::Link, 0o644) }
    }

    /// A character device.
    pub fn character(path: &str, major: u32, minor: u32) -> Self {
        Self { device: Some((major, minor)), ..Self::new(path, EntryType::Char, 0o644) }
    }

    /// A block device.
    pub fn block(path: &str, major: u32, minor: u32) -> Self {
        Self { device: Some((major, minor)), ..Self::new(path, EntryType::Block, 0o660) }
    }

    /// A named pipe.
    pub fn fifo(path: &str) -> Self {
        Self::new(path, EntryType::Fifo, 0o644)
    }

    /// Permission bits, set-uid and the like.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// User and group.
    pub fn owner(self, user: u64, group: u64) -> Self {
        Self { owner: (user, group), ..self }
    }

    /// Seconds since 1970.
    pub fn mtime(self, mtime: u64) -> Self {
        Self { mtime, ..self }
    }

    /// An extended attribute.
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// A record of an extended header.
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.to_owned(), value.as_ref().to_owned()));
        self
    }
}
