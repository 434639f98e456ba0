#!/usr/bin/env python3
"""A supervisor whose machines are `sleep`, stopped until they are started: see
../supervisor-protocol.md. What it does not declare here, it is never asked for."""
import json, os, select, shutil, signal, subprocess, sys
CAPABILITIES = {
    "backend": "sleep", "version": "1", "architectures": ["x86_64"], "power_off": "acpi",
    "features": ["boot-vmlinux", "console"],
    "limits": {"vcpus": 1, "memory": 65536, "virtio_slots": None, "disks": 0},
    "acceleration": {"kind": "emulated", "evidence": "nothing is run"},
    "isolation": dict.fromkeys(["seccomp", "landlock", "no_new_privs", "rlimits"], False)}
MACHINE = {"console": "console", "vsock": "vsock", "parts": []}
# Watches the life pipe, descriptor 3; at its end everything goes, the record first.
KEEPER = """cat <&3; : >killed; [ /proc/$1/cwd -ef . ] && kill -9 $1; shift
rm -f record; rm -rf -- "$PWD" "$@" """
OWN = {**dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.DEVNULL), "start_new_session": True}
class Refused(Exception): pass
def create(dir, spec, lifetime):
    if os.path.exists(f"{dir}/record"):
        raise Refused("conflict", f"{dir} holds a machine already")
    for file in (spec["boot"]["kernel"], spec["boot"]["initramfs"]): open(file).close()
    monitor = subprocess.Popen(["sleep", "infinity"], cwd=dir, **OWN)
    monitor.send_signal(signal.SIGSTOP)
    words = ["sh", "-c", KEEPER, "keeper", str(monitor.pid), *lifetime["remove"]]
    keeper = subprocess.Popen(words, cwd=dir, pass_fds=[3], **OWN)
    with open(f"{dir}/record", "w") as file: json.dump([monitor.pid, keeper.pid], file)
    return MACHINE
class Machine:
    def __init__(self, dir):
        if not os.path.exists(f"{dir}/record"): raise Refused("not_found", f"{dir} holds no machine")
        self.dir, (self.monitor, self.keeper) = dir, json.load(open(f"{dir}/record"))
    def has(self, name): return os.path.exists(f"{self.dir}/{name}")
    def ended(self, pid, within=0):  # A number is our process if that works in our directory.
        try: ours = os.path.samefile(f"/proc/{pid}/cwd", self.dir) and os.pidfd_open(pid)
        except OSError: ours = False
        return not ours or bool(select.select([ours], [], [], within)[0])
    def end(self, pid):
        if not self.ended(pid):
            os.kill(pid, signal.SIGKILL)
            self.ended(pid, 10)
    def open(self): return MACHINE
    def state(self):
        started = "running" if self.has("started") else "created"
        return {"state": "stopped" if self.ended(self.monitor) else started}
    def start(self):
        if self.state() != {"state": "created"}:
            raise Refused("invalid_state", "only a created machine can be started")
        open(f"{self.dir}/started", "x").close()
        os.kill(self.monitor, signal.SIGCONT)
    def wait(self, within_ms):
        if not self.ended(self.monitor, within_ms / 1000): return {"exit": None}
        asked = self.has("killed") or not self.has("record")
        return {"exit": {"reason": "killed"} if asked else {"reason": "crashed", "detail": "it ended"}}
    def kill(self):
        if not self.ended(self.monitor): open(f"{self.dir}/killed", "w").close()
        self.end(self.monitor)
    def destroy(self):
        self.kill()
        self.end(self.keeper)
        os.remove(f"{self.dir}/record")
        shutil.rmtree(self.dir)
    def isolation(self):
        if self.ended(self.monitor): raise Refused("invalid_state", "the machine has ended")
        status = dict(line.split(":", 1) for line in open(f"/proc/{self.monitor}/status"))
        return {"processes": [{
            "role": "monitor", "pid": self.monitor, "seccomp": int(status["Seccomp"]),
            "no_new_privs": int(status["NoNewPrivs"]) == 1, "landlock": None,
            "effective_capabilities": int(status["CapEff"], 16), "max_file_size": None}]}
def answer(protocol, op, args):
    if protocol != 1: raise Refused("protocol", f"protocol {protocol}, expected 1")
    if op in ("probe", "create"): return create(**args) if op == "create" else CAPABILITIES
    return getattr(Machine(args.pop("dir")), op)(**args) or {}
try: said = {"ok": answer(**json.load(sys.stdin))}
except Refused as e: said = {"err": {"kind": e.args[0], "message": e.args[1]}}
except OSError as e: said = {"err": {"kind": "io", "message": str(e)}}
except Exception as e: said = {"err": {"kind": "protocol", "message": repr(e)}}
json.dump({"protocol": 1, **said}, sys.stdout)
