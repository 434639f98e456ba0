//! Disks with a file system on them, as nearly all have.

use microagent_machine::{Access, Disk, MachineSpec};

use super::crash::{crashed, kill_monitor};
use crate::bench::Subject;
use crate::case::case;
use crate::failure::{Failure, Result, require};
use crate::{Case, Context, End, Script, Step};

// Rng: a new file system draws an identity.
pub(super) const CASES: &[Case] = &[
    case!(T2, [Disk, ReadOnlyDisk, Rng], a_file_system_on_a_read_only_disk_refuses_writes),
    case!(T4, [Disk, Rng], what_was_synced_outlives_a_killed_monitor),
];

const MAKE: &str = "busybox mke2fs -F $(find_disk data) >/dev/null 2>&1 || echo not-made";
const MOUNT: &str = "mount -t ext4 $(find_disk data) /mnt || echo not-mounted";
const MOUNT_READ_ONLY: &str = "mount -t ext4 -o ro $(find_disk data) /mnt || echo not-mounted";

/// Several blocks of it.
const WRITE: &str = "i=0; while [ $i -lt 500 ]; do echo this-is-line-$i; i=$((i+1)); done >/mnt/f";
/// What is in the file then: its last line, and how many there are.
const TELL: &str = "busybox tail -n 1 /mnt/f; echo lines=$(busybox wc -l </mnt/f)";
const TOLD: [&str; 2] = ["this-is-line-499", "lines=500"];

async fn a_file_system_on_a_read_only_disk_refuses_writes(context: Context) -> Result {
    let disk = context.disk("data", Access::ReadWrite, "")?;
    let fill = [MAKE, MOUNT, WRITE, "busybox umount /mnt"];
    ended(start(&context, "filling", &disk, &fill, End::PowerOff).await?).await?;
    let before = std::fs::read(&disk.path)?;
    let disk = Disk { access: Access::ReadOnly, ..disk };
    let change = [
        MOUNT_READ_ONLY,
        "echo x >/mnt/new; echo x >/mnt/f; busybox rm -f /mnt/f",
        "mount -o remount,rw /mnt 2>/dev/null && echo writable; echo x >/mnt/new && echo written",
        TELL,
    ];
    let subject = start(&context, "reading", &disk, &change, End::PowerOff).await?;
    let said = ended(subject).await?;
    let refused = said.matches("Read-only file system").count();
    require(refused == 4 && !said.contains("writable") && !said.contains("written"), || {
        format!("expected four refusals of a read-only file system, the guest said {said:?}")
    })?;
    told(&said)?;
    require(std::fs::read(&disk.path)? == before, || "the image has changed".to_owned())
}

async fn what_was_synced_outlives_a_killed_monitor(context: Context) -> Result {
    let disk = context.disk("data", Access::ReadWrite, "")?;
    let fill = [MAKE, MOUNT, WRITE, "busybox sync", "echo synced"];
    let subject = start(&context, "writing", &disk, &fill, End::Never).await?;
    subject.says("synced").await?;
    kill_monitor(&subject).await?;
    crashed(&subject.exit().await?)?;
    subject.destroyed().await?;
    let said =
        ended(start(&context, "reading", &disk, &[MOUNT, TELL], End::PowerOff).await?).await?;
    told(&said)
}

/// A machine with this disk, whose guest runs these lines.
async fn start(
    context: &Context,
    name: &str,
    disk: &Disk,
    lines: &[&str],
    end: End,
) -> Result<Subject> {
    let steps = lines.iter().map(|line| Step::shell(line));
    let spec = context.device_spec(&Script::new(steps, end))?;
    let spec = MachineSpec { disks: vec![disk.clone()], rng: true, ..spec };
    let subject = context.make(name, &spec).await?;
    subject.machine.start().await?;
    Ok(subject)
}

/// What a guest has said by its end.
async fn ended(subject: Subject) -> Result<String> {
    subject.exit().await?;
    let said = subject.said()?;
    subject.destroyed().await?;
    let failed = said.contains("not-made") || said.contains("not-mounted");
    require(!failed, || format!("no file system: {said:?}"))?;
    Ok(said)
}

fn told(said: &str) -> Result {
    let missing = TOLD.into_iter().find(|part| !said.contains(part));
    let failed = |part| Failure::broken(format!("no '{part}' in what the guest said: {said:?}"));
    missing.map_or(Ok(()), |part| Err(failed(part)))
}
