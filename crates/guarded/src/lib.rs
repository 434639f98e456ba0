//! What every driver of a hypervisor under `microagent-vmm guard` shares.
//!
//! A machine is a *monitor* (the hypervisor), the *guard* that started it, keeps its console
//! and ends it, and perhaps *helpers*, all recorded in one run directory. [`Unfinished`]
//! starts them, or leaves nothing behind; [`Processes`] are those of a machine that was built
//! or taken up; [`Remains`] are what tells how it ended.
//!
//! Deliberately not here: what a monitor is asked to be, how it is talked to, and what the
//! end of it means. Those are its driver's.

mod ask;
mod building;
mod cache;
pub mod files;
mod host;
mod isolation;
mod launch;
mod life;
mod limits;
mod locate;
mod parts;
mod probe;
mod process_error;
mod processes;
mod program;
mod record;
mod remains;
mod reports;
mod request;
mod sockets;
mod user_net;
mod words;

pub use ask::{Answer, ask};
pub use building::Unfinished;
pub use cache::{Cache, Stamp};
pub use host::{boot_id, landlock_works, memory};
pub use launch::{GUARD, Role, died, last_words, memory_file};
pub use life::Life;
pub use limits::{END_WITHIN, FOLLOW_WITHIN, MAX_RECORD_LEN};
pub use locate::locate;
pub use microagent_process::{Process, ProcessId};
pub use probe::KvmProbe;
pub use process_error::process_error;
pub use processes::{Processes, wrong_moment};
pub use program::files_of_program;
pub use record::{Helper, Record};
pub use remains::Remains;
pub use reports::{Reports, Started};
pub use request::{absolute_dir, admitted, max_file_size};
pub use sockets::SocketDir;
pub use user_net::{GATEWAY, Gateway, INSTALL_PASST, PASST, locate_passt};
pub use words::{in_words, one_line};
