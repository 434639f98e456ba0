//! `microagent run`: an image, a command, its result.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use microagent_tests_cli::images::{Busybox, busybox};
use microagent_tests_cli::{Registry, Sandbox, tools};

fn parts() -> Option<(Sandbox, &'static Busybox)> {
    Some((Sandbox::new()?, busybox()?))
}

#[test]
fn exec_runs_a_line_in_a_shell_and_passes_output_and_exit_code_through() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "uname -s; echo \"$0 $((40 + 2))\"; echo wrong >&2; exit 7";
    let outcome = sandbox.run(&["--image", &image.reference("plain"), "--exec", line]).output();
    outcome.code(7).prints("Linux\n/bin/sh 42\n");
    assert_eq!(outcome.stderr(), "wrong\n", "{}", outcome.text());
}

#[test]
fn positional_arguments_reach_the_program_as_they_are() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let program =
        ["sh", "-c", "for a; do echo \"[$a]\"; done", "sh", "a b", "", "*", "--name", "-x"];
    let outcome = sandbox.run(&[&image]).args(&program).output();
    outcome.code(0).prints("[a b]\n[]\n[*]\n[--name]\n[-x]\n").is_silent();
}

#[test]
fn entrypoint_and_arguments_combine_as_docker_combines_them() {
    let Some((sandbox, image)) = parts() else { return };
    let check = |tag: &str, arguments: &[&str], expect: &str| {
        let outcome = sandbox.run(&["--image", &image.reference(tag)]).args(arguments).output();
        outcome.code(0).prints(expect);
    };
    check("entry", &[], "entry default arguments\n");
    check("entry", &["mine"], "entry mine\n");
    check("entry", &["--entrypoint", "echo 'other one'"], "other one\n");
    check("entry", &["--entrypoint", "/bin/echo other", "mine"], "other mine\n");
    check("entry", &["--exec", "echo line"], "line\n");
}

#[test]
fn an_image_without_a_command_needs_one() {
    let Some((sandbox, image)) = parts() else { return };
    let bare = image.reference("bare");
    sandbox.run(&["--image", &bare]).output().refuses(2, &["neither entrypoint nor command"]);
    // Nor does it say a PATH: commands are still found.
    let outcome = sandbox.run(&["--image", &bare, "--exec", "ls -d /bin; echo $PATH"]).output();
    outcome.code(0).shows(&["/bin\n", "/usr/bin"]);
}

#[test]
fn the_environment_is_the_images_then_the_files_then_the_flags() {
    let Some((sandbox, image)) = parts() else { return };
    let file = sandbox.write("env", "# a comment\n\nBOTH=file\nFILE=file\nHOSTS\nSPACED=a b\n");
    let outcome = sandbox
        .run(&["--image", &image.reference("dressed"), "--env-file", file.to_str().unwrap()])
        .args(&["-e", "FILE=flag", "--env", "EMPTY=", "-e", "HOST_TOO", "-e", "NOT_THERE"])
        .args(&["--exec", "env"])
        .env("HOSTS", "of the host")
        .env("HOST_TOO", "as well")
        .env("PRIVATE", "nobody asked for it")
        .output();
    outcome.code(0);
    let stdout = outcome.stdout();
    let has = |line: &str| stdout.lines().any(|l| l == line);
    for line in [
        "FROM=image",
        "BOTH=file",
        "FILE=flag",
        "HOSTS=of the host",
        "SPACED=a b",
        "EMPTY=",
        "HOST_TOO=as well",
        "PATH=/bin:/usr/bin",
        "HOME=/home/app",
    ] {
        assert!(has(line), "no {line}: {}", outcome.text());
    }
    for name in ["PRIVATE", "NOT_THERE", "MICROAGENT"] {
        assert!(!stdout.contains(name), "{name} is there: {}", outcome.text());
    }
}

#[test]
fn the_user_and_the_directory_are_the_images_or_those_of_the_flags() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("dressed");
    let check = |arguments: &[&str], expect: &str| {
        let line = "echo $(id -u):$(id -g):$(id -G | tr ' ' ,) $(pwd)";
        let outcome =
            sandbox.run(&["--image", &image]).args(arguments).args(&["--exec", line]).output();
        outcome.code(0).prints(&format!("{expect}\n"));
    };
    check(&[], "1000:1000:1000,10 /made/for/this");
    check(&["-u", "root", "-w", "/tmp"], "0:0:0 /tmp");
    check(&["--user", "1234", "--workdir", "/new/one"], "1234:0:0 /new/one");
    check(&["--user", "app:other"], "1000:2000:2000 /made/for/this");
    check(&["-u", "1000:77"], "1000:77:77 /made/for/this");
}

#[test]
fn users_that_the_image_does_not_know_are_named() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let run = |user: &str| sandbox.run(&["--image", &image, "-u", user, "--exec", "id"]).output();
    let outcome = run("nobody-here");
    outcome.prints("").says(&["nobody-here"]);
    assert!(matches!(outcome.status.code(), Some(125 | 126)), "{}", outcome.text());
}

