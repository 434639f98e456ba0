"""Compares traces of system calls with the filters of `microagent-vmm`. Started by
`seccomp-report`, which makes the traces: `strace -f`, with the arguments that rules name raw.

Prints, for each class of processes and threads, the rules that no call met, with the reason of
each. That is no failure: a path that no test takes may still need its rule. A call that no rule
allows is one.

Which class a thread is of: that of its process, by the first argument of `microagent-vmm`, or
in a process `run` that of the thread, by its name. Only what follows the installation of its
filter counts. Lists of what is denied have no rules that anything would need.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

LINE = re.compile(r"(\d+) +(.*)")
CALL = re.compile(r"([a-z]\w*)\((.*)")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")
RESULT = re.compile(r"= (-?\d+)[^=]*$")
NAME = re.compile(r'PR_SET_NAME, "([^"]*)"')
# The path is whole, arguments may be cut.
CLASSES = {
    "gateway": "gateway", "guard": "guard", "serve-net": "net", "serve-vsock": "vsock",
    "run": None,  # by thread
}
PROGRAM = re.compile(rf'"[^"]*microagent-vmm", \["[^"]*"(?:\.\.\.)?, "({"|".join(CLASSES)})"')
NEW = {"clone", "clone3"}
WORD = (1 << 32) - 1  # what a test of a "dword" compares


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", action="store_true", help="print the calls that rules look into")
    parser.add_argument("--traces", nargs="*", type=Path, default=[])
    parser.add_argument("filters", type=Path)
    options = parser.parse_args()
    classes = allow_lists(options.filters)
    raw = {r["syscall"] for rules in classes.values() for r in rules if "args" in r}
    if options.raw:
        print(",".join(sorted(raw)))
        return 0
    calls = defaultdict(set)
    for trace in options.traces:
        Trace(calls, raw).read(trace)
    return report(classes, calls)


def allow_lists(file):
    """The rules of each class that denies what has none."""
    classes = json.loads(file.read_text())
    allow = {k: c["filter"] for k, c in classes.items() if c["mismatch_action"] != "allow"}
    for name, rules in allow.items():
        for rule in rules:
            if any((t["op"], t["type"]) != ("eq", "dword") for t in rule.get("args", [])):
                sys.exit(f"error: {name}: {rule['syscall']}: expected a dword and 'eq'")
    return allow


class Thread:
    """What is known of one."""

    def __init__(self, process):
        self.process = process  # number of its first thread
        self.name = "monitor"  # of the first thread, which has none of its own
        self.call = ""  # with its arguments
        self.filtered = False


class Trace:
    """One trace, as far as it was read. What it shows goes to `calls`, by class."""

    def __init__(self, calls, raw):
        self.calls = calls
        self.raw = raw  # calls whose arguments matter
        self.threads = {}
        self.programs = {}  # by number of the process

    def read(self, file):
        with file.open(errors="replace") as lines:
            for line in lines:
                if match := LINE.match(line):
                    self.event(int(match[1]), match[2])

    def event(self, tid, text):
        thread = self.threads.setdefault(tid, Thread(tid))
        if text.startswith("+++"):
            del self.threads[tid]
            self.programs.pop(tid, None)
            return
        if match := CALL.match(text):
            thread.call = text
            self.entered(tid, thread, match[1], match[2])
        result = RESULT.search(text)
        if result and (match := CALL.match(text) or RESUMED.match(text)):
            self.returned(thread, match[1], int(result[1]))

    def entered(self, tid, thread, call, text):
        if thread.filtered:
            told = arguments(text) if call in self.raw else ()
            self.calls[self.class_of(thread)].add((call, told))
        elif call == "execve":
            match = PROGRAM.match(text)
            self.programs[tid] = match[1] if match else None
        elif call == "prctl" and (match := NAME.search(text)):
            thread.name = match[1]
        elif call == "seccomp" and "SET_MODE_FILTER" in text and self.programs.get(thread.process):
            for other in self.threads.values() if "TSYNC" in text else [thread]:
                other.filtered = other.filtered or other.process == thread.process

    def returned(self, thread, call, result):
        if call == "execve" and result == 0:
            thread.filtered = False
        elif call in NEW and result > 0:
            # It may have been seen before this, in a call that no filter is asked about.
            new = self.threads.setdefault(result, Thread(result))
            if "CLONE_THREAD" in thread.call:
                new.process = thread.process

    def class_of(self, thread):
        program = self.programs.get(thread.process)
        return CLASSES.get(program) or thread.name.rstrip("0123456789")


def arguments(text):
    """Those of a call that is told raw."""
    found = re.match(r"(?:(?:0|0x[0-9a-f]+)(?:, |\)| <))*", text)[0]
    return tuple(int(value, 16) for value in re.findall(r"0x[0-9a-f]+|\b0\b", found))


def allows(rule, call, values):
    tests = rule.get("args", [])
    holds = (len(values) > t["index"] and values[t["index"]] & WORD == t["val"] for t in tests)
    return rule["syscall"] == call and all(holds)


def report(classes, calls):
    """Prints it; how the program shall exit."""
    outside = []
    for name, rules in classes.items():
        made = calls.get(name, set())
        idle = [r for r in rules if not any(allows(r, *call) for call in made)]
        print(f"{name}: {len(rules) - len(idle)} of {len(rules)} rules were met", end="")
        print(", but not:" if made and idle else "" if made else ": none was run")
        for rule in idle if made else []:
            print(f"  {title(rule):<28} {rule['comment']}")
        outside += [(name, c) for c in sorted(made) if not any(allows(r, *c) for r in rules)]
    for name, (call, values) in outside:
        print(f"error: {name}: no rule allows {call}({', '.join(map(hex, values))})")
    return 1 if outside else 0


def title(rule):
    words = [test.get("comment", str(test["val"])) for test in rule.get("args", [])]
    return " ".join([rule["syscall"], *words])


if __name__ == "__main__":
    sys.exit(main())
