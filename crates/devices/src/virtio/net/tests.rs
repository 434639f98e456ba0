//! The device as a driver and its host see it.

mod driver;
mod from_guest;
mod hostile;
mod life;
mod to_guest;
mod transport;
