"""Times `microagent` against what it is made of. Started by `bench`, which prepares the parts.

Prints, from interleaved runs of one session, with medians and their ratio:
(a) a warm run of `true`, whole process, against a bare QEMU with the same kernel, the same
    accelerator, memory and processors, and an init that ends the machine at once;
(b) our kernel against Debian's packaged one on the same bare QEMU;
(c) a root disk from layers against `umoci unpack` and `mke2fs -d`;
(d) the peak memory of the program while it does that;
(e) `exec` of `true` in a workspace that is up against what it is made of, see bench_exec.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench_exec

LIMIT = 120  # seconds that one run may take
BIG_FILE = 256 << 20  # bytes of file content that (d) adds to an image


def main():
    options = arguments()
    os.environ.pop("MICROAGENT_KERNEL", None)
    warm = {name: warm_up(options, name) for name in ("busybox", "debian")}
    cmdline = guest_cmdline(options)
    boot(options, warm, cmdline)
    kernels(options, cmdline)
    root_disk(options)
    peak_memory(options)
    execs(options)
    trace(options)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("microagent", "kernel", "debian-kernel", "initramfs", "work", "busybox", "debian", "guest"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--accel", choices=("tcg", "kvm"), default="tcg")
    parser.add_argument("--memory", type=int, default=512, help="MiB")
    parser.add_argument("--cpus", type=int, default=min(2, os.cpu_count()))
    return parser.parse_args()


def run_command(options, image, command):
    return [
        options.microagent, "run", "--quiet", "--state-dir", options.work / "state",
        "--kernel", options.kernel, "--supervisor", f"qemu:accel={options.accel}",
        "--memory", str(options.memory), "--cpus", str(options.cpus), "--pull", "missing",
        "--network", "isolated",
        "--image", f"oci:{getattr(options, image)}:latest", "--exec", command,
    ]  # fmt: skip


def warm_up(options, image):
    """The command that is timed, after one run that fills the caches."""
    command = run_command(options, image, "true")
    check(command)
    return command


def guest_cmdline(options):
    """What the guest's kernel is told, without what QEMU adds for each device."""
    words = check(run_command(options, "busybox", "cat /proc/cmdline")).split()
    return " ".join(word for word in words if not word.startswith("virtio_mmio.device="))


def bare_qemu(options, kernel, cmdline):
    return [
        "qemu-system-x86_64", "-M", f"microvm,acpi=off,accel={options.accel}",
        "-cpu", "max", "-smp", str(options.cpus), "-m", str(options.memory),
        "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", kernel, "-initrd", options.initramfs, "-append", cmdline,
    ]  # fmt: skip


def boot(options, warm, cmdline):
    title("(a) warm run of `true` against a bare QEMU; aim: 1.15 or less")
    print(f"    accelerator {options.accel}, {options.memory} MiB, {options.cpus} processors")
    plain = "console=ttyS0 reboot=t panic=-1 quiet"
    times = interleave(options.rounds, {
        "bare QEMU, plain command line": bare_qemu(options, options.kernel, plain),
        "bare QEMU, our command line": bare_qemu(options, options.kernel, cmdline),
        "microagent run, busybox": warm["busybox"],
        "microagent run, Debian": warm["debian"],
    })  # fmt: skip
    table(times, "bare QEMU, our command line")


def kernels(options, cmdline):
    title("(b) our kernel against Debian's, bare QEMU, each to an init that ends at once")
    plain = "console=ttyS0 reboot=t panic=-1 quiet"
    times = interleave(options.rounds, {
        "Debian's cloud kernel": bare_qemu(options, options.debian_kernel, plain),
        "ours, plain command line": bare_qemu(options, options.kernel, plain),
        "ours, our command line": bare_qemu(options, options.kernel, cmdline),
    })  # fmt: skip
    table(times, "Debian's cloud kernel")


def build_command(options, layout, out):
    return [
        options.microagent, "rootfs", "build", "--quiet", "--allow-mutable",
        "--state-dir", options.work / "build-state",
        "--image", f"oci:{layout}:latest", "--out", out,
    ]  # fmt: skip


