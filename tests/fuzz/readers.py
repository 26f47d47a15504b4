"""Fuzz a list reader with atheris, until it is told to stop or something does not hold. By hand; see
docs/writing-a-reader.md for what to install.

    python -m tests.fuzz.readers vics                           for eight minutes
    python -m tests.fuzz.readers csv -max_total_time=3600       any option of libFuzzer
    python -m tests.fuzz.readers ncmec build/fuzz/ncmec/crash-… a file once more

What must hold is in tests/fuzz/accounting.py, what it begins with in tests/fuzz/seeds.py. What it finds, and the files
it has grown, are in build/fuzz/<format>: the next run goes on from there. A file that breaks something is written
beside them as crash-…, timeout-… or oom-….
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import atheris

#: What compares arrays is not observed: atheris 3.0 never lets go of an array that it saw compared.
OF_ARRAYS: Final = [
    "loader.lines", "snapshot.hexdigest",
    *(f"loader.readers.{name}" for name in ("clamav", "csv_plain", "hashdeep", "hashsum", "hexlist")),
]  # fmt: skip
with atheris.instrument_imports(include=["loader", "snapshot"], exclude=OF_ARRAYS):
    from loader.readers import READERS
    from tests.fuzz.accounting import check
    from tests.fuzz.seeds import mutated, seeds

TOLD_EVERY: Final = 20_000
OPTIONS: Final = ("-max_len=65535", "-timeout=10", "-rss_limit_mb=512", "-max_total_time=480", "-print_final_stats=1")


def main() -> None:
    name, *options = sys.argv[1:]
    if name not in READERS:
        sys.exit(f"there is no format {name!r}: {', '.join(READERS)}")
    home = Path("build/fuzz") / name
    corpus = home / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    beginnings = seeds(name)
    for content in beginnings:
        (corpus / hashlib.sha256(content).hexdigest()[:20]).write_bytes(content)
    again = [option for option in options if not option.startswith("-")]
    arguments = ["fuzz", *OPTIONS, f"-artifact_prefix={home}/", *options, *([] if again else [str(corpus)])]
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "list"

        def one(content: bytes) -> None:
            path.write_bytes(content)
            outcomes[check(name, path)] += 1
            if outcomes.total() % TOLD_EVERY == 0:  # what comes after atheris.Fuzz() is never reached
                told = [f"{count:,} {outcome}" for outcome, count in outcomes.most_common()]
                sys.stderr.write(f"{outcomes.total():,} files: {', '.join(told)}\n")

        def mutate(content: bytes, max_size: int, seed: int) -> bytes:
            chance = random.Random(seed)
            kind = chance.random()
            if kind < 0.3:
                return atheris.Mutate(content, max_size)
            if kind < 0.6:  # else there would soon be nothing but files that are no XML or JSON any more
                content = chance.choice(beginnings)
            return mutated(name, content, chance)[:max_size]

        atheris.Setup(arguments, one, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
