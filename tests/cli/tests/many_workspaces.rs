//! Many workspaces at once on few processors.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::{Duration, Instant};

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Invocation, Live, Sandbox};

/// As many as are promised on two processors without KVM.
const MANY: usize = 20;

/// How long all of them together may take to boot under emulation.
const UP_WITHIN: Duration = Duration::from_secs(600);

/// Most memory that a shim may take, in KiB of proportional set size.
const SHIM_KIB: u64 = 10 << 10;

fn all(calls: Vec<Invocation>) {
    let live: Vec<Live> = calls.into_iter().map(Invocation::start).collect();
    for call in live {
        call.finish_within(UP_WITHIN).code(0);
    }
}

#[test]
fn many_come_up_answer_and_halt_and_their_shims_are_small() {
    let Some(image) = busybox() else { return };
    let Some(sandbox) = Sandbox::new() else { return };
    let names: Vec<_> = (0..MANY).map(|_| sandbox.new_name()).collect();
    let image = image.reference("plain");
    for name in &names {
        let create = ["create", "--image", &image, "--name", name, "--memory", "128"];
        sandbox.call(&create).args(&["--cpus", "1"]).output().code(0);
    }
    let began = Instant::now();
    all(names.iter().map(|name| sandbox.call(&["start", "--wait", name])).collect());
    let up = began.elapsed();
    for name in &names {
        sandbox.call(&["exec", name, "hostname"]).output().code(0).prints(&format!("{name}\n"));
    }
    let shims: Vec<_> = names
        .iter()
        .map(|name| {
            let object = sandbox.call(&["stats", "--json", name]).output().code(0).json();
            object["usage"]["shim_kib"].as_u64().unwrap()
        })
        .collect();
    let largest = shims.iter().max().unwrap();
    println!("{MANY} up after {up:.1?}, largest shim {largest} KiB");
    assert!(*largest < SHIM_KIB, "{shims:?}");
    all(names.iter().map(|name| sandbox.call(&["halt", name])).collect());
    all(vec![sandbox.call(&["prune", "--resting"])]);
}
