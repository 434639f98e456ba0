//! Two listings, compared.

use std::collections::{BTreeMap, BTreeSet};

/// A section's records, in no order.
type Sections = BTreeMap<String, BTreeSet<String>>;

/// Inode numbers differ from one file system to the next: what counts is which names share.
const LINKS: &str = "links";
/// Records of this section span several lines.
const ATTRIBUTES: &str = "attributes";

/// What one listing has and the other has not: `-` is only expected, `+` is only in the guest.
/// Both must be whole.
///
/// # Panics
/// Where a listing was cut off.
pub fn differences(expected: &str, guest: &str) -> Vec<String> {
    let (expected, guest) = (sections(expected), sections(guest));
    let names: BTreeSet<_> = expected.keys().chain(guest.keys()).collect();
    let none = BTreeSet::new();
    let mut found = Vec::new();
    for name in names {
        let (ours, theirs) =
            (guest.get(name).unwrap_or(&none), expected.get(name).unwrap_or(&none));
        found.extend(theirs.difference(ours).map(|record| format!("{name} - {record}")));
        found.extend(ours.difference(theirs).map(|record| format!("{name} + {record}")));
    }
    found
}

fn sections(listing: &str) -> Sections {
    assert!(listing.ends_with("== end\0"), "the listing is cut off: {} bytes", listing.len());
    let mut records: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut current = String::new();
    for record in listing.split('\0') {
        match record.strip_prefix("== ") {
            Some(name) => name.clone_into(&mut current),
            None => records.entry(current.clone()).or_default().push(record),
        }
    }
    let whole = |(name, records): (String, Vec<&str>)| {
        let set = match name.as_str() {
            LINKS => groups(&records),
            ATTRIBUTES => attributes(&records),
            _ => records.iter().filter(|r| !r.is_empty()).map(|r| (*r).to_owned()).collect(),
        };
        (name, set)
    };
    records.into_iter().map(whole).collect()
}

/// Names that share an inode, joined.
fn groups(records: &[&str]) -> BTreeSet<String> {
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (inode, name) in records.iter().filter_map(|record| record.split_once('\t')) {
        groups.entry(inode).or_default().insert(name);
    }
    groups.into_values().map(|names| names.into_iter().collect::<Vec<_>>().join(" = ")).collect()
}

/// What `getfattr` prints, one record for each file: its name, then its attributes, sorted.
fn attributes(lines: &[&str]) -> BTreeSet<String> {
    let files = lines.split(|line| line.is_empty()).filter(|file| !file.is_empty());
    let record = |file: &[&str]| {
        let mut attributes = file[1..].to_vec();
        attributes.sort_unstable();
        format!("{}: {}", file[0], attributes.join(" "))
    };
    files.map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &str, guest: &str, differ: &[&str]) {
        let end = "== end\0";
        let got = differences(&format!("{expected}{end}"), &format!("{guest}{end}"));
        assert_eq!(got, differ);
    }

    #[test]
    fn only_what_differs_is_told() {
        check("== names\0a\0b\0", "== names\0b\0a\0", &[]);
        check("== names\0a\0", "== names\0b\0", &["names - a", "names + b"]);
        check("== links\x001\ta\x001\tb\0", "== links\x007\tb\x007\ta\0", &[]);
        check(
            "== links\x001\ta\x001\tb\0",
            "== links\x001\ta\x002\tb\0",
            &["links - a = b", "links + a", "links + b"],
        );
        let file = "== attributes\0# file: ./a\0user.b=1\0user.a=2\0\0";
        check(file, "== attributes\0# file: ./a\0user.a=2\0user.b=1\0\0", &[]);
    }
}
