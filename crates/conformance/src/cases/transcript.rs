//! The same guest on every backend: what it tells is the same, word for word.
//!
//! The transcripts are part of the cases, so that backends that never run on one host are
//! compared too.

use microagent_backend::State;
use microagent_machine::{Access, Cid, DiskId, MachineSpec, Vsock};

use crate::case::case;
use crate::failure::{Failure, Result, require};
use crate::{Case, Context, End, Script, Step};

pub(super) const CASES: &[Case] = &[
    case!(
        T2,
        [Disk, ReadOnlyDisk, Console],
        what_a_guest_tells_of_its_disks_is_the_same_everywhere
    ),
    case!(
        T2,
        [Disk, ReadOnlyDisk, Console, Vsock, Rng, MultipleVcpus],
        what_a_guest_tells_of_its_devices_is_the_same_everywhere
    ),
];

const BEGIN: &str = "transcript-begins";
const END: &str = "transcript-ends";

const DISKS: &str = "\
fixed-line
refused
data-line
DATA-line
";

/// Of two disks, a source of entropy and a socket, by the numbers of virtio 1.2, section 5. A
/// disk's line holds its serial, whether it is read-only, its sectors and their length.
const DEVICES: &str = "\
vda fixed 1 2048 512
vdb data 0 2048 512
0x0002
0x0002
0x0004
0x0013
cpus=2
0-1
rng=yes
virtio_rng.0
/dev/vsock
fixed-line
refused
DATA-line
";

async fn what_a_guest_tells_of_its_disks_is_the_same_everywhere(context: Context) -> Result {
    let steps = vec![read("fixed")?, write("fixed")?, read("data")?, write("data")?, read("data")?];
    same_everywhere(&context, steps, |_| (), DISKS).await
}

async fn what_a_guest_tells_of_its_devices_is_the_same_everywhere(context: Context) -> Result {
    const OF_EACH_DISK: &str = "for disk in /sys/block/vd*; do echo ${disk##*/} $(cat $disk/serial) \
                                $(cat $disk/ro $disk/size $disk/queue/logical_block_size); done";
    let steps = vec![
        Step::shell(OF_EACH_DISK),
        Step::shell("cat /sys/bus/virtio/devices/*/device | busybox sort"),
        Step::CountCpus,
        Step::shell("cat /sys/devices/system/cpu/online"),
        Step::TryRng,
        Step::shell("cat /sys/class/misc/hw_random/rng_current"),
        Step::shell("busybox ls /dev/vsock"),
        read("fixed")?,
        write("fixed")?,
        write("data")?,
        read("data")?,
    ];
    let more = |spec: &mut MachineSpec| {
        spec.vcpus = 2;
        spec.rng = true;
        spec.vsock = Some(Vsock { cid: Cid::GUEST });
    };
    same_everywhere(&context, steps, more, DEVICES).await
}

fn read(disk: &str) -> Result<Step> {
    Ok(Step::Read { disk: id(disk)? })
}

fn write(disk: &str) -> Result<Step> {
    Ok(Step::Write { disk: id(disk)?, text: "DATA".to_owned() })
}

fn id(text: &str) -> Result<DiskId> {
    DiskId::new(text).map_err(|e| Failure::broken(e.to_string()))
}

/// Runs `steps` on a machine with a disk that is read-only and one that is not, and fails
/// unless what the guest told meanwhile is `expect`.
async fn same_everywhere(
    context: &Context,
    steps: Vec<Step>,
    more: impl FnOnce(&mut MachineSpec),
    expect: &str,
) -> Result {
    let whole = [vec![Step::say(BEGIN)], steps, vec![Step::say(END)]].concat();
    let mut spec = context.device_spec(&Script::new(whole, End::PowerOff))?;
    spec.disks.push(context.disk("fixed", Access::ReadOnly, "fixed-line\n")?);
    spec.disks.push(context.disk("data", Access::ReadWrite, "data-line\n")?);
    more(&mut spec);
    let subject = context.make("m", &spec).await?;
    subject.machine.start().await?;
    subject.exit().await?;
    subject.is(State::Stopped).await?;
    let said = subject.said()?;
    let told = transcript(&said);
    require(told.as_deref() == Some(expect), || {
        format!("expected {expect:?}, the guest told {told:?}, and said in all {said:?}")
    })?;
    subject.destroyed().await
}

/// What a guest told between the two marks, without what a serial line makes of the ends of
/// lines.
fn transcript(said: &str) -> Option<String> {
    let mut lines = said.lines().map(str::trim_end);
    lines.find(|line| *line == BEGIN)?;
    let mut told = String::new();
    for line in lines {
        if line == END {
            return Some(told);
        }
        told.push_str(line);
        told.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &str, expect: Option<&str>) {
        assert_eq!(transcript(said).as_deref(), expect, "{said:?}");
    }

    #[test]
    fn what_stands_between_the_marks_is_told() {
        check("", None);
        check("transcript-begins\r\na\r\n", None);
        check("firmware\r\ntranscript-begins\r\ntranscript-ends\r\n", Some(""));
        check("transcript-begins\na  b\r\n\r\n[x]\ntranscript-ends\nc", Some("a  b\n\n[x]\n"));
    }
}
