"""`exec NAME true` in a workspace that is up, beside what nobody can do without: a process of
the host, a way to the guest and back, a process of the guest. All are taken in turn within one
boot, so that whatever else the machine does is done to all of them."""

import socket
import statistics
import subprocess
import time

LIMIT = 120  # seconds that a call, or the guest, may take
PORT = 7007  # where the guest echoes
PROCESSES = 20  # of the guest, timed at once: one is shorter than the way there


class Scene:
    """A workspace in which something echoes, and a shell that runs as many processes as told."""

    def __init__(self, microagent, flags, guest):
        self.microagent, self.flags = microagent, flags
        self.name = "bench-exec"
        self.lines = 0
        self.begun = []
        self.call("start", "--wait", self.name)
        self.call("cp", guest, f"{self.name}:/bench-guest")
        serving = self.begin(self.name, "/bench-guest", "echo", str(PORT))
        serving.stdout.readline()
        script = (
            "while read n line; do while [ $n -gt 0 ]; do /bin/true; n=$((n-1)); done;"
            " echo $line; done"
        )
        self.shell = self.begin("-i", self.name, "sh", "-c", script)
        self.echo = self.connect()

    def command(self, verb, *arguments):
        return [str(word) for word in (self.microagent, verb, *self.flags, *arguments)]

    def call(self, verb, *arguments):
        command = self.command(verb, *arguments)
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=LIMIT)

    def begin(self, *arguments):
        begun = subprocess.Popen(
            self.command("exec", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.begun.append(begun)
        return begun

    def connect(self):
        state = self.flags[self.flags.index("--state-dir") + 1]
        echo = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        echo.settimeout(LIMIT)
        echo.connect(str(state / "workspaces" / self.name / "run/machine/vsock"))
        echo.sendall(f"CONNECT {PORT}\n".encode())
        while echo.recv(1) != b"\n":
            pass
        return echo

    def ping(self):
        self.echo.sendall(b".")
        self.echo.recv(1)

    def processes(self, count):
        """Has the guest's shell run so many."""
        self.lines += 1
        self.shell.stdin.write(f"{count} {self.lines}\n".encode())
        self.shell.stdin.flush()
        self.shell.stdout.readline()

    def exec(self):
        # Without a time limit, as one is kept by looking now and then.
        command = self.command("exec", self.name, "/bin/true")
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    def end(self):
        self.echo.close()
        for begun in self.begun:
            begun.kill()
            begun.wait()
        self.call("delete", "--force", self.name)


def timed(what):
    started = time.monotonic()
    what()
    return 1e3 * (time.monotonic() - started)


def measure(scene, rounds):
    """Milliseconds: a process of the host, an echo, a process of the guest, `exec`."""
    taken = []
    for _ in range(rounds):
        host = timed(lambda: subprocess.run(["true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        echo = timed(scene.ping)
        one, many = (timed(lambda n=n: scene.processes(n)) for n in (1, 1 + PROCESSES))
        taken.append((host, echo, (many - one) / PROCESSES, timed(scene.exec)))
    return [statistics.median(column) for column in zip(*taken)]


def report(scene, rounds):
    try:
        host, echo, guest, whole = measure(scene, rounds)
    finally:
        scene.end()
    total = host + echo + guest
    print(f"    process of the host {host:.2f} + echo {echo:.2f} + process of the guest {guest:.2f} = {total:.2f} ms")
    print(f"    exec {whole:.2f} ms: {whole - total:.2f} ms added, ratio {whole / total:.2f}; {rounds} rounds")
