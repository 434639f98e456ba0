//! Layers for tests, written as text. Used by the unit tests and, by path, by
//! the tests of the whole package.
//!
//! A layer is a list of members separated by `;`: a type letter, a name, a
//! content or target, and attributes.
//! `d` directory, `f` file, `h` hard link, `s` symbolic link, `c` and `b`
//! devices (`1:3`), `p` fifo, `z` zeros with a length.

use std::io::Write;
use std::path::Path;

use tar::{EntryType, Header};

use microagent_rootfs::{Compression, LayerInput};

/// Time that members have unless they say otherwise.
pub(crate) const MTIME: u64 = 1_000_000_000;

/// The archive for `text`, with its end marker.
pub(crate) fn archive(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for member in text.split(';').map(str::trim).filter(|m| !m.is_empty()) {
        append(&mut out, member);
    }
    out.extend([0; 1024]);
    out
}

/// `bytes` as a layer file in `dir`.
pub(crate) fn layer_file(
    dir: &Path,
    name: &str,
    bytes: &[u8],
    compression: Compression,
) -> LayerInput {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    LayerInput { path, compression, diff_id: None, description: name.to_owned() }
}

/// `texts` as uncompressed layers in `dir`.
pub(crate) fn layers(dir: &Path, texts: &[&str]) -> Vec<LayerInput> {
    texts
        .iter()
        .enumerate()
        .map(|(i, text)| layer_file(dir, &format!("layer{i}"), &archive(text), Compression::None))
        .collect()
}

/// `bytes` as one gzip member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One member with a header of exactly these fields.
pub(crate) fn member(name: &[u8], kind: EntryType, link: &[u8], body: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    old.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header.set_size(body.len() as u64);
    finish(header, body)
}

/// A PAX header for the member after it.
pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        write!(body, "{length} {key}=").unwrap();
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    member(b"pax", EntryType::XHeader, b"", &body)
}

/// `header`, its checksum set, and the padded `body`.
pub(crate) fn finish(mut header: Header, body: &[u8]) -> Vec<u8> {
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn append(out: &mut Vec<u8>, text: &str) {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap();
    let name = words.next().unwrap();
    let words: Vec<&str> = words.collect();
    let (attributes, plain): (Vec<&str>, Vec<&str>) = words.iter().partition(|w| w.contains('='));
    let value = plain.first().copied().unwrap_or_default();

    let mut header = Header::new_gnu();
    header.set_mode(if kind == "d" { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    let mut body = Vec::new();
    let mut link = "";
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    let entry_type = match kind {
        "d" => EntryType::Directory,
        "f" => {
            body = value.as_bytes().to_vec();
            EntryType::Regular
        }
        "z" => {
            body = vec![0; value.parse().unwrap()];
            EntryType::Regular
        }
        "h" | "s" => {
            link = value;
            if kind == "h" { EntryType::Link } else { EntryType::Symlink }
        }
        "c" | "b" => {
            let (major, minor) = value.split_once(':').unwrap();
            header.set_device_major(major.parse().unwrap()).unwrap();
            header.set_device_minor(minor.parse().unwrap()).unwrap();
            if kind == "c" { EntryType::Char } else { EntryType::Block }
        }
        "p" => EntryType::Fifo,
        other => panic!("unknown member type {other}"),
    };
    header.set_entry_type(entry_type);
    for attribute in attributes {
        let (key, value) = attribute.split_once('=').unwrap();
        match key {
            "mode" => header.set_mode(u32::from_str_radix(value, 8).unwrap()),
            "uid" => header.set_uid(value.parse().unwrap()),
            "gid" => header.set_gid(value.parse().unwrap()),
            "mtime" => records.push(("mtime".to_owned(), value.as_bytes().to_vec())),
            xattr => {
                records.push((format!("SCHILY.xattr.{xattr}"), value.as_bytes().to_vec()));
            }
        }
    }
    if name.len() > 100 {
        records.push(("path".to_owned(), name.as_bytes().to_vec()));
    }
    if link.len() > 100 {
        records.push(("linkpath".to_owned(), link.as_bytes().to_vec()));
    }
    if !records.is_empty() {
        let records: Vec<_> = records.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
        out.extend(pax(&records));
    }
    let old = header.as_old_mut();
    let (name, link) = (name.as_bytes(), link.as_bytes());
    old.name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    old.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    header.set_size(body.len() as u64);
    out.extend(finish(header, &body));
}
