//! A backend without a hypervisor, for tests of all that stands above the contract.
//!
//! A machine is two real processes: a guard, and a guest that is a shell script. So all
//! that the contract says about lifetimes, crashes and what is left behind is as true here
//! as anywhere, and is had in milliseconds on any host with a POSIX `sh`. What the guest
//! does is chosen by words of the kernel's arguments; the kernel itself is opened and
//! never run:
//!
//! | word | what the guest does |
//! |---|---|
//! | `fake.say=TEXT` | writes the text and a newline to its console |
//! | `fake.write=DISK:TEXT` | writes the text at the start of a disk, or says `refused` |
//! | `fake.read=DISK` | writes the first line of a disk to its console |
//! | `fake.after_ms=N` | waits, in steps of 20 ms; while paused its clock stands still |
//! | `fake.ticks=N` | writes a dot every 20 ms, so many times |
//! | `fake.run=PROGRAM` | becomes this program of the host, told its run directory; status 0 is a power-off |
//! | `fake.exit=poweroff`, `reset`, `panic` | ends like this; otherwise it never ends |
//!
//! They are done in their order. Other words are a kernel's own and mean nothing here.
//!
//! Deliberately not here: an agent in the guest, and so no vsock; a program that a guest becomes
//! may be one.

mod backend;
mod build;
mod files;
mod guest;
mod machine;
mod process;
mod record;
mod status;

pub use backend::FakeBackend;
