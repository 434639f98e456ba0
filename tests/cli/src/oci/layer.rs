//! Layers: tar archives of entries, byte for byte as they are asked for, sane or not.

use tar::{EntryType, Header};

use crate::oci::{Blob, Compression, Entry};

/// The archive of one layer.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    tar: Vec<u8>,
}

/// Everything in a tar comes in pieces of so many bytes.
const BLOCK: usize = 512;
/// Longest name in a plain header, in bytes.
const SHORT: usize = 100;

impl Layer {
    /// A layer of these entries.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut layer = Self::default();
        for entry in entries {
            layer.add(&entry);
        }
        layer
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// Where a number has no place in a header.
    pub fn add(&mut self, entry: &Entry) {
        let mut pax = entry.pax.clone();
        if entry.path.len() > SHORT {
            pax.push(("path".to_owned(), entry.path.clone()));
        }
        if entry.link.len() > SHORT {
            pax.push(("linkpath".to_owned(), entry.link.clone()));
        }
        if !pax.is_empty() {
            self.add_records(&pax);
        }
        let mut header = Header::new_ustar();
        {
            let old = header.as_old_mut();
            put(&mut old.name, &entry.path);
            put(&mut old.linkname, &entry.link);
        }
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(entry.mtime);
        header.set_size(entry.content.len() as u64);
        if let Some((major, minor)) = entry.device {
            header.set_device_major(major).expect("a ustar header holds a device");
            header.set_device_minor(minor).expect("a ustar header holds a device");
        }
        header.set_cksum();
        self.push(header.as_bytes(), &entry.content);
    }

    /// The finished archive.
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = self.tar.clone();
        tar.resize(tar.len() + 2 * BLOCK, 0);
        tar
    }

    /// The finished archive as it is stored.
    pub fn pack(&self, compression: Compression) -> Blob {
        Blob::pack(&self.tar(), compression)
    }

    fn add_records(&mut self, records: &[(String, Vec<u8>)]) {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let mut header = Header::new_ustar();
        put(&mut header.as_old_mut().name, b"extended");
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.set_cksum();
        self.push(header.as_bytes(), &body);
    }

    fn push(&mut self, header: &[u8], content: &[u8]) {
        self.tar.extend_from_slice(header);
        self.tar.extend_from_slice(content);
        self.tar.resize(self.tar.len().next_multiple_of(BLOCK), 0);
    }
}

fn put(field: &mut [u8; SHORT], text: &[u8]) {
    let length = text.len().min(SHORT);
    field[..length].copy_from_slice(&text[..length]);
}

/// A record of an extended header: its own length, a space, `key=value`, a newline.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
