"""Machines of the native monitor and of others, started in the lab."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

LIMIT = 120  # seconds that one run may take
MEMORY = 256  # MiB
WORK = Path("/root/bench")
AGENT_PORT = 1024
KVM = Path("/sys/kernel/debug/kvm")

NATIVE, QEMU = "kvm", "qemu:accel=kvm"
SUPERVISORS = (NATIVE, QEMU)
CMDLINE = "console=ttyS0 reboot=t panic=-1 quiet random.trust_cpu=on"


def run_command(supervisor, command, *more, network="isolated"):
    return [
        str(WORK / "microagent"), "run", "--quiet", "--state-dir", str(WORK / "state"),
        "--kernel", str(WORK / "vmlinux"), "--supervisor", supervisor,
        "--memory", str(MEMORY), "--cpus", "1", "--network", network,
        "--image", f"oci:{WORK}/image:latest", "--exec", command, *more,
    ]  # fmt: skip


def bare_qemu(kernel, cmdline):
    return [
        "qemu-system-x86_64", "-M", "microvm,acpi=off,accel=kvm", "-cpu", "host",
        "-smp", "1", "-m", str(MEMORY), "-nodefaults", "-no-user-config", "-display", "none",
        "-serial", "stdio", "-no-reboot",
        "-kernel", str(kernel), "-initrd", str(WORK / "restart.cpio"), "-append", cmdline,
    ]  # fmt: skip


def bare_cloud_hypervisor():
    # A reset would only start the guest again.
    return [
        str(WORK / "cloud-hypervisor"), "--cpus", "boot=1", "--memory", f"size={MEMORY}M",
        "--serial", "tty", "--console", "off", "--kernel", str(WORK / "vmlinux"),
        "--initramfs", str(WORK / "power-off.cpio"), "--cmdline", CMDLINE,
    ]  # fmt: skip


def bare_monitor(kernel=None):
    """A machine without devices but a serial line, started by hand."""
    process = started_monitor(kernel or WORK / "vmlinux")
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) != 3:  # EXIT_RESET
        sys.exit(f"microagent-vmm run ended with {os.waitstatus_to_exitcode(status)}")


def started_monitor(kernel):
    directory = WORK / "bare"
    directory.mkdir(exist_ok=True)
    os.chdir(directory)
    Path("control.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("control.sock")
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("control.sock")
    client.sendall(b'{"op":"state","version":1}\n{"op":"start"}\n')
    spec = os.memfd_create("spec")
    os.write(spec, monitor_spec(kernel).encode())
    os.lseek(spec, 0, os.SEEK_SET)
    null = os.open("/dev/null", os.O_RDWR)
    given = {0: null, 1: null, 4: listener.fileno(), 5: null, 6: spec}
    # Out of the way first: a target may be another's source.
    apart = {target: os.dup2(source, 100 + target) for target, source in given.items()}
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in apart.items()]
    process = os.posix_spawn(WORK / "microagent-vmm", ["microagent-vmm", "run"], {}, file_actions=actions)
    for fd in (*apart.values(), spec, null):
        os.close(fd)
    listener.close()
    started_monitor.client = client  # kept open for as long as the machine runs
    return process


def monitor_spec(kernel):
    return (
        f'{{"version":1,"vcpus":1,"memory_mib":{MEMORY},"kernel":"{kernel}","image":"vmlinux",'
        f'"initramfs":"{WORK}/restart.cpio","cmdline":"quiet random.trust_cpu=on",'
        '"announcement":"arguments","disks":[],"vsock":null,"rng":false,"net":null,'
        '"virtio_console":false}'
    )


class Waiting:
    """A run whose command waits for input, seen by KVM at two moments."""

    def __init__(self, supervisor, command="echo ready; read word"):
        self.supervisor, self.command = supervisor, command

    def __enter__(self):
        self.process = subprocess.Popen(
            run_command(self.supervisor, self.command, "-i"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.directory = None
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        line = self.process.stdout.readline()
        self.at_ready = counters()
        if line != b"ready\n":
            sys.exit(f"the command said {line!r}")
        watcher.join()
        return self

    def watch(self):
        """Stands between the agent and its host, to see the moment when it connects."""
        path = self.listener()
        real = path.with_name("real")
        path.rename(real)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            agent, _ = listener.accept()
        self.at_connect = counters()
        host = socket.socket(socket.AF_UNIX)
        host.connect(str(real))
        for source, target in ((agent, host), (host, agent)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()

    def listener(self):
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            for path in (WORK / "state").glob(f"**/run/vsock_{AGENT_PORT}"):
                self.directory = path.parent
                return path
            time.sleep(0.005)
        sys.exit("nobody listened for the agent")

    def processes(self):
        """Names and PSS in KiB of this machine's processes."""
        monitor = int(machine_of_kvm().name.split("-")[0])
        found = [("monitor", pss(monitor))]
        for stat in Path("/proc").glob("[0-9]*/cmdline"):
            words = stat.read_bytes().split(b"\0")
            if words[0].endswith(b"microagent-vmm") and int(stat.parent.name) != monitor:
                found.append((words[1].decode(), pss(int(stat.parent.name))))
        return sorted(found, key=lambda one: (one[0] != "monitor", one))

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(LIMIT)
        while any(KVM.glob("*-*")):
            time.sleep(0.01)


def pump(source, target):
    while data := source.recv(1 << 16):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def machine_of_kvm():
    (only,) = KVM.glob("*-*")
    return only


def counters():
    machine = machine_of_kvm()
    wanted = [path for path in machine.iterdir() if path.name.endswith("exits") or path.name in (
        "insn_emulation", "irq_injections", "pf_taken", "pf_fixed", "pf_mmio_spte_created", "hypercalls",
        "halt_wakeup", "irq_window", "nmi_window", "invlpg")]  # fmt: skip
    return {path.name: int(path.read_text()) for path in wanted}


def pss(process):
    """Proportional set size in KiB, without mappings as large as the guest's memory."""
    total, size = 0, 0
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1])
        elif line.startswith("Pss:") and size < MEMORY << 10:
            total += int(line.split()[1])
    return total


def check(command):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr[-2000:].decode(errors='replace')}")
    return done.stdout
