"""Runs of the command that meet a given fate at a given moment: a kill, a full disk, a file that grows.

    with Doomed() as doomed:
        doomed.run(["compile", …], at=Call("loader.build:check_bad_lines"), fate="kill")

Production code has no hooks for this. `Doomed` starts this module as a program, which imports the command once
and forks a process for each run; the fork wraps one function, or counts its own steps in the file system, and
then calls the command as a user would. So a run costs some 30 ms instead of a second, and hundreds of moments
can be tried.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]

#: What Python tells an audit hook of that changes the file system; os.write and os.fsync are counted beside them.
STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "os.listdir"}


@dataclass(frozen=True)
class Call:
    """The nth call of a function, written as module:name or module:Class.name; before it, after it, or during a
    generator's work, when it has given its first item."""

    function: str
    when: str = "before"
    nth: int = 1


@dataclass(frozen=True)
class Step:
    """The nth step in the file system, just before it is taken."""

    nth: int


@dataclass(frozen=True)
class Run:
    """What came of a run. `code` is negative when a signal ended it; `steps` are filled in on request."""

    code: int
    out: str
    err: str
    peak_bytes: int
    steps: list[str]


class Doomed:
    """The program that forks, for as long as the `with` block lasts."""

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HASHWACHT_")}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}  # no threads to fork
        self._program = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.communicate()
        self._directory.cleanup()

    def start(
        self, words: list[Any], *, at: Call | Step | None = None, fate: str = "", user: int | None = None,
        stdin: Path | str = os.devnull, count_steps: bool = False, spool_bytes: int | None = None,
    ) -> int:  # fmt: skip
        """Fork a run of the command; give its process id. `finish` waits for it.

        Fates: kill; interrupt (Ctrl-C); fsize:N (no file may grow beyond N bytes from then on); fill:PATH (a
        file there takes all room); sh:COMMAND (somebody
        else does something meanwhile).
        `spool_bytes` is memory for sorting, less than the command line allows, so that little data spills to disk.
        """
        moment = {type(at).__name__: asdict(at)} if at is not None else {}
        return int(self._ask(
            words=[str(word) for word in words], moment=moment, fate=fate, user=user, stdin=str(stdin),
            directory=self._directory.name, count_steps=count_steps, spool_bytes=spool_bytes,
        ))  # fmt: skip

    def finish(self, pid: int) -> Run:
        """Wait for a run."""
        code, out, err, peak_kib = self._ask(wait=pid)
        steps = Path(self._directory.name, f"{pid}.steps")
        return Run(code, out, err, peak_kib * 1024, steps.read_text().splitlines() if steps.exists() else [])

    def kill(self, pid: int) -> None:
        """Kill a run, if it has not ended; its process id is kept until `finish`."""
        os.kill(pid, signal.SIGKILL)

    def run(self, words: list[Any], **options: Any) -> Run:
        """Start a run and wait for it. Whatever its fate, it must not show a traceback."""
        done = self.finish(self.start(words, **options))
        assert "Traceback" not in done.err, done.err
        return done

    def _ask(self, **request: Any) -> Any:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(request) + "\n")
        self._program.stdin.flush()
        answer = self._program.stdout.readline()
        assert answer, "the program that forks has ended"
        return json.loads(answer)


