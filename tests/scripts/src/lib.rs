//! Shell scripts that tests write to stand for programs.

mod write;

pub use write::write;
