//! Listing a tree in the guest and on the host with the same script, and comparing the two.
//!
//! Of directories neither size nor number of links is listed: both belong to the file system
//! that holds them (a directory of ext4 never shrinks and is rounded to blocks), not to the
//! image. What is mounted in a guest (`dev`, `proc`, `sys`, `run`) is listed as a name only.

mod difference;

pub use difference::differences;

/// Lists the working directory's tree with GNU find, in sections that begin with `== name`.
/// Records of names end with NUL, because names may hold anything else.
pub const GNU: &str = r#"set -e
export LC_ALL=C
skip() { find . -xdev -mindepth 1 \( -path ./dev -o -path ./proc -o -path ./sys -o -path ./run -o -path ./lost+found \) -prune -o "$@"; }
printf '== names\0'
skip \( -type d -printf '%P\t%y\t%m\t%U\t%G\t%T@\0' -o -printf '%P\t%y\t%m\t%U\t%G\t%T@\t%s\t%n\t%l\0' \)
printf '== devices\0'
skip \( -type b -o -type c \) -exec stat --printf '%n\t%F\t%t:%T\0' {} +
printf '== sums\0'
skip -type f -print0 | sort -z | xargs -0 md5sum -z
printf '== links\0'
skip -type f -links +1 -printf '%i\t%P\0'
printf '== attributes\0'
skip -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex --absolute-names | tr '\n' '\0'
printf '== end\0'
"#;

/// The same with what busybox has.
pub const BUSYBOX: &str = r#"set -e
skip() { busybox find . -xdev -mindepth 1 \( -path ./dev -o -path ./proc -o -path ./sys -o -path ./run -o -path ./lost+found \) -prune -o "$@"; }
printf '== names\0'
skip ! -type d -print0 | busybox xargs -0 busybox stat -c '%n|%f|%u|%g|%Y|%s|%h|%t:%T|%N' | busybox tr '\n' '\0'
skip -type d -print0 | busybox xargs -0 busybox stat -c '%n|%f|%u|%g|%Y' | busybox tr '\n' '\0'
printf '== sums\0'
skip -type f -print0 | busybox xargs -0 busybox md5sum | busybox tr '\n' '\0'
printf '== links\0'
skip -type f -links +1 -print0 | busybox xargs -0 busybox stat -c '%i	%n' | busybox tr '\n' '\0'
printf '== end\0'
"#;
