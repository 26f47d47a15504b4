"""The part that measures sizes, tiny; and what counts as private."""

import mmap
import os

import pytest

from benchmarks import memory
from benchmarks.errors import CannotMeasure
from benchmarks.memory import Usage, worker_pids
from benchmarks.processes import serving_store
from benchmarks.run import Run

MIB = 1 << 20


@pytest.mark.needs("wrk")
def test_sizes_are_measured_at_every_size_and_number_of_workers(tiny, tmp_path):
    figures = {figure.name: figure for figure in memory.measure(Run(tiny, tmp_path))}
    goals = {name: [goal.bound for goal in figure.goals] for name, figure in figures.items() if figure.goals}
    private = {f"private entries={entries} workers={workers}" for entries in (1_000, 3_000) for workers in (1, 2)}
    assert goals == {
        "bytes an entry algorithm=sha256 entries=3000": [38],
        "bytes an entry algorithm=md5 entries=3000": [24],
        **{name: [80] for name in private},
    }
    assert set(figures) - set(goals) == {name.replace("private", "shared") for name in private}
    for name in private:
        assert 10 < figures[name].spread.least <= figures[name].spread.most < 200
    assert figures["private entries=3000 workers=2"].spread.rounds == 2


def test_mapped_files_of_the_store_are_not_private_and_all_else_is(tmp_path):
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    for directory in (store, elsewhere):
        directory.mkdir()
        (directory / "file").write_bytes(bytes(16 * MIB))
    before = Usage.of(os.getpid(), store)
    with _mapped(store / "file") as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        with_store = Usage.of(os.getpid(), store)
    with _mapped(elsewhere / "file") as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        with_other = Usage.of(os.getpid(), store)
    assert before.store_mapped == 0
    assert with_store.store_mapped == with_store.store_share == 16 * MIB
    assert with_store.private - before.private < 8 * MIB
    assert with_other.store_mapped == 0
    assert with_other.private - before.private >= 15 * MIB  # something else may have been freed


def _mapped(path):
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def test_workers_are_the_processes_that_answer(tiny, tmp_path):
    with serving_store(Run(tiny, tmp_path).store(1_000), tmp_path, workers=2) as server:
        pids = worker_pids(server, 2)
        assert len(set(pids)) == 2
        assert server.pid not in pids
        with pytest.raises(CannotMeasure, match="2 worker processes were found, 3 were started"):
            worker_pids(server, 3)
        assert worker_pids(server, 1) == [server.pid]


def test_a_process_that_is_gone_cannot_be_measured(tmp_path):
    with pytest.raises(CannotMeasure, match="cannot be read"):
        Usage.of(2**22 + 1, tmp_path)
