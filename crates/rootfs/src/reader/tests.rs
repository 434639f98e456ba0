//! The reader against images of others, and against images that lie.

mod hostile;
mod journal;
mod made;
mod sample;
