//! What programs find in the guest: an ordinary Linux system, for root and for others.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a test fails")]

use microagent_tests_cli::images::{Debian, debian};
use microagent_tests_cli::{Invocation, Outcome, Sandbox};

/// Root disks of a Debian are built once for all of these.
fn parts() -> Option<(Sandbox, &'static Debian)> {
    Some((Sandbox::shared()?, debian()?))
}

/// A script as root.
fn as_root(sandbox: &Sandbox, image: &Debian, script: &str) -> Outcome {
    let script = format!("set -e\n{script}");
    let arguments = ["--image", &image.reference(), "-u", "root", "-w", "/", "--exec", &script];
    sandbox.run(&arguments).output()
}

fn as_app(sandbox: &Sandbox, image: &Debian, script: &str) -> Invocation {
    sandbox.run(&["--image", &image.reference(), "--exec", script])
}

#[test]
fn namespaces_can_be_made() {
    let Some((sandbox, image)) = parts() else { return };
    let script = "unshare -Urpn true && echo all four
        unshare --fork --pid --mount-proc sh -c 'echo $$'
        unshare -m sh -c 'mount -t tmpfs none /mnt && touch /mnt/x && echo mounted'
        unshare -u sh -c 'hostname inside && hostname'
        unshare -i true; unshare -C true; ls /mnt | wc -l";
    let outcome = as_root(&sandbox, image, script);
    outcome.code(0).prints("all four\n1\nmounted\ninside\n0\n");
    // An ordinary user may have namespaces of its own, too.
    let outcome = as_app(&sandbox, image, "unshare -Urpn true && unshare -Ur id -u").output();
    outcome.code(0).prints("0\n");
}

#[test]
fn set_uid_and_capabilities_of_files_count() {
    let Some((sandbox, image)) = parts() else { return };
    let script = "id -u; /srv/attributes/setuid-id -u
        /sbin/getcap /srv/attributes/capable /srv/packed/capable
        grep CapEff /proc/self/status
        cp /srv/attributes/capable /tmp/x && echo copied";
    let outcome = as_app(&sandbox, image, script).output();
    outcome.code(0).prints(
        "1000\n0\n/srv/attributes/capable cap_net_raw=ep\n\
         /srv/packed/capable cap_net_admin,cap_net_raw=ep\nCapEff:\t0000000000000000\ncopied\n",
    );
}

#[test]
fn commands_may_do_everything_but_restart_the_machine() {
    let Some((sandbox, image)) = parts() else { return };
    // CAP_SYS_BOOT is bit 22.
    let script = "grep CapBnd /proc/self/status | cut -f 2
        /sbin/capsh --has-p=cap_sys_admin && echo admin
        /sbin/capsh --has-b=cap_sys_boot || echo no boot";
    let outcome = as_root(&sandbox, image, &script.replace("set -e", ""));
    outcome.code(0).shows(&["admin\nno boot\n"]);
    let bounding = outcome.stdout();
    let bounding = u64::from_str_radix(bounding.lines().next().unwrap(), 16).unwrap();
    assert_eq!(bounding & (1 << 22), 0, "{}", outcome.text());
}

#[test]
fn a_control_group_limits_memory() {
    let Some((sandbox, image)) = parts() else { return };
    let script = "stat -f -c %T /sys/fs/cgroup
        cd /sys/fs/cgroup
        for c in memory pids cpu; do grep -qw $c cgroup.controllers && echo $c; done
        own=$(cut -d: -f3 /proc/self/cgroup); echo own=$own
        mkdir limited
        echo 32M > limited/memory.max
        echo 0 > limited/memory.swap.max || true
        set +e
        sh -c 'echo $$ > limited/cgroup.procs; head -c 200M /dev/zero | tail > /dev/null; echo no' 2>/dev/null
        grep -q 'oom_kill [1-9]' limited/memory.events && echo killed
        echo 5 > limited/pids.max; cat limited/pids.max
        rmdir limited && echo removed";
    let outcome = as_root(&sandbox, image, script);
    outcome.code(0).shows(&["cgroup2fs\nmemory\npids\ncpu\n", "killed\n5\nremoved\n"]);
}

#[test]
fn programs_for_32_bits_run() {
    let Some((sandbox, image)) = parts() else { return };
    let outcome = as_app(&sandbox, image, "/srv/i386; echo $?; linux32 uname -m").output();
    outcome.code(0).prints("42\ni686\n");
    sandbox.run(&["--image", &image.reference(), "/srv/i386"]).output().code(42).prints("");
}