def serve() -> None:
    """Fork and wait as the lines of standard input say."""
    for name in ("hashwacht", "loader.cli", "loader.store_cli", "encodings.idna", "json.encoder", "ctypes"):
        importlib.import_module(name)  # a run under another user may not be able to
    pipes: dict[int, tuple[int, int]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            out, err = read_both(*pipes.pop(request["wait"]))
            _, status, used = os.wait4(request["wait"], 0)
            answer: Any = [os.waitstatus_to_exitcode(status), out, err, used.ru_maxrss]
        else:
            # Pipes, since files would fall under the limit of a run that is to have no room.
            (out_from, out_to), (err_from, err_to) = os.pipe(), os.pipe()
            if not (answer := os.fork()):
                run(request, out_to, err_to)
            os.close(out_to)
            os.close(err_to)
            pipes[answer] = out_from, err_from
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def read_both(*descriptors: int) -> list[str]:
    """Read two pipes to their ends, whichever has something, and close them."""
    said = dict.fromkeys(descriptors, b"")
    open_ones = list(descriptors)
    while open_ones:
        for descriptor in select.select(open_ones, [], [])[0]:
            piece = os.read(descriptor, 1 << 16)
            said[descriptor] += piece
            if not piece:
                open_ones.remove(descriptor)
                os.close(descriptor)
    return [text.decode(errors="replace") for text in said.values()]


def run(request: dict[str, Any], out: int, err: int) -> None:
    """Be the forked process: meet the fate, or end with the command's exit code."""
    for descriptor, opened in enumerate((os.open(request["stdin"], os.O_RDONLY), out, err)):
        os.dup2(opened, descriptor)
        os.close(opened)
    code = 70
    try:
        if request["user"] is not None:
            os.setgroups([])
            os.setresgid(*[request["user"]] * 3)
            os.setresuid(*[request["user"]] * 3)
        meet = functools.partial(FATES[request["fate"].partition(":")[0]], request["fate"].partition(":")[2])
        if "Call" in request["moment"]:
            wrap(**request["moment"]["Call"], meet=meet)
        elif "Step" in request["moment"] or request["count_steps"]:
            path = f"{request['directory']}/{os.getpid()}.steps"
            steps = os.open(path, os.O_WRONLY | os.O_CREAT) if request["count_steps"] else -1
            count(request["moment"].get("Step", {}).get("nth", 0), steps, meet)
        elif request["fate"]:
            meet()
        if request["spool_bytes"] is not None:
            build = importlib.import_module("loader.build")
            spools = build.Spools
            build.Spools = lambda directory, memory_bytes: spools(directory, request["spool_bytes"])
        import hashwacht

        hashwacht.main(request["words"], prog_name="hashwacht")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    except BaseException:  # noqa: BLE001 - whatever it is, the test is to see it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def kill(_: str) -> None:
    """End at once, as by a crash or the kernel's out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt(_: str) -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def limit(size: str) -> None:
    """Let no file grow beyond a size: the kernel's own errors, as from a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))


def fill(path: str) -> None:
    """Let a file take all the room that its file system has."""
    subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=4096"], check=False, stderr=subprocess.DEVNULL)


def shell(command: str) -> None:
    """Let another process do something."""
    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)


FATES: dict[str, Callable[[str], None]] = {
    "": lambda _: None, "kill": kill, "interrupt": interrupt, "fsize": limit, "fill": fill, "sh": shell,
}  # fmt: skip


def wrap(function: str, when: str, nth: int, meet: Callable[[], None]) -> None:
    """Put a function in place of another that meets the fate at its nth call."""
    module, _, path = function.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = 0

    def counted() -> bool:
        nonlocal calls
        calls += 1
        return calls == nth

    @functools.wraps(original)
    def plain(*args: Any, **kwargs: Any) -> Any:
        hit = counted()
        if hit and when == "before":
            meet()
        result = original(*args, **kwargs)
        if hit and when == "after":
            meet()
        return result

    @functools.wraps(original)
    def generator(*args: Any, **kwargs: Any) -> Any:
        hit = counted()
        if hit and when == "before":
            meet()
        for number, item in enumerate(original(*args, **kwargs)):
            yield item
            if hit and when == "during" and not number:
                meet()
        if hit and when == "after":
            meet()

    setattr(owner, name, generator if inspect.isgeneratorfunction(original) else plain)


def count(nth: int, steps: int, meet: Callable[[], None]) -> None:
    """Meet the fate just before the nth step in the file system; write each step to `steps` if that is open."""
    taken = 0
    write, fsync = os.write, os.fsync

    def take(step: str) -> None:
        nonlocal taken
        taken += 1
        if steps >= 0:
            write(steps, step.encode(errors="replace").replace(b"\n", b" ") + b"\n")
        if taken == nth:
            meet()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STEPS and not (event == "open" and str(arguments[0]).endswith((".py", ".pyc"))):
            take(" ".join([event, *map(str, arguments)]))

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def before(*arguments: Any) -> Any:
            take(name)
            return function(*arguments)

        return before

    os.write, os.fsync = counted("os.write", write), counted("os.fsync", fsync)
    sys.addaudithook(hook)


if __name__ == "__main__":
    serve()
