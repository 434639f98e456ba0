//! Tar archives, read without extracting anything: a table of what is where.
//!
//! The headers are walked here and not by the `tar` crate's own iterator, because that
//! reads long names and extended headers of any length into memory.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tar::{EntryType, Header, PaxExtensions};

use super::local::Section;
use crate::compression::{Compression, Found, MAGIC_BYTES};
use crate::error::within;
use crate::store::open_regular;
use crate::{ImageError, Result, limits};

const BLOCK: u64 = 512;

/// How many headers are read before other tasks may go on.
const HEADERS_AT_ONCE: usize = 256;

/// The members of a tar by their normalised names.
#[derive(Debug)]
pub(crate) struct Archive {
    file: Arc<File>,
    path: PathBuf,
    members: HashMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, len: u64 },
    Symlink(String),
    HardLink(String),
}

/// What extended headers say about the member after them.
#[derive(Default)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Archive {
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let failed = |error| ImageError::io("open", path, error);
        let file = open_regular(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let all = Section { file: Arc::new(file), path: path.to_owned(), offset: 0, len };
        refuse_compressed(path, &all.first(MAGIC_BYTES)?)?;
        let mut walk =
            Walk { all, at: 0, extension: Extension::default(), members: HashMap::new() };
        let mut count = 0;
        while walk.step()? {
            count += 1;
            within("the number of the archive's members", count, limits::ARCHIVE_MEMBERS as u64)?;
            if count.is_multiple_of(HEADERS_AT_ONCE as u64) {
                tokio::task::yield_now().await;
            }
        }
        let Walk { all, members, .. } = walk;
        Ok(Self { file: all.file, path: all.path, members })
    }

    /// The content under `name`; links are followed within the archive.
    pub(crate) fn section(&self, name: &str) -> Result<Option<Section>> {
        let mut name = normal("", name);
        for _ in 0..=limits::ARCHIVE_LINKS {
            let Some(current) = name else { return Ok(None) };
            name = match self.members.get(&current) {
                None => None,
                Some(Member::File { offset, len }) => {
                    return Ok(Some(Section {
                        file: Arc::clone(&self.file),
                        path: self.path.clone(),
                        offset: *offset,
                        len: *len,
                    }));
                }
                Some(Member::HardLink(target)) => normal("", target),
                Some(Member::Symlink(target)) => {
                    let parent = current.rsplit_once('/').map_or("", |(parent, _)| parent);
                    normal(parent, target)
                }
            };
        }
        Err(self.malformed(format!("'{name:?}' is behind too many links")))
    }

    fn malformed(&self, reason: impl ToString) -> ImageError {
        ImageError::malformed(format!("archive '{}'", self.path.display()), reason)
    }
}

/// One pass over the headers.
struct Walk {
    all: Section,
    at: u64,
    extension: Extension,
    members: HashMap<String, Member>,
}

impl Walk {
    /// Takes one header; `false` at the end of the archive.
    fn step(&mut self) -> Result<bool> {
        let Some(header) = self.header()? else { return Ok(false) };
        let kind = header.entry_type();
        let content = self.content(&header)?;
        // Content is padded to whole blocks.
        self.at = content.offset.saturating_add(content.len.next_multiple_of(BLOCK));
        match kind {
            EntryType::GNULongName => self.extension.name = Some(self.long_name(&content)?),
            EntryType::GNULongLink => self.extension.link = Some(self.long_name(&content)?),
            EntryType::XHeader => self.read_pax(&content)?,
            EntryType::XGlobalHeader => (),
            _ => self.member(&header, kind, &content)?,
        }
        Ok(true)
    }

    fn header(&self) -> Result<Option<Header>> {
        // Some tools leave out the two blocks of zeros at the end.
        if self.at == self.all.len {
            return Ok(None);
        }
        if self.all.len.saturating_sub(self.at) < BLOCK {
            return Err(self.malformed("it is truncated"));
        }
        let mut header = Header::new_old();
        let read = self.all.file.read_exact_at(header.as_mut_bytes(), self.at);
        read.map_err(|error| ImageError::io("read", &self.all.path, error))?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let stored = header.cksum().map_err(|error| self.malformed(error))?;
        match stored == checksum(header.as_bytes()) {
            true => Ok(Some(header)),
            false => Err(self.malformed("it is no tar, or a header in it is damaged")),
        }
    }

    fn content(&mut self, header: &Header) -> Result<Section> {
        let announced = header.entry_size().map_err(|error| self.malformed(error))?;
        let is_member = !matches!(
            header.entry_type(),
            EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader
        );
        let len = match self.extension.size {
            Some(size) if is_member => size,
            _ => announced,
        };
        let offset = self.at + BLOCK;
        if offset.checked_add(len).is_none_or(|end| end > self.all.len) {
            return Err(self.malformed("it is truncated"));
        }
        Ok(Section { offset, len, ..self.all.clone() })
    }

    fn member(&mut self, header: &Header, kind: EntryType, content: &Section) -> Result<()> {
        let extension = std::mem::take(&mut self.extension);
        let name = match extension.name {
            Some(name) => name,
            None => text(&header.path_bytes()),
        };
        let link = || match (extension.link, header.link_name_bytes()) {
            (Some(link), _) => link,
            (None, Some(bytes)) => text(&bytes),
            (None, None) => String::new(),
        };
        let member = match kind {
            EntryType::Regular | EntryType::Continuous => {
                Member::File { offset: content.offset, len: content.len }
            }
            EntryType::Symlink => Member::Symlink(link()),
            EntryType::Link => Member::HardLink(link()),
            // Directories and the like have no content to look up.
            _ => return Ok(()),
        };
        // A name that leads out of the archive cannot be asked for, so it is not kept.
        if let Some(name) = normal("", &name) {
            self.members.insert(name, member);
        }
        Ok(())
    }

