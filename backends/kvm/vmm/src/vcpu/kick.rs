//! Getting a vCPU out of KVM.
//!
//! A signal whose handler does nothing interrupts the run that is under way. One that comes a
//! moment before it would be lost; so it is said in the page that is shared with KVM as well,
//! which KVM looks at when a run begins.
#![allow(unsafe_code)] // signals to a thread, signal handlers

use std::ffi::{c_int, c_void};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use super::VcpuError;
use super::run_page::RunPage;

/// Gets one vCPU out of KVM.
#[derive(Debug, Clone)]
pub(crate) struct Kick {
    page: Arc<RunPage>,
    /// The vCPU's thread, once it has one.
    thread: Arc<AtomicI32>,
}

impl Kick {
    pub(crate) fn new(page: Arc<RunPage>) -> Self {
        Self { page, thread: Arc::new(AtomicI32::new(0)) }
    }

    /// Says that the vCPU's thread is this one.
    pub(crate) fn is_for_this_thread(&self) {
        self.thread.store(rustix::thread::gettid().as_raw_pid(), Ordering::SeqCst);
    }

    /// Makes the vCPU leave KVM, or not enter it, until [`Kick::is_noticed`].
    pub(crate) fn kick(&self) {
        self.page.set_immediate_exit(true);
        let thread = self.thread.load(Ordering::SeqCst);
        if thread != 0 {
            // SAFETY: it takes numbers only. A thread that is gone, which none is before its
            // process, has nothing to leave.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGRTMIN()) };
        }
    }

    /// By the vCPU's thread, before it looks for the reason.
    pub(crate) fn is_noticed(&self) {
        self.page.set_immediate_exit(false);
    }
}

/// Lets this process be kicked: to be called before the first vCPU has a thread.
pub(crate) fn prepare_to_be_kicked() -> Result<(), VcpuError> {
    extern "C" fn nothing(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}
    register_signal_handler(SIGRTMIN(), nothing)
        .map_err(|e| VcpuError::Signal(io::Error::from_raw_os_error(e.errno())))
}
