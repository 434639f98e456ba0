#!/usr/bin/env python3
"""A supervisor whose machines are `sleep`, held until started: see ../supervisor-protocol.md."""
import json, os, select, shutil, signal, subprocess, sys
CAPABILITIES = {"backend": "sleep", "version": "1", "architectures": ["x86_64"],
    "power_off": "acpi", "limits": {"vcpus": 1, "memory": 65536, "virtio_slots": None, "disks": 0},
    "features": ["boot-vmlinux", "console"], "acceleration": {"kind": "emulated", "evidence": "-"},
    "isolation": dict.fromkeys(["seccomp", "landlock", "no_new_privs", "rlimits"], False)}
# Watches the life pipe, descriptor 3; at its end everything goes, the record first.
KEEPER = 'cat <&3; :>killed; [ /proc/$1/cwd -ef . ] && kill -9 $1; shift; rm -rf record "$PWD" "$@"'
OWN = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.DEVNULL) | {"start_new_session": True}
def say(**said): json.dump({"protocol": 1, **said}, sys.stdout)
def refuse(kind, message): sys.exit(say(err={"kind": kind, "message": message}))
def create(dir, spec, lifetime):
    if os.path.exists(f"{dir}/record"): refuse("conflict", f"{dir} holds a machine already")
    for file in (spec["boot"]["kernel"], spec["boot"]["initramfs"]): open(file).close()
    (monitor := subprocess.Popen(["sleep", "infinity"], cwd=dir, **OWN)).send_signal(signal.SIGSTOP)
    words = ["sh", "-c", KEEPER, "keeper", str(monitor.pid), *lifetime["remove"]]
    keeper = subprocess.Popen(words, cwd=dir, pass_fds=[3], **OWN)
    with open(f"{dir}/record", "w") as file: json.dump([monitor.pid, keeper.pid], file)
    return Machine(dir).open()
class Machine:
    def __init__(self, dir):
        if not os.path.exists(f"{dir}/record"): refuse("not_found", f"{dir} holds no machine")
        self.dir, (self.monitor, self.keeper) = dir, json.load(open(f"{dir}/record"))
    def has(self, name): return os.path.exists(f"{self.dir}/{name}")
    def ended(self, pid, within=0):  # A number is our process if that works in our directory.
        try: ours = os.path.samefile(f"/proc/{pid}/cwd", self.dir) and os.pidfd_open(pid)
        except OSError: ours = False
        return not ours or bool(select.select([ours], [], [], within)[0])
    def end(self, pid): self.ended(pid) or os.kill(pid, signal.SIGKILL) or self.ended(pid, 10)
    def open(self): return {"console": "console", "vsock": "vsock", "parts": []}
    def state(self):
        alive = "running" if self.has("started") else "created"
        return {"state": "stopped" if self.ended(self.monitor) else alive}
    def start(self):
        if self.state() != {"state": "created"}: refuse("invalid_state", "it is not 'created'")
        open(f"{self.dir}/started", "x").close() or os.kill(self.monitor, signal.SIGCONT)
    def wait(self, within_ms):
        if not self.ended(self.monitor, within_ms / 1000): return {"exit": None}
        if self.has("killed") or not self.has("record"): return {"exit": {"reason": "killed"}}
        return {"exit": {"reason": "crashed", "detail": "it ended"}}
    def kill(self):
        self.ended(self.monitor) or open(f"{self.dir}/killed", "w").close()
        self.end(self.monitor)
    def destroy(self):
        self.kill() or self.end(self.keeper)
        os.remove(f"{self.dir}/record") or shutil.rmtree(self.dir)
    def isolation(self):
        if self.ended(self.monitor): refuse("invalid_state", "the machine has ended")
        status = dict(line.split(":", 1) for line in open(f"/proc/{self.monitor}/status"))
        filter, fixed, able = (int(status[n], 16) for n in ("Seccomp", "NoNewPrivs", "CapEff"))
        own = {"seccomp": filter, "no_new_privs": fixed == 1, "effective_capabilities": able}
        unknown = {"landlock": None, "max_file_size": None}
        return {"processes": [{"role": "monitor", "pid": self.monitor, **own, **unknown}]}
def answer(protocol, op, args):
    assert protocol == 1, f"protocol {protocol}, expected 1"
    if op in ("probe", "create"): return create(**args) if op == "create" else CAPABILITIES
    return getattr(Machine(args.pop("dir")), op)(**args) or {}
try: say(ok=answer(**json.load(sys.stdin)))
except Exception as e: refuse("io" if isinstance(e, OSError) else "protocol", repr(e))
