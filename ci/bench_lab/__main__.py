"""Compares the native monitor with others where KVM is real. Started in the lab by `bench`.

One session, one vCPU, 256 MiB, the same kernel for all; prints medians and their ratios:
(a) a warm run of `true`, command line to result, and bare boots to an init that ends at once;
(b) VM exits until the agent connects and until the command runs, by KVM's own counters;
(c) from the start of a monitor's process to its guest's first instruction, by KVM's and the
    scheduler's tracepoints;
(d) memory of a machine's processes beyond that of its guest;
(e) bulk data on vsock in either direction, and block requests;
(f) bulk data on the user network in either direction.

Time in the lab is emulated: nothing here says how long anything takes anywhere else. What is
peculiar to emulation is kept out of the comparison as far as it can be: see `scrub`.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import kernels
from bulk import receive_bulk, send_bulk
from figures import expect, interleave, median, scrub, table, title, verdict
from net import net
from runs import (
    CMDLINE, LIMIT, NATIVE, QEMU, SUPERVISORS, WORK, Waiting, bare_cloud_hypervisor,
    bare_monitor, bare_qemu, check, run_command,
)  # fmt: skip

HERE = Path("/lab/in")
BULK_PORT = 4000
TRACING = Path("/sys/kernel/tracing")


def main():
    sections = {
        "boot": boot, "exits": exits_and_memory, "start": start, "rates": rates, "net": net,
    }  # fmt: skip
    options = arguments(sections)
    set_up()
    for name in sections:
        if name in options.only:
            sections[name](options)


def arguments(sections):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=32, help="bulk data in each direction")
    parser.add_argument("--only", action="append", choices=sections)
    options = parser.parse_args()
    options.only = options.only or sections
    return options


def set_up():
    """Everything on the machine's own disk: the directory that it came in is a network's."""
    WORK.mkdir()
    os.environ["PATH"] = f"{WORK}:{os.environ['PATH']}"
    for name in ("microagent", "microagent-vmm", "vmlinux", "manifest.json", "image", "restart.cpio",
                 "power-off.cpio", "cloud-hypervisor"):  # fmt: skip
        if (HERE / name).exists():
            check(["cp", "-r", str(HERE / name), str(WORK / name)])
    Path(WORK / "vmlinux-first").write_bytes(kernels.ending_at_once((WORK / "vmlinux").read_bytes()))
    Path(WORK / "smallest").write_bytes(kernels.smallest())
    for supervisor in SUPERVISORS:
        check(run_command(supervisor, "true"))  # fills the caches


# (a) Boots


def boot(options):
    title("(a) command line to result, against bare boots to an init that ends at once")
    warm = "microagent run, {}: boots, mounts, runs `true`"
    ours, theirs = warm.format(NATIVE), warm.format(QEMU)
    bare = "{}, bare: boots, init ends the machine"
    cloud = bare.format("cloud-hypervisor")
    candidates = {
        ours: lambda: check(run_command(NATIVE, "true")),
        theirs: lambda: check(run_command(QEMU, "true")),
        bare.format("microagent-vmm"): bare_monitor,
        bare.format("QEMU microvm"): lambda: check(bare_qemu(WORK / "vmlinux", CMDLINE)),
    }
    if (WORK / "cloud-hypervisor").exists():
        candidates[cloud] = lambda: check(bare_cloud_hypervisor())
    times = interleave(options.rounds, candidates)
    table(times, "s")
    verdict("kvm to qemu:accel=kvm", times, ours, theirs, "0.90 or less")
    if cloud in times:
        verdict("kvm to a bare Cloud Hypervisor boot", times, ours, cloud, "1.00 or less")
    else:
        print("    no cloud-hypervisor: set MICROAGENT_CLOUD_HYPERVISOR or have it in PATH")
    phases()


def phases():
    for supervisor in SUPERVISORS:
        command = [word for word in run_command(supervisor, "true") if word != "--quiet"]
        done = subprocess.run([*command, "--trace"], capture_output=True, text=True, timeout=LIMIT)
        print(f"\n    phases of one run, {supervisor}")
        print("".join(f"      {line}\n" for line in done.stderr.splitlines()), end="", flush=True)


# (b) and (d): what can be seen of a machine while its command waits


def exits_and_memory(options):
    rounds = min(options.rounds, 5)
    seen = {supervisor: [] for supervisor in SUPERVISORS}
    for _ in range(rounds):
        for supervisor in SUPERVISORS:
            with Waiting(supervisor) as machine:
                seen[supervisor].append((machine.at_connect, machine.at_ready, machine.processes()))
    exits_table(seen, rounds)
    memory_table(seen, rounds)


def exits_table(seen, rounds):
    title("(b) VM exits, by KVM's counters; aim: 0.70 or less until the agent connects")
    for at, moment in ((0, "until the agent connects"), (1, "until the command runs")):
        counts = {name: [one[at] for one in all_] for name, all_ in seen.items()}
        medians = {
            name: {key: median([one[key] for one in all_]) for key in all_[0]}
            for name, all_ in counts.items()
        }
        print(f"    {moment:34} {NATIVE:>12} {QEMU:>14}  ratio")
        for key in sorted(medians[NATIVE], key=lambda key: -medians[NATIVE][key]):
            ours, theirs = medians[NATIVE][key], medians[QEMU][key]
            if ours or theirs:
                ratio = f"{ours / theirs:.2f}" if theirs else "-"
                print(f"      {key:32} {ours:12.0f} {theirs:14.0f}  {ratio}")
    print(f"    medians of {rounds} rounds")


def memory_table(seen, rounds):
    title("(d) PSS beyond guest memory, MiB, while the command waits; aim: monitor 4.0 or less")
    for name, all_ in seen.items():
        for index, (what, _) in enumerate(all_[0][2]):
            values = [one[2][index][1] / 1024 for one in all_]
            print(f"    {name:16} {what:28} {median(values):8.2f}  ({min(values):.2f} to {max(values):.2f})")
    print(f"    {rounds} rounds")


# (c) The first instruction

def start(options):
    title("(c) start of the monitor's process to the kernel's first instruction; aim: 0.30 or less")
    print("    from the execution of the program to the exit of a port write, which is all that")
    print("    the kernel does; QEMU's guest begins with its firmware")
    scrub()
    for name, kernel in (("a kernel of a few bytes", "smallest"), ("ours, with another beginning", "vmlinux-first")):
        times = {"microagent-vmm": [], "QEMU": [], "QEMU, to its firmware": []}
        for _ in range(options.rounds * 2):
            first, _ = traced(lambda: bare_monitor(WORK / kernel), "microagent-vmm")
            times["microagent-vmm"].append(first)
            first, entered = traced(lambda: check(bare_qemu(WORK / kernel, CMDLINE)), "qemu-system-x86_64")
            times["QEMU"].append(first)
            times["QEMU, to its firmware"].append(entered)
        print(f"    {name}")
        table(times, "ms")
        verdict("microagent-vmm to QEMU", times, "microagent-vmm", "QEMU", "0.30 or less")


def traced(action, program):
    """Milliseconds from the program's execution to the mark and to the first entry."""
    events = ("sched/sched_process_exec", "kvm/kvm_pio", "kvm/kvm_entry")
    (TRACING / "trace_clock").write_text("mono")
    (TRACING / "trace").write_text("")
    for event in events:
        (TRACING / "events" / event / "enable").write_text("1")
    action()
    for event in events:
        (TRACING / "events" / event / "enable").write_text("0")
    began = entered = marked = None
    for line in (TRACING / "trace").read_text().splitlines():
        if line.startswith("#"):
            continue
        before, event, *_ = line.split(": ")
        at = float(before.split()[-1]) * 1000
        if event == "sched_process_exec" and f"/{program} pid=" in line:
            began = at
        elif event == "kvm_entry" and began and not entered:
            entered = at
        elif event == "kvm_pio" and f"at 0x{kernels.MARK:x} " in line and not marked:
            marked = at
    if not began or not marked:
        sys.exit(f"{program} left no trace: {began}, {marked}")
    return marked - began, entered - began


