//! Workspaces that last: made once, started and halted as often as one likes.
//!
//! ```text
//!  create            start                   halt
//! ────────► created ───────► starting ─► running ─► stopping ─► stopped ──┐ start
//!                               ▲            │ ▲                          │
//!                               │      pause ▼ │ resume                   │
//!                               │           paused                        │
//!                               └─────────────────────────────────────────┘
//! ```
//! A started workspace has a *shim*: a detached process of this program that owns its machine
//! and the session with its agent, and answers on a socket in the run directory. There is no
//! daemon beside it. Every command here looks at the directory, and at the shim if there is
//! one: [`Registered`].
//!
//! | file | what |
//! |---|---|
//! | `manifest.json` | what it was made of: [`manifest`] |
//! | `state.json` | where it is in its life: [`standing`] |
//! | `rootfs.ext4` | its disk |
//! | `output.log` | what its commands printed that nobody was attached to |
//! | `events.jsonl`, `result.json`, `console.log` | what happened |
//! | `lock`, `turn` | held by its shim, by a command that changes something |
//! | `run/` | socket and record of the shim, the machine's own directory; gone when stopped |

mod client;
mod clone;
mod connect;
mod copy;
mod create;
mod delete;
pub(crate) mod durable;
mod exec;
mod follow;
mod front;
mod lifecycle;
mod list;
mod manifest;
mod outcome;
mod protocol;
mod prune;
mod recover;
mod registered;
mod shim;
mod standing;
mod start;
mod stop;
mod verification;
mod visit;

pub use client::{Attached, ExecWish, attach};
pub use clone::clone;
pub use connect::{Left, Seat, connect, send_line};
pub(crate) use copy::ready;
pub use copy::{copy_in, copy_out};
pub(crate) use create::keep;
pub use create::{CreateRequest, Created, create};
pub use delete::{Force, delete};
pub use exec::Executed;
pub use follow::{Source, Until, read};
pub(crate) use front::Front;
pub use lifecycle::{Refused, State, Step};
pub use list::{Listed, Whole, list, status};
pub(crate) use manifest::Found;
pub use manifest::{Manifest, OriginRecord, RestartPolicy};
pub use outcome::{Usage, console, result, usage, wait};
pub use protocol::ProtocolError;
pub use prune::{Prune, Pruned, prune};
pub(crate) use registered::Registered;
pub use shim::{ShimIo, shim};
pub use standing::{Standing, Told};
pub use start::{Accept, ShimProgram, StartRequest, TURN_FD, check, start, wait_ready};
pub use stop::{Halt, halt, kill, pause, resume};
pub(crate) use verification::Verification;

/// What came of the workspace's command.
pub(crate) const RESULT: &str = "result.json";