def root_disk(options):
    title("(c) Debian's root disk from layers against umoci unpack + mke2fs -d; aim: 0.3 or less")
    work = options.work
    rootless = [] if os.getuid() == 0 else ["--rootless"]

    def ours():
        clean(work, "build-state", "ours.ext4")
        check(build_command(options, options.debian, work / "ours.ext4"))

    def theirs():
        clean(work, "bundle", "theirs.ext4")
        check(["umoci", "unpack", *rootless, "--image", f"{options.debian}:latest", work / "bundle"])
        size = max(1, (work / "ours.ext4").stat().st_size >> 20)
        check(["mke2fs", "-q", "-F", "-t", "ext4", "-d", work / "bundle/rootfs",
               work / "theirs.ext4", f"{size}M"])  # fmt: skip

    times = interleave(min(options.rounds, 7), {"microagent rootfs build": ours, "umoci + mke2fs": theirs})
    table(times, "umoci + mke2fs")
    clean(work, "bundle", "theirs.ext4")


def peak_memory(options):
    title("(d) peak memory of `rootfs build`; aim: 64 MiB, and nothing that grows with content")
    work = options.work
    big = add_big_file(options)
    for name, layout in (("busybox", options.busybox), ("Debian", options.debian),
                         (f"Debian and a file of {BIG_FILE >> 20} MiB", big)):  # fmt: skip
        clean(work, "build-state", "out.ext4")
        command = build_command(options, layout, work / "out.ext4")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"rootfs build of {name} ended with {process.returncode}")
        print(f"    {name:34} {usage.ru_maxrss / 1024:8.1f} MiB")
    clean(work, "build-state", "out.ext4", "big")


def add_big_file(options):
    """A layout like Debian's with one more layer, whose one file does not compress."""
    work = options.work
    (work / "big").mkdir()
    with open(work / "big/content", "wb") as file:
        for _ in range(BIG_FILE >> 20):
            file.write(os.urandom(1 << 20))
    check(["tar", "-C", work / "big", "-cf", work / "big/layer.tar", "content"])
    layout = work / "big/layout"
    shutil.copytree(options.debian, layout)
    check(["umoci", "raw", "add-layer", "--image", f"{layout}:latest", work / "big/layer.tar"])
    return layout


def execs(options):
    title("(e) `exec` of `true` against a process of the host, an echo over vsock and a process of the\n"
          "    guest; aim: 1.5 or less")  # fmt: skip
    state = ["--state-dir", options.work / "state"]
    check([options.microagent, "create", *state, "--kernel", options.kernel, "--name", "bench-exec",
           "--supervisor", f"qemu:accel={options.accel}", "--network", "isolated",
           "--image", f"oci:{options.busybox}:latest"])  # fmt: skip
    bench_exec.report(bench_exec.Scene(options.microagent, state, options.guest), 4 * options.rounds)


def trace(options):
    title("Where a warm run of Debian spends its time")
    command = run_command(options, "debian", "true")
    command.remove("--quiet")
    done = subprocess.run([*command, "--trace"], capture_output=True, text=True, timeout=LIMIT)
    print(done.stderr)


def interleave(rounds, candidates):
    """Seconds per candidate: each once per round, so that a change of load meets all."""
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, what in candidates.items():
            started = time.monotonic()
            what() if callable(what) else check(what)
            times[name].append(time.monotonic() - started)
    return times


def table(times, reference):
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"    {'':34} {'median':>9} {'min':>9} {'max':>9}  ratio of medians")
    for name, values in times.items():
        ratio = median[name] / median[reference]
        print(f"    {name:34} {median[name]:8.3f}s {min(values):8.3f}s {max(values):8.3f}s  {ratio:.2f}")
    print(f"    {len(values)} rounds; ratios are to: {reference}")


def check(command):
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=LIMIT,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def clean(work, *names):
    for name in names:
        path = work / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def title(text):
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
