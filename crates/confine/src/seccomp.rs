//! Which system calls may be made: a filter that was compiled when the program was built.
//!
//! Installed without a library, so that the table of system calls and the compiler stay in
//! the build.
#![allow(unsafe_code)] // the system call takes a pointer

use std::io;

/// Length of one instruction, in bytes (`struct sock_filter`).
const INSTRUCTION: usize = 8;

/// A filter over system calls.
#[derive(Clone)]
pub struct Filter(Vec<libc::sock_filter>);

/// Bytes that are no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes are no filter, expected up to {max} instructions of {INSTRUCTION} bytes", max = u16::MAX)]
pub struct NoFilter {
    /// How many there are.
    len: usize,
}

impl Filter {
    /// Reads instructions, each as code (2 bytes), two jump offsets and an operand (4 bytes),
    /// little-endian. No bytes are no filter: one for a machine that none was written for.
    ///
    /// # Errors
    /// A length that is no number of instructions.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, NoFilter> {
        let len = bytes.len();
        if len == 0 {
            return Ok(None);
        }
        let (instructions, rest) = bytes.as_chunks::<INSTRUCTION>();
        if !rest.is_empty() || u16::try_from(instructions.len()).is_err() {
            return Err(NoFilter { len });
        }
        let program = instructions.iter().map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| {
            let code = u16::from_le_bytes([c0, c1]);
            libc::sock_filter { code, jt, jf, k: u32::from_le_bytes([k0, k1, k2, k3]) }
        });
        Ok(Some(Self(program.collect())))
    }

    /// Installs it on every thread of this process, for good. All of them, and what they
    /// start, need [`forbid_new_privileges`](crate::forbid_new_privileges) before.
    ///
    /// # Errors
    /// What the system call says, also where one thread has filters that others have not.
    pub fn install(&self) -> io::Result<()> {
        self.install_with(libc::SECCOMP_FILTER_FLAG_TSYNC)
    }

    /// Installs it on this thread, and what it starts, for good; with the same condition.
    ///
    /// # Errors
    /// What the system call says.
    pub fn install_on_this_thread(&self) -> io::Result<()> {
        self.install_with(0)
    }

    fn install_with(&self, flags: libc::c_ulong) -> io::Result<()> {
        let program = libc::sock_fprog {
            // Checked when it was read.
            len: u16::try_from(self.0.len()).map_err(io::Error::other)?,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: `program` points to `len` instructions, which the kernel copies during the
        // call and does not change.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        match result {
            0 => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            thread => Err(io::Error::other(format!("thread {thread} cannot be given the filter"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Return, allow: `BPF_RET | BPF_K`, `SECCOMP_RET_ALLOW`.
    const ALLOW: [u8; 8] = [6, 0, 0, 0, 0, 0, 0xff, 0x7f];

    #[test]
    fn a_filter_of_a_thread_is_not_that_of_others() {
        let filter = Filter::from_bytes(&ALLOW).unwrap().unwrap();
        let thread = std::thread::spawn(move || {
            crate::forbid_new_privileges().unwrap();
            filter.install_on_this_thread().unwrap();
            std::fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = thread.join().unwrap();
        assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.lines().any(|line| line == "Seccomp:\t0"), "{status}");
    }

    #[test]
    fn bytes_that_are_a_filter() {
        let len = |bytes: &[u8]| Filter::from_bytes(bytes).map(|f| f.map(|f| f.0.len()));
        assert_eq!(len(&[]), Ok(None));
        assert_eq!(len(&ALLOW), Ok(Some(1)));
        assert_eq!(len(&ALLOW.repeat(3)), Ok(Some(3)));
        assert_eq!(len(&ALLOW[..7]), Err(NoFilter { len: 7 }));
        assert_eq!(len(&ALLOW.repeat(65536)), Err(NoFilter { len: 524_288 }));
    }
}
