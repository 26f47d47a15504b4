"""The allocator keeps what a request frees, and the collector leaves alone what is there to stay.

Each in a process of its own, since both change the process they are called in.
"""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


FAULTS_OF_A_MIB = """
import resource
from service.runtime import keep_freed_memory
if {kept}:
    keep_freed_memory()
for _ in range(3):
    bytearray(b"x" * (1 << 20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytearray(b"x" * (1 << 20))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_that_was_freed_is_used_again_without_a_page_fault() -> None:
    assert int(run(FAULTS_OF_A_MIB.format(kept=True))) < 50
    # Were it so by itself, there would be nothing to keep.
    assert int(run(FAULTS_OF_A_MIB.format(kept=False))) > 1_000


def test_what_is_there_is_spared_and_what_comes_is_still_collected() -> None:
    code = """
import gc, weakref
from service.runtime import spare_what_is_there
spare_what_is_there()
class Ring: pass
ring = Ring(); ring.itself = ring
gone = weakref.ref(ring)
del ring
gc.collect()
print(gc.get_freeze_count() > 1_000, gone() is None)
"""
    assert run(code) == "True True"
