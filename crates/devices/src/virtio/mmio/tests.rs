//! The transport as a driver sees it.

mod fixture;
mod hostile;
mod life;
mod random;
mod rules;
