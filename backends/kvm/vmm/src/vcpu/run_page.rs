//! The page that KVM shares of a vCPU (`struct kvm_run`), mapped once more: so it can be
//! written to by whoever wants to stop the vCPU while its own thread is in KVM.
#![allow(unsafe_code)] // memory that the kernel writes to

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;

/// Where the reasons of an exit begin.
const REASON: usize = offset_of!(kvm_run, __bindgen_anon_1);
/// In `kvm_run.io`: the length of one access, after its direction.
const IO_SIZE: usize = REASON + 1;
/// In `kvm_run.internal`: what kind of error, then how many words tell more, then those.
const INTERNAL_SUBERROR: usize = REASON;
const INTERNAL_COUNT: usize = REASON + 4;
const INTERNAL_DATA: usize = REASON + 8;
/// How many words there can be.
const INTERNAL_MAX: usize = 16;

/// The page.
#[derive(Debug)]
pub(crate) struct RunPage(NonNull<u8>);

// SAFETY: the mapping is not bound to a thread, and all access is by atomic or volatile
// operations on single values.
unsafe impl Send for RunPage {}
// SAFETY: as above.
unsafe impl Sync for RunPage {}

impl RunPage {
    pub(crate) fn of(vcpu: &VcpuFd) -> io::Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice, replaces nothing.
        let page = unsafe {
            let fd = vcpu.as_raw_fd();
            libc::mmap(std::ptr::null_mut(), size_of::<kvm_run>(), prot, libc::MAP_SHARED, fd, 0)
        };
        match NonNull::new(page) {
            Some(page) if page.as_ptr() != libc::MAP_FAILED => Ok(Self(page.cast())),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Makes KVM return at once when the vCPU is to run, or not any more.
    pub(crate) fn set_immediate_exit(&self, now: bool) {
        // SAFETY: the field lies in the mapping; KVM reads it as one byte.
        let field = unsafe {
            let at = self.0.add(offset_of!(kvm_run, immediate_exit));
            AtomicU8::from_ptr(at.as_ptr())
        };
        field.store(now.into(), Ordering::SeqCst);
    }

    /// After an exit for a port: the length of one access, in bytes.
    pub(crate) fn port_access_len(&self) -> usize {
        // Never zero, whatever stands there.
        usize::from(self.read::<u8>(IO_SIZE)).max(1)
    }

    /// After an exit for an internal error: its kind, and the words that tell more.
    pub(crate) fn internal_error(&self) -> (u32, Vec<u64>) {
        let count = INTERNAL_MAX.min(self.read::<u32>(INTERNAL_COUNT) as usize);
        let words = (0..count).map(|word| self.read::<u64>(INTERNAL_DATA + word * 8)).collect();
        (self.read::<u32>(INTERNAL_SUBERROR), words)
    }

    fn read<T: Number>(&self, at: usize) -> T {
        const { assert!(INTERNAL_DATA + INTERNAL_MAX * 8 <= size_of::<kvm_run>()) };
        // SAFETY: all offsets here lie in the mapping (see the assertion), which is aligned to
        // a page, and any bits are a number.
        unsafe { self.0.add(at).cast::<T>().read_volatile() }
    }
}

/// What any bits are a value of.
trait Number: Copy {}
impl Number for u8 {}
impl Number for u32 {}
impl Number for u64 {}

impl Drop for RunPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and nobody uses it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<kvm_run>()) };
    }
}
