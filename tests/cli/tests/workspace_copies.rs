//! Files into workspaces and out of them, up or at rest.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::Duration;

use microagent_tests_cli::images::busybox;
use microagent_tests_cli::{Kept, Sandbox, until};
use rustix::process::Signal;

#[test]
fn files_are_copied_in_and_out_up_or_at_rest() {
    let Some(image) = busybox() else { return };
    let Some(kept) = Kept::new(image, &[]) else { return };
    let sandbox = &kept.sandbox;
    let inside = |path: &str| format!("{}:{path}", kept.name);
    let tree = sandbox.file("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    fs::write(tree.join("d/f"), "x".repeat(3 << 20)).unwrap();
    let copy = |from: &str, to: &str| sandbox.call(&["cp", from, to]).output();
    copy("tree", &inside("/root/new")).code(0).is_silent();
    assert_eq!(kept.state(), "created");
    kept.of("start", &["--wait"]).output().code(0);
    kept.exec(&["sh", "-c", "wc -c </root/new/d/f; stat -c %u /root/new"])
        .output()
        .code(0)
        .prints("3145728\n0\n");
    copy("tree", &inside("/root")).code(0).is_silent();
    kept.exec(&["sh", "-c", "wc -c </root/tree/d/f"]).output().code(0).prints("3145728\n");
    copy("tree/d/f", &inside("/root/single")).code(0);
    copy(&inside("/root/tree"), "back").code(0);
    assert!(fs::read(sandbox.file("back/d/f")).unwrap() == fs::read(tree.join("d/f")).unwrap());
    copy(&inside("/root/tree"), "back").code(0);
    copy(&inside("/root/tree"), "back").refuses(2, &["back/tree", "there already"]);
    copy(&inside("/none"), "none").refuses(125, &["/none"]);
    copy("tree", &inside("/none/there")).refuses(125, &["/none/there"]);
    copy("nothing", &inside("/root")).refuses(125, &["nothing"]);
    kept.of("halt", &[]).output().code(0);
    copy(&inside("/root/single"), "rest").code(0);
    assert_eq!(fs::metadata(sandbox.file("rest")).unwrap().len(), 3 << 20);
}

#[test]
fn what_is_at_rest_is_up_for_a_copy_alone() {
    let (Some(image), Some(sandbox)) = (busybox(), Sandbox::new()) else { return };
    let name = sandbox.new_name();
    sandbox.write("f", "here\n");
    fs::create_dir(sandbox.file("packed")).unwrap();
    sandbox.call(&["volume", "create", "data"]).output().code(0);
    let create = ["create", "--image", &image.reference("plain"), "--name", &name];
    let disks = ["--volume", "data:/data", "--bundle", "b=packed:/packed:rw"];
    let line = [
        "--setup",
        "echo set up >>/log",
        "--entrypoint",
        "sh -c 'echo ran >>/log; sync; sleep 999'",
    ];
    sandbox.call(&create).args(&disks).args(&line).output().code(0);
    let copy = |from: &str, to: &str| sandbox.call(&["cp", from, &format!("{name}:{to}")]);
    copy("f", "/data").output().code(0).is_silent();
    copy("f", "/packed/f").output().refuses(2, &["/packed/f", "packed anew at each start"]);
    copy("f", "/none/there").output().refuses(125, &["/none/there"]);
    copy("nothing", "/").output().refuses(125, &["nothing"]);
    let events = sandbox.call(&["events", &name]).output();
    assert_eq!(events.code(0).stdout().lines().count(), 1, "{}", events.text());
    let status = sandbox.call(&["status", "--json", &name]).output().code(0).json();
    assert_eq!((&status["state"], &status["backend"]), (&"created".into(), &().into()));
    assert!(!sandbox.workspace(&name).join("run").exists());
    // What comes meanwhile waits for its end.
    let big = sandbox.file("big");
    fs::File::create(&big).unwrap().set_len(1 << 20).unwrap();
    let up = || match sandbox.workspace(&name).join("run/machine").exists() {
        true => Ok(()),
        false => Err("it is not up"),
    };
    let copying = copy("big", "/data").start();
    until(Duration::from_secs(60), up).unwrap();
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    copying.finish().code(0);
    let read = ["exec", &name, "cat", "/data/f", "/log"];
    sandbox.call(&read).output().code(0).shows(&["here\nset up\n"]);
    let size = ["exec", &name, "stat", "-c", "%s", "/data/big"];
    sandbox.call(&size).output().code(0).prints("1048576\n");
    sandbox.call(&["halt", &name]).output().code(0);
    // Killed, it takes its machine with it, and the workspace is what it was.
    let copying = copy("big", "/").start();
    until(Duration::from_secs(60), up).unwrap();
    copying.signal(Signal::KILL);
    copying.finish();
    sandbox.call(&["start", "--wait", &name]).output().code(0);
    let log = sandbox.call(&["exec", &name, "cat", "/data/f", "/log"]).output();
    log.code(0).shows(&["here\nset up\n"]);
    sandbox.call(&["delete", "-f", &name]).output().code(0);
}

#[test]
fn outputs_are_fetched_while_it_is_up_and_after() {
    let Some(image) = busybox() else { return };
    let line = "echo one >/made; mkfifo /pipe; ln -s /etc /dir";
    let outputs = ["made=/made", "dir=/dir", "pipe=/pipe", "none=/none/there"];
    let more: Vec<_> = outputs.iter().flat_map(|output| ["--output", output]).collect();
    let Some(kept) = Kept::new(image, &[&more[..], &["--setup", line]].concat()) else { return };
    let list = |kind: &str| {
        let list = kept.sandbox.call(&["--json", "artifacts", "list", &kept.name]).output();
        let list = list.code(0).json();
        let of = |at: usize, key: &str| list["outputs"][at][key].clone();
        assert_eq!((of(0, "kind"), of(0, "size")), ("file".into(), 4.into()), "{list}");
        assert_eq!((of(1, "kind"), of(1, "size")), ("directory".into(), ().into()), "{list}");
        assert_eq!((of(2, "kind"), of(3, "kind")), (kind.into(), ().into()), "{list}");
    };
    kept.of("start", &["--wait"]).output().code(0);
    list("other");
    let get = |to: &str| {
        let call = kept.sandbox.call(&["artifacts", "get", &kept.name, "made", "--to", to]);
        call.output().code(0);
        fs::read_to_string(kept.sandbox.file(to).join("made")).unwrap()
    };
    assert_eq!(get("up"), "one\n");
    kept.of("halt", &[]).output().code(0);
    list("fifo");
    assert_eq!(get("rest"), "one\n");
}
