"""Cycles of others go while a process runs, however much of it stays; in a process of its own, whose collector is
set as a worker's."""

import subprocess
import sys

PROGRAM = """
import collections, gc, weakref
from proxy.app import collector

class Thing:
    pass

def a_cycle():
    things = [Thing() for _ in range(40)]
    for thing in things:
        thing.others = [things]
    return things[0]

imported = [[each] for each in range(800_000)]
collector.settle()
looked_at = []
gc.callbacks.append(lambda phase, info: looked_at.append(len(gc.get_objects())) if phase == "start" and
                    info["generation"] == 2 else None)
live, made = collections.deque(maxlen=500), weakref.WeakSet()
most = 0
for _ in range(20_000):
    thing = a_cycle()
    live.append(thing)  # for as long as 500 others: it grows old, and then goes
    made.add(thing)
    most = max(most, len(made))
print(most, max(looked_at, default=0))
"""


def test_what_grew_old_and_is_gone_is_collected_and_what_stays_is_not_looked_at() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    most, looked_at = (int(each) for each in found.stdout.split())
    assert most <= 4_500, "cycles that were there at a time, 500 of them in use"
    assert 0 < looked_at < 800_000
