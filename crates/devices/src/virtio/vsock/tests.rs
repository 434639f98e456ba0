//! The device as a driver and as host programs see it.

mod driver;
mod flow;
mod hostile;
mod shutdown;
mod transport;
