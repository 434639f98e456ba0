//! The descriptors that the driver passes by number.
#![allow(unsafe_code)] // a descriptor known by its number has no owner until one is made here

use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::FdFlags;

/// The first descriptor that is not standard.
const FIRST: RawFd = 3;

/// Why the inherited descriptors are not as agreed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InheritedError {
    #[error("descriptor {fd} is missing, it should be the {what}")]
    Missing {
        fd: RawFd,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot close the descriptors that are not needed")]
    Close(#[source] io::Error),
}

/// Takes `wanted` (number and what it is, in ascending order) and closes every other
/// descriptor but the standard ones, so that nothing leaks into a child.
///
/// To be called once, before anything else opens a descriptor.
pub(crate) fn take<const N: usize>(
    wanted: [(RawFd, &'static str); N],
) -> Result<[OwnedFd; N], InheritedError> {
    take_and_pass(wanted, FIRST..FIRST).map(|(taken, _)| taken)
}

/// As [`take`], with descriptors behind those that are `wanted` which the next program that
/// this process runs finds under the same numbers, as long as what is returned for them lives.
pub(crate) fn take_and_pass<const N: usize>(
    wanted: [(RawFd, &'static str); N],
    passed: Range<RawFd>,
) -> Result<([OwnedFd; N], Vec<OwnedFd>), InheritedError> {
    let kept = wanted.map(|(fd, what)| (fd, what, FdFlags::CLOEXEC));
    let passed = passed.map(|fd| (fd, "descriptor to be passed on", FdFlags::empty()));
    let (passed_fds, mut from) = (passed.clone(), FIRST);
    for (fd, what, flags) in kept.into_iter().chain(passed) {
        close_range(from, fd - 1)?;
        from = fd + 1;
        // SAFETY: only looked at here; an invalid number is answered with EBADF.
        let seen = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(seen, flags).map_err(|e| InheritedError::Missing {
            fd,
            what,
            source: e.into(),
        })?;
    }
    close_range(from, RawFd::MAX)?;
    // SAFETY: each was just seen to be open, this process was started with it, and this
    // function, which is called once, makes its only owner.
    let own = |fd| unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((wanted.map(|(fd, _)| own(fd)), passed_fds.map(|(fd, ..)| own(fd)).collect()))
}

/// As [`take`], with a descriptor behind those that are `wanted` which need not be there.
pub(crate) fn take_with_optional<const N: usize>(
    wanted: [(RawFd, &'static str); N],
    (fd, what): (RawFd, &'static str),
) -> Result<([OwnedFd; N], Option<OwnedFd>), InheritedError> {
    // SAFETY: only looked at; an invalid number is answered with EBADF.
    let is_there = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok();
    let last = if is_there { fd..fd + 1 } else { fd..fd };
    let (taken, mut optional) = take_and_pass(wanted, last)?;
    let optional = optional.pop();
    if let Some(optional) = &optional {
        rustix::io::fcntl_setfd(optional, FdFlags::CLOEXEC)
            .map_err(|e| InheritedError::Missing { fd, what, source: e.into() })?;
    }
    Ok((taken, optional))
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), InheritedError> {
    if first > last {
        return Ok(());
    }
    // SAFETY: nothing in this process owns a descriptor in this range: it is called before
    // any is opened, and the numbers that are taken over lie outside.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(InheritedError::Close(io::Error::last_os_error())) }
}
