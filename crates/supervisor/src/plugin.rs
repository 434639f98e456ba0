//! Loading a plugin, in a process that does nothing else.
//!
//! A plugin is never unloaded: whoever loads it ends after one answer.

#![allow(unsafe_code)] // A shared object is loaded, and what it exports is called.

use std::path::Path;
use std::ptr;

use libloading::Library;
use microagent_backend::{Error, ErrorKind, Result};
use microagent_plugin::{Buffer, SYMBOL, TABLE_VERSION, Table};
use microagent_supervisor_protocol::{Answer, Done, MAX_ANSWER};

/// Loads the plugin at `path` and has it answer `request`. Whatever goes wrong is an answer
/// too, but for what ends the process.
pub fn plugin_answer(path: &Path, request: &[u8]) -> Vec<u8> {
    let answer = load(path).and_then(|table| ask(path, &table, request));
    answer.unwrap_or_else(|e| Answer::<Done>::of(Err(e)).encode().unwrap_or_default())
}

fn load(path: &Path) -> Result<Table> {
    let usage =
        |what: String| Error::new(ErrorKind::Usage, format!("plugin {} {what}", path.display()));
    // SAFETY: initialisers of the shared object run in this process, which was started for
    // that: the user named the file to be run as code.
    let library = unsafe { Library::new(path) }
        .map_err(|e| usage("cannot be loaded".into()).with_source(e))?;
    // SAFETY: the symbol is only used as an address; what is there is looked at below.
    let found = unsafe { library.get::<*const Table>(SYMBOL) }.map(|symbol| *symbol);
    // Never unloaded: threads and thread-locals of the plugin may outlast any call.
    std::mem::forget(library);
    let found = found.ok().filter(|table| !table.is_null() && table.is_aligned());
    let table = found.ok_or_else(|| {
        usage(format!("exports no '{SYMBOL}'")).with_hint(
            "a plugin exports its table under this name: see docs/supervisor-protocol.md",
        )
    })?;
    // SAFETY: it is aligned and not null, and every version of the table begins with two
    // numbers of 32 bits.
    let [version, size] = unsafe { ptr::read(table.cast::<[u32; 2]>()) };
    if version != TABLE_VERSION {
        return Err(usage(format!("has a table of version {version}, expected {TABLE_VERSION}")));
    }
    if (size as usize) < size_of::<Table>() {
        let expected = size_of::<Table>();
        return Err(usage(format!("has a table of {size} bytes, expected {expected} or more")));
    }
    // SAFETY: the plugin says that the table is of this version and at least this long.
    Ok(unsafe { ptr::read(table) })
}

fn ask(path: &Path, table: &Table, request: &[u8]) -> Result<Vec<u8>> {
    let fault =
        |kind, what: String| Err(Error::new(kind, format!("plugin {} {what}", path.display())));
    let (Some(call), Some(release)) = (table.call, table.release) else {
        return fault(ErrorKind::Usage, "has a table without functions".into());
    };
    let mut buffer = Buffer { data: ptr::null_mut(), len: 0 };
    // SAFETY: `request` and `buffer` live until the call returns, as the ABI asks.
    let code = unsafe { call(request.as_ptr(), request.len(), &raw mut buffer) };
    if code != 0 {
        return fault(ErrorKind::Crashed, format!("gave no answer but the code {code}"));
    }
    if buffer.data.is_null() || buffer.len as u64 > MAX_ANSWER {
        let what = format!("answered with {} bytes, expected 1 to {MAX_ANSWER}", buffer.len);
        return fault(ErrorKind::Protocol, what);
    }
    // SAFETY: the plugin says that there are so many bytes, and they are its own until they
    // are released.
    let answer = unsafe { std::slice::from_raw_parts(buffer.data, buffer.len) }.to_vec();
    // SAFETY: the buffer is what `call` of the same table wrote, and is given back once.
    unsafe { release(&raw mut buffer) };
    Ok(answer)
}
