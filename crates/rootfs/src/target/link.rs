//! Whether a symbolic link stays within a tree.

/// Whether the link at `path`, of a tree whose directories are real ones, leads nowhere but
/// into that tree.
///
/// It does if it first climbs, no higher than the tree's root, and then only descends: every
/// link on the way down is of the same kind. With `..` behind a name the name could be a link
/// itself, and what is above its target is not what is above it.
pub(super) fn stays_within(path: &[u8], to: &[u8]) -> bool {
    if to.starts_with(b"/") || to.is_empty() || to.contains(&0) || path.is_empty() {
        return false;
    }
    let above = path.iter().filter(|&&byte| byte == b'/').count();
    let parts: Vec<&[u8]> = to.split(|&byte| byte == b'/').filter(|p| *p != b".").collect();
    let climbs = parts.iter().take_while(|part| **part == b"..").count();
    climbs <= above && !parts.iter().skip(climbs).any(|part| *part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, to: &str, stays: bool) {
        assert_eq!(stays_within(path.as_bytes(), to.as_bytes()), stays, "{path} -> {to}");
    }

    #[test]
    fn links_stay_or_are_left_out() {
        check("a", "b", true);
        check("a", "./b/c", true);
        check("a", "b//c/", true);
        check("d/a", "../b", true);
        check("d/e/a", "../../b", true);
        check("d/e/a", "..", true);
        check("a", "..", false);
        check("a", "../b", false);
        check("d/a", "../../b", false);
        check("d/a", "./.././../b", false);
        check("a", "b/../c", false);
        check("a", "/etc/passwd", false);
        check("a", "", false);
        check("a", "b\0c", false);
        // A target that is nothing but a link.
        check("", "b", false);
    }
}
