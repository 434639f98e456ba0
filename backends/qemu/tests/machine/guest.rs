//! What runs in the guest: a shell script on busybox, in a cpio archive made here.

use std::fs;
use std::path::Path;

const SCRIPT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
exec >/dev/console 2>&1 </dev/null
echo guest is up
case "$($b cat /proc/cmdline)" in
*do=reset*) ;;
*do=panic*) exit 1 ;;
*do=disks*)
    for disk in /sys/block/vd*; do
        echo "disk ${disk##*/} $($b cat $disk/serial) $($b cat $disk/ro)"
    done
    echo "cpus $($b nproc)"
    echo written > /dev/vdb
    $b sync
    ;;
*do=count*) n=0; while :; do n=$((n + 1)); echo "tick $n"; $b usleep 20000; done ;;
*) while :; do $b sleep 1000; done ;;
esac
$b reboot -f
"#;

/// Writes an initramfs whose init does what `do=` on the kernel's command line says.
pub(crate) fn initramfs(path: &Path, busybox: &Path) {
    let mut archive = Vec::new();
    for dir in ["bin", "dev", "proc", "sys"] {
        entry(&mut archive, dir, 0o040755, b"");
    }
    entry(&mut archive, "bin/busybox", 0o100755, &fs::read(busybox).unwrap());
    entry(&mut archive, "init", 0o100755, SCRIPT.as_bytes());
    entry(&mut archive, "TRAILER!!!", 0, b"");
    fs::write(path, archive).unwrap();
}

/// An entry of the "newc" format (Linux, Documentation/driver-api/early-userspace).
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, data: &[u8]) {
    let len = data.len();
    let fields = [0, mode, 0, 0, 1, 0, len as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
