//! Input and output straight from and to guest memory, several pieces at once.
#![allow(unsafe_code)] // system calls on guest memory, of which there are no slices

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::VolatileSlice;

/// The vectors of a system call; kept, so that not every call allocates.
#[derive(Debug, Default)]
pub(crate) struct Vectors<'m> {
    vectors: Vec<libc::iovec>,
    first: usize,
    memory: std::marker::PhantomData<VolatileSlice<'m>>,
}

/// The most vectors of one call: `UIO_MAXIOV` of Linux.
pub(crate) const MAX_VECTORS: usize = 1024;

impl<'m> Vectors<'m> {
    /// No memory.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Names these pieces, and no others. More than [`MAX_VECTORS`]: every call fails.
    pub(crate) fn name(&mut self, pieces: &[VolatileSlice<'m>]) {
        self.clear();
        self.add(pieces);
    }

    fn clear(&mut self) {
        self.vectors.clear();
        self.first = 0;
    }

    fn add(&mut self, pieces: &[VolatileSlice<'m>]) {
        let vectors = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| libc::iovec {
            iov_base: piece.ptr_guard_mut().as_ptr().cast(),
            iov_len: piece.len(),
        });
        self.vectors.extend(vectors);
    }

    fn rest(&self) -> &[libc::iovec] {
        &self.vectors[self.first..]
    }

    /// Drops the first `len` bytes.
    fn advance(&mut self, mut len: usize) {
        while let Some(vector) = self.vectors.get_mut(self.first) {
            if len < vector.iov_len {
                vector.iov_base = vector.iov_base.wrapping_byte_add(len);
                vector.iov_len -= len;
                return;
            }
            len -= vector.iov_len;
            self.first += 1;
        }
    }

    /// Fills all memory from `offset` of the file on.
    ///
    /// # Errors
    /// Those of the host; the file ends before.
    pub(crate) fn read_all_at(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.transfer(offset, io::ErrorKind::UnexpectedEof, |vectors, count, offset| {
            // SAFETY: the vectors name guest memory that is mapped for 'm, which outlives this
            // call, and to which no Rust reference exists; the kernel writes within them.
            unsafe { libc::preadv(file.as_raw_fd(), vectors, count, offset) }
        })
    }

    /// Writes all memory to the file, from `offset` on.
    ///
    /// # Errors
    /// Those of the host.
    pub(crate) fn write_all_at(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.transfer(offset, io::ErrorKind::WriteZero, |vectors, count, offset| {
            // SAFETY: the vectors name guest memory that is mapped for 'm, which outlives this
            // call; the kernel only reads it.
            unsafe { libc::pwritev(file.as_raw_fd(), vectors, count, offset) }
        })
    }

    fn transfer(
        &mut self,
        offset: u64,
        nothing: io::ErrorKind,
        call: impl Fn(*const libc::iovec, i32, i64) -> isize,
    ) -> io::Result<()> {
        let mut at = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        while !self.rest().is_empty() {
            let rest = self.rest();
            let count = i32::try_from(rest.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            match checked(call(rest.as_ptr(), count, at)) {
                Ok(0) => return Err(nothing.into()),
                Ok(done) => {
                    self.advance(done);
                    at = at.saturating_add(done as i64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Sends `prefix` and then the pieces over a stream socket, as far as it takes them now, and
/// says how much it took. A peer that is gone is an error and no signal.
pub(crate) fn send<'m>(
    socket: BorrowedFd<'_>,
    prefix: &[u8],
    pieces: &[VolatileSlice<'m>],
    vectors: &mut Vectors<'m>,
) -> io::Result<usize> {
    vectors.clear();
    vectors.vectors.push(libc::iovec {
        // Only read from.
        iov_base: prefix.as_ptr().cast_mut().cast(),
        iov_len: prefix.len(),
    });
    vectors.add(pieces);
    // SAFETY: all zeroes is a message without address, control data and vectors.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.vectors.as_mut_ptr();
    message.msg_iovlen = vectors.vectors.len() as _;
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let sent = uninterrupted(|| {
        // SAFETY: the message's vectors name `prefix`, which is borrowed, and guest memory
        // that is mapped for 'm; the kernel only reads them.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags) }
    });
    // `prefix` may be gone after this call.
    vectors.clear();
    sent
}

/// Writes the pieces to a descriptor that takes a datagram with each call.
pub(crate) fn write<'m>(
    target: BorrowedFd<'_>,
    pieces: &[VolatileSlice<'m>],
    vectors: &mut Vectors<'m>,
) -> io::Result<usize> {
    vectors.name(pieces);
    let rest = vectors.rest();
    let count = i32::try_from(rest.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    uninterrupted(|| {
        // SAFETY: the vectors name guest memory that is mapped for 'm, which outlives this
        // call; the kernel only reads it.
        unsafe { libc::writev(target.as_raw_fd(), rest.as_ptr(), count) }
    })
}

fn uninterrupted(call: impl Fn() -> isize) -> io::Result<usize> {
    loop {
        match checked(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
