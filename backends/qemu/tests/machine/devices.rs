//! What the guest sees.

use std::fs;

use microagent_backend::Exit;
use microagent_machine::{Access, KernelFormat};

use crate::bench::{Bench, console, run};

#[tokio::test]
async fn disks_are_numbered_as_they_are_given() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let mut spec = bench.spec("disks");
        spec.vcpus = 2;
        let access = [Access::ReadOnly, Access::ReadWrite, Access::ReadOnly];
        let disks = ["zulu", "alpha", "mike"].into_iter().zip(access);
        spec.disks = disks.map(|(id, access)| bench.disk(id, access)).collect();
        let (machine, _life) = bench.attached(&spec, &dir).await;
        assert_eq!(run(machine.as_ref()).await, Exit::Reset);
        let console = console(machine.as_ref());
        for line in ["disk vda zulu 1", "disk vdb alpha 0", "disk vdc mike 1", "cpus 2"] {
            assert!(console.contains(line), "{line}: {console}");
        }
        assert!(fs::read(&spec.disks[1].path).unwrap().starts_with(b"written\n"));
        machine.destroy().await.unwrap();
    }
}

#[tokio::test]
async fn as_many_disks_as_are_declared() {
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let mut spec = bench.spec("disks");
        spec.disks = (0..6).map(|n| bench.disk(&format!("d{n}"), Access::ReadWrite)).collect();
        let (machine, _life) = bench.attached(&spec, &dir).await;
        assert_eq!(run(machine.as_ref()).await, Exit::Reset);
        let console = console(machine.as_ref());
        assert!(console.contains("disk vdf d5 0"), "{console}");
        machine.destroy().await.unwrap();
    }
}

/// A kernel as distributions ship it, in `MICROAGENT_BZIMAGE`.
#[tokio::test]
async fn a_compressed_kernel_boots() {
    let Some(kernel) = std::env::var_os("MICROAGENT_BZIMAGE") else {
        return eprintln!("SKIP: MICROAGENT_BZIMAGE names no compressed kernel to boot");
    };
    for bench in Bench::all() {
        let dir = bench.dir("m");
        let mut spec = bench.spec("reset");
        if let Some(boot) = &mut spec.boot {
            (boot.kernel, boot.format) = (kernel.clone().into(), KernelFormat::BzImage);
        }
        let (machine, _life) = bench.attached(&spec, &dir).await;
        assert_eq!(run(machine.as_ref()).await, Exit::Reset);
        assert!(console(machine.as_ref()).contains("guest is up"));
        machine.destroy().await.unwrap();
    }
}
