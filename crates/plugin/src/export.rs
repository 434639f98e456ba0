//! A backend as a plugin: the table that a shared object exports.
//!
//! The table is what a loader and a plugin of any language agree on; `docs/schema` and
//! `docs/supervisor-protocol.md` say the rest. In C:
//! ```c
//! struct microagent_buffer { uint8_t *data; size_t len; };
//! struct microagent_plugin_table {
//!     uint32_t version;               /* 1 */
//!     uint32_t size;                  /* of this struct, in bytes */
//!     int32_t (*call)(const uint8_t *request, size_t len, struct microagent_buffer *answer);
//!     void (*release)(struct microagent_buffer *answer);
//! };
//! extern const struct microagent_plugin_table microagent_plugin;
//! ```

#![allow(unsafe_code)] // The ABI of plugins: pointers of the loader's, released by it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use microagent_backend::{Backend, Error, ErrorKind, Result};
use microagent_supervisor_protocol::{Answer, Done};

use crate::answer::answer;

/// The name of the exported [`Table`].
pub const SYMBOL: &str = "microagent_plugin";

/// [`Table::version`] of the table that is described here.
pub const TABLE_VERSION: u32 = 1;

/// What a plugin exports under the name [`SYMBOL`].
///
/// Fields are only ever added at its end, and `size` tells which are there.
#[derive(Debug)]
#[repr(C)]
pub struct Table {
    /// [`TABLE_VERSION`].
    pub version: u32,
    /// Size of the table in bytes.
    pub size: u32,
    /// Answers the request in `len` bytes at `request` into `answer`, which is empty. 0 if
    /// there is an answer, anything else if there is none. Called once in a process.
    pub call: Option<unsafe extern "C" fn(*const u8, usize, *mut Buffer) -> i32>,
    /// Gives back an answer of `call`.
    pub release: Option<unsafe extern "C" fn(*mut Buffer)>,
}

/// Bytes that a plugin owns until they are released.
#[derive(Debug)]
#[repr(C)]
pub struct Buffer {
    /// Where they are; null if there are none.
    pub data: *mut u8,
    /// How many there are.
    pub len: usize,
}

/// Where a plugin's backend comes from. [`export_plugin!`](crate::export_plugin) implements
/// it.
pub trait Plugin {
    /// Makes the backend.
    ///
    /// # Errors
    /// Why there is none, which becomes the answer to every request.
    fn backend() -> Result<Box<dyn Backend>>;
}

impl Table {
    /// The table of a plugin.
    pub const fn of<P: Plugin>() -> Self {
        Self {
            version: TABLE_VERSION,
            size: size_of::<Self>() as u32,
            call: Some(call::<P>),
            release: Some(release),
        }
    }
}

/// Exports a backend as a plugin, from a package whose `crate-type` is `cdylib`. The
/// argument is an expression for a `Result<Box<dyn Backend>>`.
#[macro_export]
macro_rules! export_plugin {
    ($backend:expr) => {
        struct ExportedPlugin;

        impl $crate::Plugin for ExportedPlugin {
            fn backend() -> $crate::Result<Box<dyn $crate::Backend>> {
                $backend
            }
        }

        /// What loads this shared object looks for.
        #[allow(unsafe_code, non_upper_case_globals)] // The name is a part of the ABI.
        #[unsafe(no_mangle)]
        pub static microagent_plugin: $crate::Table = $crate::Table::of::<ExportedPlugin>();
    };
}

/// [`Table::call`] of a plugin. A panic is an answer too, where it unwinds.
///
/// # Safety
/// `request` is readable for `len` bytes and `answer` is a [`Buffer`] that may be written to.
unsafe extern "C" fn call<P: Plugin>(request: *const u8, len: usize, answer: *mut Buffer) -> i32 {
    if request.is_null() || answer.is_null() {
        return 1;
    }
    // SAFETY: the caller vouches for `len` bytes, which nobody writes to meanwhile.
    let request = unsafe { std::slice::from_raw_parts(request, len) };
    let text = catch_unwind(AssertUnwindSafe(|| answered::<P>(request)));
    let text = text.unwrap_or_else(|cause| failed(&panicked(&*cause)));
    let text = Box::into_raw(text.into_boxed_slice());
    // SAFETY: the caller vouches for `answer`; what was in it needs no dropping.
    unsafe { answer.write(Buffer { data: text.cast(), len: text.len() }) };
    0
}

/// [`Table::release`] of every plugin that is written in Rust.
///
/// # Safety
/// `answer` is what `call` of the same plugin wrote, and is given back once.
unsafe extern "C" fn release(answer: *mut Buffer) {
    // SAFETY: the caller vouches for it being a `Buffer` or null.
    let Some(buffer) = (unsafe { answer.as_mut() }) else { return };
    if !buffer.data.is_null() {
        let text = std::ptr::slice_from_raw_parts_mut(buffer.data, buffer.len);
        // SAFETY: `call` made it of a box of this length, and nobody else has it any more.
        drop(unsafe { Box::from_raw(text) });
        buffer.data = std::ptr::null_mut();
    }
}

fn answered<P: Plugin>(request: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => match P::backend() {
            Ok(backend) => runtime.block_on(answer(&*backend, request)),
            Err(e) => encoded(e),
        },
        Err(e) => encoded(Error::io("start the plugin", e)),
    }
}

fn failed(message: &str) -> Vec<u8> {
    encoded(Error::new(ErrorKind::Crashed, message))
}

fn encoded(error: Error) -> Vec<u8> {
    Answer::<Done>::of(Err(error)).encode().unwrap_or_default()
}

fn panicked(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().copied();
    let text = text.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    format!("the plugin panicked: {}", text.unwrap_or("without a word"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Plugin for Broken {
        fn backend() -> Result<Box<dyn Backend>> {
            panic!("no backend today")
        }
    }

    struct Absent;

    impl Plugin for Absent {
        fn backend() -> Result<Box<dyn Backend>> {
            Err(Error::new(ErrorKind::Unavailable, "there is none"))
        }
    }

    fn check<P: Plugin>(expect: &str) {
        let table = Table::of::<P>();
        let request = br#"{"protocol":1,"op":"probe","args":{}}"#;
        let mut answer = Buffer { data: std::ptr::null_mut(), len: 0 };
        // SAFETY: request and answer are this function's own.
        let code = unsafe { table.call.unwrap()(request.as_ptr(), request.len(), &mut answer) };
        assert_eq!(code, 0);
        // SAFETY: `call` said that there are so many bytes.
        let text = unsafe { std::slice::from_raw_parts(answer.data, answer.len) };
        let text = String::from_utf8_lossy(text).into_owned();
        // SAFETY: `answer` is of this table's `call`, and is given back once.
        unsafe { table.release.unwrap()(&mut answer) };
        assert_eq!(text, expect);
        assert!(answer.data.is_null());
    }

    #[test]
    fn what_fails_in_a_plugin_is_an_answer() {
        let crashed = "the plugin panicked: no backend today";
        check::<Broken>(&format!(
            r#"{{"protocol":1,"err":{{"kind":"crashed","message":"{crashed}"}}}}"#
        ));
        check::<Absent>(r#"{"protocol":1,"err":{"kind":"unavailable","message":"there is none"}}"#);
    }

    #[test]
    fn the_size_is_that_of_c() {
        assert_eq!(size_of::<Table>(), 8 + 2 * size_of::<usize>());
    }
}
