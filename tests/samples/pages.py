"""Pages of docs that are sessions on a terminal: their commands are run, and what they print is what the page shows.

    differences(page, directory)     run a page; give a readable difference for each command whose output is another
    python -m tests.samples.pages    run the pages and write into them what their commands printed

A session is what stands in ```console blocks: a line that begins with `$ ` is a command, with its here-document if it
has one, and what follows it is its output, of standard output and standard error together. A command that fails shows a
line that begins with `error [`. `hashwacht serve` goes on in the background until the next one or the end of the page;
its log is shown up to where a snapshot is live. All commands run in one directory, as the user `olga`.

What cannot be the same in every run is made alike on both sides before they are compared: times, ids of snapshots and
keys, seconds, process ids. The id of a snapshot changes with the format of its files, which has tests of its own.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from snapshot.errors import NoStore
from snapshot.store import Store
from tests.command import ROOT, environment
from tests.samples import first_day, incident
from tests.service_process import ServiceProcess, until

#: The pages, and what makes the files that each begins with.
PAGES: Final[dict[str, Callable[[Path], None]]] = {
    "operations.md": first_day.write_files,
    "the-wordpress-incident.md": incident.write_files,
}
USER: Final = "olga"
#: The directory and the port as the pages have them.
SHOWN_DIRECTORY: Final = "/srv/hashwacht"
SHOWN_PORT: Final = ":8000"
_SECONDS: Final = 60.0

_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HERE_DOCUMENT: Final = re.compile(r"<<-?\s*'?(\w+)'?")
_ALIKE: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z|\+00:00)?"), "TIME"),
    (re.compile(r"(snapshot(?:_id)?[ =\":]+)[0-9a-f]{64}"), r"\1ID"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])"), "ID"),
    (re.compile(r"\b\d+\.\d s$", re.MULTILINE), "SECONDS"),
    (re.compile(r"\b(process|seconds|gb_per_second)=[\d.]+"), r"\1=…"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a page, the line that it is in, and the output that the page shows: whole lines, or nothing."""

    line: int
    command: str
    output: str

    @property
    def serves(self) -> bool:
        """Tell whether it is the command that goes on in the background."""
        return self.command.startswith("hashwacht serve")

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.output}"


def steps_of(text: str) -> list[Step]:
    """Give the commands of a page in their order. Raises ValueError for output that belongs to none."""
    return [
        step for block in _BLOCK.finditer(text)
        for step in _steps_of(block[1], text.count("\n", 0, block.start(1)))
    ]  # fmt: skip


def _steps_of(block: str, first_line: int) -> Iterator[Step]:
    found: Step | None = None
    lines = iter(enumerate(block.splitlines(keepends=True), first_line + 1))
    for number, line in lines:
        if line.startswith("$ "):
            if found is not None:
                yield found
            command = line[2:].rstrip("\n")
            if (here := _HERE_DOCUMENT.search(command)) is not None:
                for _, more in lines:
                    command += f"\n{more.rstrip()}"
                    if more.rstrip() == here[1]:
                        break
            found = Step(number, command, "")
        elif found is None:
            raise ValueError(f"line {number}: a session begins with a command, `$ …`")
        else:
            found = replace(found, output=found.output + line)
    if found is not None:
        yield found


def alike(output: str) -> str:
    """Give an output without what differs from run to run."""
    for pattern, same in _ALIKE:
        output = pattern.sub(same, output)
    return output


def _is_refusal(output: str) -> bool:
    """Tell whether a command said that it was refused."""
    return re.search(r"^error \[", output, re.MULTILINE) is not None


