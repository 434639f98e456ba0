//! Walking a layer's tar archive.
//!
//! The walk is our own, on the `tar` crate's header type: that crate's iterator
//! reads extension headers into memory whole and splits PAX records at
//! newlines, which binary attribute values contain.

use tar::Header;

use super::feed::Feed;
use super::header::{self, RECORD};
use super::member::{Member, MemberKind};
use super::pax::Pax;
use super::sparse::{BodyMap, Form, OldGnu, SparseMap};
use crate::fault::{Fault, within};
use crate::limits::{FILE_MAX, Limits};

/// Largest device numbers that Linux's 32-bit `dev_t` holds.
const MAJOR_MAX: u64 = 0xfff;
const MINOR_MAX: u64 = 0xf_ffff;

/// Whether the archive said that it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A block of zeros, as it should be.
    Marked,
    /// The data ended between two members.
    Unmarked,
}

/// Reader of the archive that `feed` currently stands in.
pub(crate) struct Archive<'f, 'a> {
    feed: &'f mut Feed<'a>,
    limits: &'f Limits,
    entries: &'f mut u64,
    /// A block that was looked at ahead of its turn.
    ahead: Option<[u8; RECORD]>,
    body_left: u64,
    padding: u64,
    ending: Ending,
}

/// Extension headers that describe the member after them.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<'f, 'a> Archive<'f, 'a> {
    /// `entries` counts members over all layers.
    pub(crate) fn new(feed: &'f mut Feed<'a>, limits: &'f Limits, entries: &'f mut u64) -> Self {
        Self {
            feed,
            limits,
            entries,
            ahead: None,
            body_left: 0,
            padding: 0,
            ending: Ending::Unmarked,
        }
    }

    /// How the archive ended, once [`Archive::next`] has given `None`.
    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }

    /// The next member; what was left of the previous one's content is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Fault> {
        self.skip_body()?;
        let mut extensions = Extensions::default();
        let mut extended = false;
        loop {
            let Some(block) = self.header_block()? else {
                return if extended {
                    Err(Fault::corrupt("the archive ends after an extension header"))
                } else {
                    Ok(None)
                };
            };
            *self.entries += 1;
            within(*self.entries, self.limits.entries, "archive members")?;
            let header = Header::from_byte_slice(&block);
            let size = header::unsigned(&header.as_old().size, "size")?;
            match header.as_old().linkflag[0] {
                b'x' => extensions.pax = Some(self.pax(size)?),
                b'L' => extensions.long_name = Some(self.long_name(size)?),
                b'K' => extensions.long_link = Some(self.long_name(size)?),
                b'g' => self.skip_global(size)?,
                kind => return self.member(header, kind, size, extensions).map(Some),
            }
            extended = header.as_old().linkflag[0] != b'g';
        }
    }

    /// Passes the content of the current member on, piece by piece.
    pub(crate) fn read_body(
        &mut self,
        count: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut left = count.min(self.body_left);
        self.body_left -= left;
        while left > 0 {
            let have = self.feed.peek()?;
            if have.is_empty() {
                return Err(truncated());
            }
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(have.len());
            take(&have[..now])?;
            self.feed.consume(now);
            left -= now as u64;
        }
        Ok(())
    }

    fn member(
        &mut self,
        header: &Header,
        typeflag: u8,
        size: u64,
        extensions: Extensions,
    ) -> Result<Member, Fault> {
        let old = header.as_old();
        let Extensions { long_name, long_link, pax } = extensions;
        let has_pax = pax.is_some();
        let mut pax = pax.unwrap_or_default();
        let size = pax.size.unwrap_or(size);
        let path = pax.sparse.name.take().or(pax.path.take()).or(long_name);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.link_path.take().or(long_link);
        let link = link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => (header::number(&old.mtime)?, 0),
        };
        let uid = owner(pax.uid, &old.uid, &path)?;
        let gid = owner(pax.gid, &old.gid, &path)?;
        let mode = (header::unsigned(&old.mode, "mode")? & 0o7777) as u16;
        let kind = match typeflag {
            // Before POSIX a trailing slash was all that marked a directory.
            b'0' | 0 if path.ends_with(b"/") => MemberKind::Directory,
            b'0' | 0 | b'7' => self.file(size, &mut pax)?,
            b'S' => self.old_gnu_sparse(header, size)?,
            b'1' => {
                self.hard_link_body(size, has_pax)?;
                MemberKind::HardLink { target: link }
            }
            b'2' => MemberKind::Symlink { target: link },
            b'3' => {
                let (major, minor) = device(header, &path)?;
                MemberKind::CharDevice { major, minor }
            }
            b'4' => {
                let (major, minor) = device(header, &path)?;
                MemberKind::BlockDevice { major, minor }
            }
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            other => {
                let shown = other.escape_ascii();
                return Err(Fault::refused(&path, format!("its type {shown:?} is not known")));
            }
        };
        Ok(Member { path, kind, mode, uid, gid, mtime, xattrs: pax.xattrs })
    }

    fn file(&mut self, stored: u64, pax: &mut Pax) -> Result<MemberKind, Fault> {
        self.begin_body(stored)?;
        let (segments, size) = match pax.sparse.form()? {
            None => return Ok(MemberKind::File { size: stored }),
            Some(Form::InHeader { size }) => (pax.sparse.take_segments(), size),
            Some(Form::InBody { size }) => {
                let mut map = BodyMap::default();
                let mut record = [0; RECORD];
                loop {
                    if self.body_left < RECORD as u64 {
                        return Err(Fault::corrupt("the map of a sparse file is cut short"));
                    }
                    self.body_left -= RECORD as u64;
                    self.fill(&mut record)?;
                    if map.record(&record, self.limits)? {
                        break (map.into_segments(), size);
                    }
                }
            }
        };
        SparseMap::checked(segments, size, self.body_left).map(MemberKind::Sparse)
    }

    fn old_gnu_sparse(&mut self, header: &Header, stored: u64) -> Result<MemberKind, Fault> {
        let gnu =
            header.as_gnu().ok_or_else(|| Fault::corrupt("a sparse member has no GNU header"))?;
        let size = header::unsigned(&gnu.realsize, "size")?;
        let mut map = OldGnu::default();
        // Offsets of the GNU format: 4 segments at 386, "extended" at 482; in
        // the blocks that follow 21 segments at 0 and "extended" at 504.
        map.table(&header.as_bytes()[386..482], self.limits)?;
        let mut extended = gnu.isextended[0] != 0;
        while extended {
            let mut block = [0; RECORD];
            self.fill(&mut block)?;
            map.table(&block[..504], self.limits)?;
            extended = block[504] != 0;
        }
        self.begin_body(stored)?;
        map.finish(size, stored).map(MemberKind::Sparse)
    }

    /// POSIX lets a hard link carry the file's content again; older archivers
    /// give the size without any content. With a PAX header the size is meant;
    /// without one, content follows unless the next block is a header.
    fn hard_link_body(&mut self, size: u64, has_pax: bool) -> Result<(), Fault> {
        if size == 0 {
            return Ok(());
        }
        if !has_pax {
            let mut block = [0; RECORD];
            let got = self.feed.read(&mut block)?;
            if got == 0 {
                return Ok(());
            }
            if got < RECORD {
                return Err(truncated());
            }
            self.ahead = Some(block);
            if header::is_zero(&block) || header::checksum_holds(&block) {
                return Ok(());
            }
        }
        self.begin_body(size)?;
        if self.ahead.take().is_some() {
            let whole = self.body_left + self.padding - RECORD as u64;
            self.body_left = self.body_left.saturating_sub(RECORD as u64);
            self.padding = whole - self.body_left;
        }
        Ok(())
    }

    fn pax(&mut self, size: u64) -> Result<Pax, Fault> {
        within(size, self.limits.pax_bytes, "bytes in a PAX header")?;
        let data = self.extension(size)?;
        Pax::parse(&data, self.limits)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        within(size, self.limits.path_bytes + 1, "bytes in a path")?;
        let mut name = self.extension(size)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// Global headers say nothing about inodes: comments of git archives, and
    /// defaults that no reader of layers applies.
    fn skip_global(&mut self, size: u64) -> Result<(), Fault> {
        within(size, self.limits.pax_bytes, "bytes in a PAX header")?;
        self.begin_body(size)?;
        self.skip_body()
    }

    /// The whole content of an extension header, whose size was checked.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        self.begin_body(size)?;
        let mut data = Vec::new();
        self.read_body(size, &mut |piece| {
            data.extend_from_slice(piece);
            Ok(())
        })?;
        self.skip_body()?;
        Ok(data)
    }

    fn begin_body(&mut self, size: u64) -> Result<(), Fault> {
        within(size, FILE_MAX, "bytes in a file")?;
        self.body_left = size;
        self.padding = size.next_multiple_of(RECORD as u64) - size;
        Ok(())
    }

    fn skip_body(&mut self) -> Result<(), Fault> {
        self.body_left += std::mem::take(&mut self.padding);
        self.read_body(self.body_left, &mut |_| Ok(()))
    }

    fn fill(&mut self, block: &mut [u8; RECORD]) -> Result<(), Fault> {
        if self.feed.read(block)? == RECORD { Ok(()) } else { Err(truncated()) }
    }

    /// The next header, or `None` at the end of the archive.
    fn header_block(&mut self) -> Result<Option<[u8; RECORD]>, Fault> {
        let block = match self.ahead.take() {
            Some(block) => block,
            None => {
                let mut block = [0; RECORD];
                match self.feed.read(&mut block)? {
                    0 => return Ok(None),
                    RECORD => block,
                    _ => return Err(self.not_a_header(&block)),
                }
            }
        };
        if header::is_zero(&block) {
            self.ending = Ending::Marked;
            return Ok(None);
        }
        if !header::checksum_holds(&block) {
            return Err(self.not_a_header(&block));
        }
        Ok(Some(block))
    }

    fn not_a_header(&self, block: &[u8; RECORD]) -> Fault {
        if *self.entries > 0 {
            return Fault::corrupt("the archive is damaged: a member's header is not valid");
        }
        Fault::corrupt(match block {
            [0x1f, 0x8b, ..] => "it is not a tar archive: it holds gzip data",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is not a tar archive: it holds zstd data",
            [0xfd, b'7', b'z', b'X', ..] => "it is not a tar archive: it holds xz data",
            _ => "it is not a tar archive",
        })
    }
}

fn owner(pax: Option<u64>, field: &[u8], path: &[u8]) -> Result<u32, Fault> {
    let id = match pax {
        Some(id) => id,
        None => header::unsigned(field, "owner")?,
    };
    // The last one is -1, "leave it alone" to chown.
    u32::try_from(id)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| Fault::refused(path, format!("its owner {id} is out of range")))
}

fn device(header: &Header, path: &[u8]) -> Result<(u32, u32), Fault> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        (None, None) => return Err(Fault::refused(path, "it is a device without numbers")),
    };
    let major = header::unsigned(major, "device number")?;
    let minor = header::unsigned(minor, "device number")?;
    if major > MAJOR_MAX || minor > MINOR_MAX {
        let reason = format!("its device number {major}:{minor} is out of range");
        return Err(Fault::refused(path, reason));
    }
    Ok((major as u32, minor as u32))
}

fn truncated() -> Fault {
    Fault::corrupt("it is truncated: the archive ends inside a member")
}
