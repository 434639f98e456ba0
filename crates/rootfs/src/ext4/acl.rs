//! POSIX ACLs: archives and system calls carry one layout, ext4 stores another
//! (`fs/ext4/acl.c`: version 1, and no ID where an entry needs none).

/// The attributes that hold ACLs.
pub(super) fn is_acl(name: &[u8]) -> bool {
    matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

const XATTR_VERSION: u32 = 2;
const EXT4_VERSION: u32 = 1;

const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
const KNOWN: [u16; 6] = [0x01, USER, 0x04, GROUP, 0x10, 0x20];

/// What ext4 stores for the attribute value `xattr`; `None` if it is no ACL.
pub(super) fn to_disk(xattr: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = xattr.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != XATTR_VERSION || !rest.is_empty() {
        return None;
    }
    let mut out = EXT4_VERSION.to_le_bytes().to_vec();
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        if !KNOWN.contains(&tag) {
            return None;
        }
        let with_id = matches!(tag, USER | GROUP);
        out.extend_from_slice(&entry[..if with_id { 8 } else { 4 }]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_only_where_they_mean_something() {
        let xattr = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 4, 0, 0xe8, 3, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[0x10, 0, 4, 0, 255, 255, 255, 255],
            &[0x20, 0, 4, 0, 255, 255, 255, 255],
        ]
        .concat();
        let disk = [
            &[1, 0, 0, 0][..],
            &[1, 0, 6, 0],
            &[2, 0, 4, 0, 0xe8, 3, 0, 0],
            &[4, 0, 4, 0],
            &[0x10, 0, 4, 0],
            &[0x20, 0, 4, 0],
        ]
        .concat();
        assert_eq!(to_disk(&xattr), Some(disk));
        for bad in [&b""[..], &[1, 0, 0, 0], &xattr[..7], &[2, 0, 0, 0, 9, 0, 6, 0, 0, 0, 0, 0]] {
            assert_eq!(to_disk(bad), None, "{bad:?}");
        }
    }
}
