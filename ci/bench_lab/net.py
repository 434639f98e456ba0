"""Bulk data on the user network: a program in the guest, and a server at the lab's own address."""

import socket
import subprocess
import threading

from bulk import receive_bulk, send_bulk
from figures import expect, median, scrub, title
from runs import LIMIT, NATIVE, QEMU, WORK, run_command

ADDRESS = "192.0.2.2"  # the lab's, see lab-init
CLOUD = "cloud-hypervisor"
KINDS = ("guest to host, MiB/s", "host to guest, MiB/s")


def net(options):
    title(f"(f) rates on the user network: {options.mib} MiB of TCP; aim: 1.00 or more to qemu:accel=kvm")
    rivals = [QEMU, CLOUD] if (WORK / CLOUD).exists() else [QEMU]
    rates = {kind: {supervisor: [] for supervisor in (NATIVE, *rivals)} for kind in KINDS}
    for _ in range(options.rounds):
        for supervisor in (NATIVE, *rivals):
            scrub()
            for kind, rate in zip(KINDS, one_guest(supervisor, options.mib), strict=True):
                rates[kind][supervisor].append(rate)
    for kind, by_supervisor in rates.items():
        table(kind, by_supervisor)
    print(f"    medians of {options.rounds} rounds, least and most")


def table(kind, by_supervisor):
    print(f"    {kind}")
    ours = median(by_supervisor[NATIVE])
    for supervisor, values in by_supervisor.items():
        ratio = "" if supervisor == NATIVE else f"  ratio of kvm to it {ours / median(values):.2f}"
        spread = f"({min(values):.1f} to {max(values):.1f})"
        print(f"      {supervisor:18} {median(values):9.1f}  {spread:20}{ratio}")


def one_guest(supervisor, mib):
    """MiB in a second, from the guest and to it."""
    with socket.create_server((ADDRESS, 0)) as listener:
        listener.settimeout(LIMIT)
        where = f"{ADDRESS}:{listener.getsockname()[1]}"
        line = f"bench-guest send {where} {mib} && bench-guest receive {where} {mib}"
        command = run_command(supervisor, line, network="user")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        # One that hangs ends, and with it its connection.
        alarm = threading.Timer(LIMIT, process.kill)
        alarm.start()
        sent = receive_bulk(listener, mib << 20)
        received = send_bulk(listener, mib << 20)
        expect(process.wait(LIMIT), 0)
        alarm.cancel()
    return [mib / sent, mib / received]
