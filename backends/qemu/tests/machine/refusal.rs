//! What cannot be made, and what that leaves: nothing.

use std::fs;

use microagent_backend::{Backend, ErrorKind, Lifetime};
use microagent_machine::{Access, MachineSpec};

use crate::bench::Bench;

async fn refused(bench: &Bench, spec: &MachineSpec, kind: ErrorKind, text: &str) {
    let dir = bench.dir("refused");
    let error = bench.backend.create(spec, &dir, Lifetime::Detached).await.err().unwrap();
    assert_eq!(error.kind, kind, "{error:?}");
    assert!(error.message.contains(text), "{error}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let me = std::process::id();
    let children = fs::read_to_string(format!("/proc/{me}/task/{me}/children"));
    assert!(!children.unwrap_or_default().contains("microagent-vmm"));
    dir.remove().unwrap();
}

#[tokio::test]
async fn refusals_name_the_reason() {
    for bench in Bench::all() {
        let change = |change: &dyn Fn(&mut MachineSpec)| {
            let mut spec = bench.spec("reset");
            change(&mut spec);
            spec
        };
        let refused = async |spec, kind, text| refused(&bench, &spec, kind, text).await;
        refused(change(&|s| s.boot = None), ErrorKind::Usage, "no kernel").await;
        let many = change(&|s| {
            let disk = |n| bench.disk(&format!("d{n}"), Access::ReadWrite);
            s.disks = (0..7).map(disk).collect();
        });
        refused(many, ErrorKind::Unsupported, "disks: 7 asked for, at most 6").await;
        refused(change(&|s| s.vcpus = 1000), ErrorKind::Unsupported, "vcpus: 1000").await;
        let lost = change(&|s| {
            s.disks = vec![bench.disk("lost", Access::ReadWrite)];
            fs::remove_file(&s.disks[0].path).unwrap();
        });
        refused(lost, ErrorKind::Io, "cannot open disk").await;
        let nonsense = bench.top.path().join("nonsense");
        fs::write(&nonsense, "no kernel").unwrap();
        let no_kernel = change(&|s| {
            if let Some(boot) = &mut s.boot {
                boot.kernel = nonsense.clone();
            }
        });
        refused(no_kernel, ErrorKind::Crashed, "qemu ended before the guest ran: qemu").await;
    }
}

#[tokio::test]
async fn a_disk_is_one_machines() {
    for bench in Bench::all() {
        let mut spec = bench.spec("hang");
        spec.disks = vec![bench.disk("only", Access::ReadWrite)];
        let dir = bench.dir("first");
        let (first, _life) = bench.attached(&spec, &dir).await;
        refused(&bench, &spec, ErrorKind::Conflict, "lock").await;
        first.destroy().await.unwrap();
        let dir = bench.dir("second");
        let (second, _life) = bench.attached(&spec, &dir).await;
        second.destroy().await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_is_one_machines() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let (machine, _life) = bench.attached(&bench.spec("hang"), &dir).await;
        let again = bench.backend.create(&bench.spec("hang"), &dir, Lifetime::Detached).await;
        assert_eq!(again.err().unwrap().kind, ErrorKind::Conflict);
        machine.start().await.unwrap();
        machine.destroy().await.unwrap();
    }
}