    fn long_name(&self, content: &Section) -> Result<String> {
        let bytes = content.read("a name in the archive", limits::ARCHIVE_NAME_BYTES)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok(text(bytes.get(..end).unwrap_or_default()))
    }

    fn read_pax(&mut self, content: &Section) -> Result<()> {
        let what = "an extended header in the archive";
        let bytes = content.read(what, limits::ARCHIVE_EXTENSION_BYTES)?;
        for record in PaxExtensions::new(&bytes) {
            let record = record.map_err(|error| self.malformed(error))?;
            let value = text(record.value_bytes());
            match record.key_bytes() {
                b"path" => self.extension.name = Some(value),
                b"linkpath" => self.extension.link = Some(value),
                b"size" => {
                    let size = value.parse().map_err(|error| self.malformed(error))?;
                    self.extension.size = Some(size);
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn malformed(&self, reason: impl ToString) -> ImageError {
        ImageError::malformed(format!("archive '{}'", self.all.path.display()), reason)
    }
}

/// The sum of a header's bytes, with those of the sum itself taken as spaces.
fn checksum(header: &[u8; 512]) -> u32 {
    let byte = |(at, byte): (usize, &u8)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(*byte),
    };
    header.iter().enumerate().map(byte).sum()
}

/// Names that are not UTF-8 cannot be asked for, so it does not matter how they are read.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `name` as seen from the directory `parent`, without `.` and `..`; `None` if it leads out.
fn normal(parent: &str, name: &str) -> Option<String> {
    let parent = if name.starts_with('/') { "" } else { parent };
    let mut parts: Vec<&str> = Vec::new();
    for part in parent.split('/').chain(name.split('/')) {
        match part {
            "" | "." => (),
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn refuse_compressed(path: &Path, first: &[u8]) -> Result<()> {
    match Compression::of_content(first) {
        Found::Known(Compression::None) => Ok(()),
        found => Err(ImageError::Unsupported {
            what: format!("archive '{}'", path.display()),
            reason: format!("it is compressed ({found})"),
            hint: Some("decompress it first: the content is read in place".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn add(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }

    fn link(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }

    async fn open(bytes: &[u8]) -> Result<Archive> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Archive::open(file.path()).await
    }

    fn get(archive: &Archive, name: &str) -> Option<String> {
        let section = archive.section(name).unwrap()?;
        Some(String::from_utf8(section.read("member", 100).unwrap()).unwrap())
    }

    #[tokio::test]
    async fn members_are_found_by_name_and_through_links() {
        let mut builder = tar::Builder::new(Vec::new());
        let long = format!("{}/layer.tar", "d".repeat(200));
        add(&mut builder, "a/layer.tar", b"one");
        add(&mut builder, &long, b"two");
        link(&mut builder, EntryType::Symlink, "b/layer.tar", "../a/layer.tar");
        link(&mut builder, EntryType::Link, "c", "b/layer.tar");
        link(&mut builder, EntryType::Symlink, "out", "../../etc/passwd");
        link(&mut builder, EntryType::Symlink, "round", "round");
        let archive = open(&builder.into_inner().unwrap()).await.unwrap();
        assert_eq!(get(&archive, "a/layer.tar").as_deref(), Some("one"));
        assert_eq!(get(&archive, "./a/../a/layer.tar").as_deref(), Some("one"));
        assert_eq!(get(&archive, "b/layer.tar").as_deref(), Some("one"));
        assert_eq!(get(&archive, "c").as_deref(), Some("one"));
        assert_eq!(get(&archive, &long).as_deref(), Some("two"));
        assert_eq!(get(&archive, "out"), None);
        assert_eq!(get(&archive, "../a/layer.tar"), None);
        assert_eq!(get(&archive, "absent"), None);
        assert_eq!(archive.section("round").unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn extended_headers_give_name_and_size() {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", b"real".as_slice())]).unwrap();
        add(&mut builder, "short", b"content");
        let archive = open(&builder.into_inner().unwrap()).await.unwrap();
        assert_eq!(get(&archive, "real").as_deref(), Some("content"));
        assert_eq!(get(&archive, "short"), None);
    }

    #[tokio::test]
    async fn what_is_no_whole_tar_is_refused() {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, "a", &[1; 2000]);
        let whole = builder.into_inner().unwrap();
        for len in [100, 512, 1000, 2400] {
            let error = open(&whole[..len]).await.expect_err("truncated");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        let mut damaged = whole.clone();
        damaged[3] ^= 1;
        assert_eq!(open(&damaged).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let gzip = [&[0x1f, 0x8b, 8][..], &[0; 600]].concat();
        assert_eq!(open(&gzip).await.unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(get(&open(b"").await.unwrap(), "a").is_none());
    }

    #[tokio::test]
    async fn a_header_may_not_announce_more_than_there_is() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_path("././@LongLink").unwrap();
        header.set_size(u64::MAX / 2);
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        let error = open(&builder.into_inner().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}
