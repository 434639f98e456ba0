//! The device as a driver sees it.

mod driver;
mod hostile;
mod requests;
mod transport;