# (e) Rates


def rates(options):
    title(f"(e) rates within a guest: {options.mib} MiB on vsock, blocks of 4 KiB past the page cache")
    kinds = ("guest to host, device alone, MiB/s", "host to guest, device alone, MiB/s",
             "stdout of a command, MiB/s", "stdin of a command, MiB/s",
             "block reads/s, 1 reader", "block reads/s, 8 readers")  # fmt: skip
    all_ = {kind: {supervisor: [] for supervisor in SUPERVISORS} for kind in kinds}
    for _ in range(min(options.rounds, 5)):
        for supervisor in SUPERVISORS:
            scrub()
            measured = one_guest(supervisor, options.mib)
            for kind, rate in zip(kinds, measured, strict=True):
                all_[kind][supervisor].append(rate)
    for kind, by_supervisor in all_.items():
        ours, theirs = (by_supervisor[name] for name in SUPERVISORS)
        spread = f"({min(ours):.0f} to {max(ours):.0f}; {min(theirs):.0f} to {max(theirs):.0f})"
        print(f"    {kind:36} kvm {median(ours):9.1f}  qemu {median(theirs):9.1f}  "
              f"ratio {median(ours) / median(theirs):.2f}  {spread}")  # fmt: skip
    print("    medians; aim: 1.00 or more for each")


def one_guest(supervisor, mib):
    command = (
        f"echo ready; read go; bench-guest send {BULK_PORT} {mib}; bench-guest receive {BULK_PORT} {mib};"
        "bench-guest read /dev/vda 3 1; bench-guest read /dev/vda 3 8;"
        f"echo stdout; head -c {mib << 20} /dev/zero; echo stdin; head -c {mib << 20} | wc -c"
    )
    with Waiting(supervisor, command) as machine:
        output = machine.process.stdout
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(machine.directory / f"vsock_{BULK_PORT}"))
            listener.listen()
            machine.process.stdin.write(b"go\n")
            machine.process.stdin.flush()
            sent = receive_bulk(listener, mib << 20)
            received = send_bulk(listener, mib << 20)
        blocks = [float(output.readline()) for _ in range(2)]
        expect(output.readline(), b"stdout\n")
        began, left = time.monotonic(), mib << 20
        while left > 0:
            left -= len(output.read1(min(left, 1 << 16)))
        stdout = mib / (time.monotonic() - began)
        expect(output.readline(), b"stdin\n")
        began = time.monotonic()
        machine.process.stdin.write(bytes(mib << 20))
        machine.process.stdin.flush()
        expect(output.readline(), f"{mib << 20}\n".encode())
        stdin = mib / (time.monotonic() - began)
    return [mib / sent, mib / received, stdout, stdin, *blocks]


if __name__ == "__main__":
    main()