#[test]
fn devices_and_special_file_systems_are_there() {
    let Some((sandbox, image)) = parts() else { return };
    let script = r#"
        for d in null zero full random urandom tty; do test -c /dev/$d && printf "$d "; done; echo
        stat -c '%a %F' /dev/null /dev/shm /dev/ptmx /dev/pts /tmp
        echo x > /dev/shm/x && cat /dev/shm/x
        test "$(readlink /dev/fd)" = /proc/self/fd && echo fd
        echo through | cat /dev/fd/0
        echo stdin | cat /dev/stdin
        echo stderr 2>&1 > /dev/stderr | cat
        script -qec 'tty' /dev/null < /dev/null | grep -c /dev/pts/
        dd if=/dev/urandom bs=1k count=1 2>/dev/null | wc -c
        stat -f -c %T /proc /sys /dev/shm /dev/pts /
        test -w /proc/sys/kernel/hostname && echo writable
        test -e /proc/sys/kernel/random/boot_id && test -d /sys/block && echo more
        sh -c 'echo $PPID' >/dev/null; cat /proc/sys/kernel/pid_max | grep -q '[0-9]' && echo pids
        ip link show lo 2>/dev/null | grep -q UP && echo lo || cat /sys/class/net/lo/flags"#;
    let outcome = as_root(&sandbox, image, script);
    outcome.code(0).prints(
        "null zero full random urandom tty \n\
         666 character special file\n1777 directory\n666 character special file\n755 directory\n\
         1777 directory\nx\nfd\nthrough\nstdin\nstderr\n1\n1024\n\
         proc\nsysfs\ntmpfs\ndevpts\next2/ext3\nwritable\nmore\npids\n0x9\n",
    );
}

#[test]
fn orphans_are_collected_and_the_command_does_not_wait_for_them() {
    let Some((sandbox, image)) = parts() else { return };
    let script = "for i in 1 2 3 4 5 6 7 8; do sh -c 'true & sh -c \"sleep 0.1 &\"' ; done
        while pgrep -x sleep > /dev/null 2>&1; do :; done
        sleep 0.5
        cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true";
    as_root(&sandbox, image, script).code(0).prints("0\n");
    // What a command leaves running, with its output open, does not keep the run alive.
    let outcome = as_root(&sandbox, image, "sleep 1000 & echo left it");
    outcome.code(0).prints("left it\n");
}

#[test]
fn the_images_user_runs_the_command_and_its_groups_count() {
    let Some((sandbox, image)) = parts() else { return };
    let script = "id -un; id -Gn; pwd; echo $HOME $LANG; touch mine && stat -c %U mine
        cat /etc/shadow 2>/dev/null || echo refused
        cat /srv/attributes/listed && echo";
    // The last file has an access list that names this user.
    let outcome = as_app(&sandbox, image, script).output();
    outcome.code(0).prints("app\napp other\n/home/app\n/home/app C.UTF-8\napp\nrefused\nx\n");
}

#[test]
fn secrets_of_the_agent_are_nowhere_in_the_guest() {
    let Some((sandbox, image)) = parts() else { return };
    // PID 1 is the agent. Its arguments and environment hold no 32 hexadecimal digits, and
    // a command's neither; nor is there a file of the configuration's.
    let script = "set +e
        cat /proc/1/cmdline /proc/1/environ /proc/cmdline /proc/self/environ | tr '\\0' '\\n' > /tmp/all
        grep -cE '[0-9a-f]{32}' /tmp/all
        find / -xdev -newer /proc/1/cmdline -type f -size -100k 2>/dev/null | xargs grep -l '\"token\"' | wc -l";
    as_root(&sandbox, image, script).code(0).prints("0\n0\n");
}

#[test]
fn the_root_disk_is_the_runs_own() {
    let Some((sandbox, image)) = parts() else { return };
    as_root(&sandbox, image, "echo changed > /etc/motd; rm -rf /usr/share; sync").code(0);
    let outcome =
        as_root(&sandbox, image, "test -d /usr/share && cat /etc/motd | grep -c changed || true");
    outcome.code(0).prints("0\n");
    // There is room for as much as was promised.
    let script = "dd if=/dev/zero of=/big bs=1M count=400 2>/dev/null && stat -c %s /big";
    as_root(&sandbox, image, script).code(0).prints("419430400\n");
}