#[test]
fn the_shell_can_be_another() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let run = |shell: &str| {
        sandbox.run(&["--image", &image, "--shell", shell, "--exec", "echo $0"]).output()
    };
    run("/bin/ash").code(0).prints("/bin/ash\n");
    run("/bin/no-shell").code(127).prints("").says(&["/bin/no-shell"]);
}

#[test]
fn a_command_that_is_not_there_or_no_program_is_127_or_126() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let run = |program: &str| sandbox.run(&["--image", &image, program]).output();
    run("no-such-program").code(127).prints("").says(&["no-such-program"]);
    run("/bin/not-executable").code(126).prints("").says(&["/bin/not-executable"]);
    run("/etc").code(126).prints("").says(&["/etc"]);
}

#[test]
fn exit_codes_and_signals_are_the_commands_own() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let check = |line: &str, code: i32| {
        sandbox.run(&["--image", &image, "--cpus", "1", "--exec", line]).output().code(code);
    };
    check("exit 0", 0);
    check("exit 1", 1);
    check("exit 125", 125);
    check("exit 255", 255);
    check("kill -KILL $$", 137);
    check("kill -TERM $$", 143);
    check("kill -SEGV $$", 139);
    check("kill -USR1 $$", 138);
}

#[test]
fn setup_runs_in_order_and_its_failure_ends_the_run() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let both = ["--setup", "echo one >> /log", "--setup", "echo two >> /log"];
    let outcome =
        sandbox.run(&["--image", &image]).args(&both).args(&["--exec", "cat /log"]).output();
    outcome.code(0).prints("one\ntwo\n");
    // It has what the command has, and may write to the root disk.
    let outcome = sandbox
        .run(&["--image", &image, "--setup", "echo before", "--setup", "exit 9"])
        .args(&["--setup", "echo never", "--exec", "echo never"])
        .output();
    outcome.code(9).says(&["setup 2", "exit 9"]);
    assert!(!outcome.stdout().contains("never"), "{}", outcome.text());
}

#[test]
fn the_host_name_comes_from_the_name_or_the_flag() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let line = "hostname; cat /proc/sys/kernel/hostname; echo $HOSTNAME";
    let call = |arguments: &[&str]| {
        let run = sandbox.call(&["run", "--image", &image, "--exec", line]);
        run.args(arguments).output()
    };
    call(&["--name", "My_Box.1"]).code(0).prints(&"my-box-1\n".repeat(3));
    call(&["--id", "x", "--hostname", "other.name"]).code(0).prints(&"other.name\n".repeat(3));
}

#[test]
fn every_kind_of_source_runs() {
    let Some((sandbox, image)) = parts() else { return };
    let Some(registry) = Registry::start() else { return };
    if !tools(&["skopeo"]) {
        return;
    }
    let archive = |kind: &str, tag: &str| {
        let path = sandbox.file(kind);
        let to = format!("{kind}:{}:{tag}", path.display());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "-q", &image.reference("plain"), &to]);
        assert!(skopeo.status().unwrap().success(), "{skopeo:?}");
        format!("{kind}:{}", path.display())
    };
    registry.push(&image.reference("plain"), "some/box:v1");
    let sources = [
        image.reference("zstd"),
        image.reference("tar"),
        archive("oci-archive", "one"),
        archive("docker-archive", "box:one"),
        registry.reference("some/box:v1"),
    ];
    for source in sources {
        let run = sandbox.run(&["--cpus", "1", &source, "echo", "from", &source]);
        run.output().code(0).prints(&format!("from {source}\n"));
    }
}

#[test]
fn resources_are_what_was_asked_for() {
    let Some((sandbox, image)) = parts() else { return };
    let line = "nproc; awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo; \
                df -m / | awk 'NR == 2 { print $2 }'";
    let image = image.reference("plain");
    let check = |arguments: &[&str], cpus: u64, memory: u64, disk: u64| {
        let outcome =
            sandbox.run(&["--image", &image]).args(arguments).args(&["--exec", line]).output();
        outcome.code(0);
        let stdout = outcome.stdout();
        let got: Vec<u64> = stdout.lines().map(|l| l.parse().unwrap()).collect();
        // The kernel keeps some memory, the file system some blocks, for itself.
        let near = |got: u64, asked: u64| got <= asked && got >= asked * 8 / 10;
        let [c, m, d] = got[..] else { panic!("{}", outcome.text()) };
        assert!(c == cpus && near(m, memory) && near(d, disk), "{}", outcome.text());
    };
    check(&["--profile", "tiny"], 1, 256, 512);
    check(&["--profile", "tiny", "--memory", "1G", "--size-mib", "300"], 1, 1024, 300);
}

#[test]
fn there_is_no_network_unless_there_is_one() {
    let Some((sandbox, image)) = parts() else { return };
    let image = image.reference("plain");
    let run = sandbox.run(&["--image", &image, "--network", "isolated"]);
    let line = "ls -d /sys/class/net/*/device; ping -c 1 -W 5 127.0.0.1 > /dev/null && echo lo";
    let outcome = run.args(&["--exec", line]).output();
    outcome.code(0).prints("lo\n");
}
