//! Programs for guests, and what the host's half of a test needs of them: the path of what
//! was built, and the bytes that go through.

mod built;
pub mod pattern;

pub use built::program;
