//! What depends on the processor: addresses, tables, the first state of each register.

pub(crate) mod x86_64;

pub(crate) use x86_64::layout;
