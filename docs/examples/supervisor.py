#!/usr/bin/env python3
"""A supervisor for microagent in sixty lines. Its machines are `sleep`, stopped until they are
started. See ../supervisor-protocol.md; what is refused before it comes here is not looked at."""
import json, os, select, shutil, signal, subprocess, sys

# Watches the life pipe, descriptor 3; at its end everything goes, the record first.
KEEPER = """cat <&3; : >killed; [ /proc/$1/cwd -ef . ] && kill -9 $1; shift
rm -f record; rm -rf -- "$PWD" "$@" """

class Refused(Exception):
    pass

def probe():
    return {"backend": "sleep", "version": "1", "architectures": ["x86_64"],
            "features": ["boot-vmlinux", "console"], "power_off": "acpi",
            "limits": {"vcpus": 1, "memory": 65536, "virtio_slots": None, "disks": 0},
            "acceleration": {"kind": "emulated", "evidence": "nothing is run"},
            "isolation": dict.fromkeys(["seccomp", "landlock", "no_new_privs", "rlimits"], False)}

def start_process(dir, *words, **more):
    null = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.DEVNULL)
    return subprocess.Popen(words, cwd=dir, start_new_session=True, **null, **more)

def create(spec, dir, lifetime):
    if os.path.exists(f"{dir}/record"):
        raise Refused("conflict", f"{dir} holds a machine already")
    for file in (spec["boot"]["kernel"], spec["boot"]["initramfs"]):
        open(file).close()
    monitor = start_process(dir, "sleep", "infinity")
    monitor.send_signal(signal.SIGSTOP)
    words = ["sh", "-c", KEEPER, "keeper", str(monitor.pid), *lifetime["remove"]]
    keeper = start_process(dir, *words, pass_fds=[3])
    with open(f"{dir}/record", "w") as file:
        json.dump([monitor.pid, keeper.pid], file)
    return {"console": "console", "vsock": "vsock", "parts": []}

def pids(dir):
    try:
        return json.load(open(f"{dir}/record"))
    except FileNotFoundError:
        raise Refused("not_found", f"{dir} holds no machine")

def ended(dir, pid, within):  # A process is ours if it works in our directory.
    try:
        ours = os.path.samefile(f"/proc/{pid}/cwd", dir)
        return not ours or bool(select.select([os.pidfd_open(pid)], [], [], within)[0])
    except OSError:
        return True

def end(dir, pid):
    if not ended(dir, pid, 0):
        os.kill(pid, signal.SIGKILL)
        ended(dir, pid, 10)

def state(dir):
    started = os.path.exists(f"{dir}/started")
    return {"state": "stopped" if ended(dir, pids(dir)[0], 0) else "running" if started else "created"}

def start(dir):
    if state(dir)["state"] != "created":
        raise Refused("invalid_state", "only a created machine can be started")
    open(f"{dir}/started", "x").close()
    os.kill(pids(dir)[0], signal.SIGCONT)
    return {}

def wait(dir, within_ms):
    if not ended(dir, pids(dir)[0], within_ms / 1000):
        return {"exit": None}
    asked = os.path.exists(f"{dir}/killed") or not os.path.exists(f"{dir}/record")
    return {"exit": {"reason": "killed"} if asked else {"reason": "crashed", "detail": "sleep died"}}

def kill(dir):
    if not ended(dir, pids(dir)[0], 0):
        open(f"{dir}/killed", "w").close()
        end(dir, pids(dir)[0])
    return {}

def destroy(dir):
    kill(dir)
    end(dir, pids(dir)[1])
    os.remove(f"{dir}/record")
    shutil.rmtree(dir)
    return {}

def isolation(dir):
    if ended(dir, pid := pids(dir)[0], 0):
        raise Refused("invalid_state", "the machine has ended")
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    return {"processes": [{"role": "monitor", "pid": pid, "seccomp": int(status["Seccomp"]),
                           "no_new_privs": int(status["NoNewPrivs"]) == 1, "landlock": None,
                           "effective_capabilities": int(status["CapEff"], 16), "max_file_size": None}]}

def open_machine(dir):
    pids(dir)
    return {"console": "console", "vsock": "vsock", "parts": []}

OPS = {f.__name__: f for f in (probe, create, state, start, wait, kill, destroy, isolation)}
try:
    request = json.load(sys.stdin)
    if request.get("protocol") != 1 or set(request) != {"protocol", "op", "args"}:
        raise Refused("protocol", "this is a supervisor of protocol 1")
    answer = {"ok": {**OPS, "open": open_machine}[request["op"]](**request["args"])}
except Refused as e:
    answer = {"err": dict(zip(["kind", "message"], e.args))}
except (KeyError, TypeError, ValueError) as e:
    answer = {"err": {"kind": "protocol", "message": repr(e)}}
except OSError as e:
    answer = {"err": {"kind": "io", "message": str(e)}}
json.dump({"protocol": 1, **answer}, sys.stdout)