class Session:
    """A directory in which commands are run one after the other. The service, if one runs, is ended with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._service: ServiceProcess | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = f":{free.getsockname()[1]}"
        programs = directory.with_name(f"{directory.name}-programs")
        programs.mkdir()
        (programs / "hashwacht").write_text(
            f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m hashwacht "$@"\n'
        )
        (programs / "hashwacht").chmod(0o755)
        self._environment = environment(
            PATH=f"{programs}:{os.environ['PATH']}", LOGNAME=USER, LC_ALL="C.UTF-8", TZ="UTC",
            HASHWACHT_PORT=self._port[1:], HASHWACHT_STATE_DIR=str(programs / "state"),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end_service(check=error[0] is None)

    def run(self, step: Step) -> str:
        """Run a command; give what it printed, with the directory and the port as the page has them."""
        if step.serves:
            return self._shown(self._serve(step))
        self._wait_for_service()
        done = subprocess.run(
            ["bash", "-c", self._real(step.command)], cwd=self.directory, env=self._environment, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_SECONDS,
        )  # fmt: skip
        output = self._shown(done.stdout.decode())
        if (done.returncode != 0) != _is_refusal(output):
            raise AssertionError(f"line {step.line}: $ {step.command}\nexit code {done.returncode}\n{output}")
        return output if output.endswith("\n") or not output else output + "\n"

    def _real(self, command: str) -> str:
        return command.replace(SHOWN_PORT, self._port).replace(SHOWN_DIRECTORY, str(self.directory))

    def _shown(self, output: str) -> str:
        return output.replace(self._port, SHOWN_PORT).replace(str(self.directory), SHOWN_DIRECTORY)

    def _serve(self, step: Step) -> str:
        """Start the service in place of one that runs, and give its log up to where a snapshot is live."""
        self.end_service()
        process = subprocess.Popen(
            ["bash", "-c", f"exec {step.command}"], cwd=self.directory, env=self._environment,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._service = service = ServiceProcess(process)
        service.wait_until_listening()
        self._wait_for_service()
        is_live = [number for number, line in enumerate(service.lines, 1) if "snapshot live" in line]
        return "".join(f"{line}\n" for line in service.lines[: is_live[0]])

    def _wait_for_service(self) -> None:
        """Wait until the service has looked at what is live, as somebody who types has without knowing."""
        if (service := self._service) is None:
            return
        try:
            generation = Store(self.directory / "store").current().generation
        except NoStore:
            return

        def has_looked() -> bool:
            status, reply = service.ready()
            refused = reply.get("refused") or {}
            return status == 200 and generation in (reply["generation"], refused.get("generation"))

        assert until(has_looked, _SECONDS), service.log

    def end_service(self, *, check: bool = True) -> None:
        """End the service, and require that it ends well."""
        if (service := self._service) is None:
            return
        self._service = None
        try:
            code = service.end()
        finally:
            if service.process.poll() is None:
                service.process.kill()
                service.process.wait()
            if service.process.stderr is not None:
                service.process.stderr.close()
        assert code == 0 or not check, service.log
        assert "Traceback" not in service.log or not check, service.log


def session(name: str, stack: ExitStack, directory: Path) -> Session:
    """Make a page's files in a new directory, and give a session there."""
    directory.mkdir()
    PAGES[name](directory)
    return stack.enter_context(Session(directory))


def outputs(name: str, steps: list[Step], directory: Path) -> Iterator[tuple[Step, str]]:
    """Run commands on a page's files in a new directory; yield each with what it printed."""
    with ExitStack() as stack:
        running = session(name, stack, directory)
        for step in steps:
            yield step, running.run(step)


def differences(name: str, steps: list[Step], directory: Path) -> list[str]:
    """Give a difference for each command that printed something else than the page shows."""
    found = []
    for step, output in outputs(name, steps, directory):
        shown, printed = alike(step.output).splitlines(), alike(output).splitlines()
        if shown != printed:
            lines = difflib.unified_diff(shown, printed, f"docs/{name}:{step.line}", "printed", lineterm="")
            found.append(f"$ {step.command}\n" + "\n".join(lines))
    return found


def rewritten(text: str, printed: dict[int, str]) -> str:
    """Give a page with what its commands printed, by their lines, in place of what differs."""

    def block(match: re.Match[str]) -> str:
        steps = _steps_of(match[1], text.count("\n", 0, match.start(1)))
        kept = [
            step if alike(step.output) == alike(printed[step.line]) else replace(step, output=printed[step.line])
            for step in steps
        ]
        return f"```console\n{''.join(map(str, kept))}```"

    return _BLOCK.sub(block, text)


def main() -> None:
    """Write into the pages what their commands print now."""
    for name in PAGES:
        page = ROOT / "docs" / name
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as temporary:
            printed = {step.line: output for step, output in outputs(name, steps_of(text), Path(temporary) / "session")}
        changed = rewritten(text, printed)
        page.write_text(changed, encoding="utf-8")
        sys.stderr.write(f"{page}: {len(printed)} commands, {'written anew' if changed != text else 'as it was'}\n")


if __name__ == "__main__":
    main()
