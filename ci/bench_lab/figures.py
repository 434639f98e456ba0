"""Times, rates and their medians, as they are taken and printed."""

import os
import sys
import time

SCRUBBED = 400  # MiB: more than any machine took


def interleave(rounds, candidates):
    """Seconds per candidate: each once per round, so that a change of load meets all."""
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, action in candidates.items():
            scrub()
            began = time.monotonic()
            action()
            times[name].append(time.monotonic() - began)
    return times


def scrub():
    """Writes over the memory that was let go of last.

    The emulator keeps its translation of code by where that lies. Whoever is given memory in
    which a guest's kernel has run pays for every piece that it overwrites, several times what
    it would pay otherwise; who that is depends on who came before.
    """
    zeros = bytes(1 << 20)
    with open("/dev/shm/scrub", "wb", buffering=0) as file:
        for _ in range(SCRUBBED):
            file.write(zeros)
    os.unlink("/dev/shm/scrub")


def table(times, unit):
    print(f"    {'':56} {'median':>9} {'min':>9} {'max':>9} {unit}")
    for name, values in times.items():
        print(f"    {name:56} {median(values):9.3f} {min(values):9.3f} {max(values):9.3f}")
    print(f"    {len(values)} rounds", flush=True)


def verdict(what, times, ours, theirs, aim):
    print(f"    {what}: {median(times[ours]) / median(times[theirs]):.2f}; aim: {aim}", flush=True)


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def title(text):
    print(f"\n{text}", flush=True)


def expect(got, wanted):
    if got != wanted:
        sys.exit(f"expected {wanted!r}, got {got!r}")
