"""What `hashwacht compile` says when it is done: what was read, left out, changed and published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from loader.build import BuildResult
from loader.diff_gate import Finding, lines_of
from loader.diff_gate import as_json as diff_as_json
from loader.entries import MAX_ROWS_OF_ENTRY
from loader.guard import Collision, GuardReport
from loader.printing import counted, print_json
from snapshot.labels import Label

#: Known-good digests that are named; `--json` has up to 20 of each class.
_NAMED_COLLISIONS = 5


def print_result(result: BuildResult, seconds: float, *, as_json: bool) -> None:
    """Print what came of a compile, for people or for scripts."""
    if as_json:
        print_json(_facts(result, seconds))
        return
    report, manifest = result.report, result.manifest
    for bad in report.bad_lines:
        click.echo(f"refused: {bad}", err=True)
    empty = f" ({len(report.empty_files):,} of them empty)" if report.empty_files else ""
    click.echo(
        f"read      {counted(len(report.files), 'file')}{empty}, {report.lines_read:,} lines: "
        f"{report.digest_count:,} digests, {report.refused:,} lines refused"
    )
    _print_guard(report.guard)
    kinds = ", ".join(f"{facts.entries:,} {name}" for name, facts in manifest.algorithms.items()) or "nothing"
    each = f", {manifest.total_bytes / manifest.entries:.1f} bytes each" if manifest.entries else ""
    sealed = f"; sealed with {manifest.seal_key_id}" if manifest.seal_key_id else ""
    click.echo(
        f"compiled  {kinds}; {report.merged:,} repeats merged; {manifest.total_bytes / 1e6:,.1f} MB{each}{sealed}"
    )
    _print_comparison(result)
    if result.published is None:
        click.echo(f"checked   nothing was published, {seconds:.1f} s")
        return
    for path in result.published.left:
        click.echo(
            f"warning: {path}: is not sealed with {manifest.seal_key_id}, and could not be removed: remove it", err=True
        )
    current = result.published.current
    what = " (the same as before: only CURRENT moved)" if result.published.already_there else ""
    click.echo(
        f"live      generation {current.generation}, snapshot {current.snapshot_id}{what}, overlay "
        f"{current.overlay_version}, {seconds:.1f} s"
    )


def _print_guard(guard: GuardReport) -> None:
    if guard.withdrawn_rows:
        click.echo(f"withdrawn {guard.withdrawn_rows:,} entries that their suppliers took back")
    if guard.collisions:
        click.echo(
            f"known     {guard.collisions:,} listed digests are known good and left out: {_by_list(guard.by_list)}; "
            "tell the suppliers"
        )
        _print_collisions([each for each in guard.named if not each.with_it])
    if guard.with_it:
        click.echo(
            f"with it   {guard.with_it:,} other digests of the same entries are left out with them: "
            f"{_by_list(guard.with_it_by_list)}"
        )
        _print_collisions([each for each in guard.named if each.with_it])
    if guard.constants:
        click.echo(
            f"warning: {guard.constants:,} of these digests, or their references, stand on more than "
            f"{MAX_ROWS_OF_ENTRY:,} rows, as a placeholder would: what else those rows list is still listed",
            err=True,
        )


def _by_list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} of {list_id}" for list_id, count in sorted(counts.items()))


def _print_collisions(named: Sequence[Collision]) -> None:
    for collision in named[:_NAMED_COLLISIONS]:
        labels = "; ".join(" / ".join(_shown(label).values()) for label in collision.labels)
        click.echo(f"          {collision.digest}  {collision.algorithm}  {labels}")


def _print_comparison(result: BuildResult) -> None:
    comparison = result.comparison
    if comparison.not_compared is not None:
        click.echo(f"warning: what was live could not be compared with: {comparison.not_compared}", err=True)
    for finding in comparison.findings:
        if finding.stops:
            click.echo(f"{'stops' if result.request.accept_diff is None else 'accepted'}: {finding.text}", err=True)
        elif _is_news(finding, result):
            click.echo(f"note: {finding.text}", err=True)
    for note in result.overlay_notes:
        click.echo(f"overlay: {note}", err=True)
    if comparison.diff is not None and comparison.diff.old_snapshot_id is not None:
        for line in lines_of(comparison.diff):
            click.echo(f"changed   {line}")


def _is_news(finding: Finding, result: BuildResult) -> bool:
    """Tell whether nothing else that is printed says so already."""
    if finding.kind == "class_appeared":
        return finding.list_id not in result.request.approved_lists  # the others are off until they are approved
    return finding.kind not in {"reclassed", "guard_collisions"}  # the counts, and the guard's own lines


def _facts(result: BuildResult, seconds: float) -> dict[str, object]:
    manifest, report, comparison = result.manifest, result.report, result.comparison
    published = result.published
    return {
        "generation": published.current.generation if published else None,
        "snapshot_id": manifest.snapshot_id,
        "seal_key_id": manifest.seal_key_id,
        "overlay_version": published.current.overlay_version if published else None,
        "published": published is not None,
        "already_there": published.already_there if published else False,
        "entries": manifest.entries,
        "algorithms": {name: facts.entries for name, facts in manifest.algorithms.items()},
        "bytes": manifest.total_bytes,
        "files": len(report.files),
        "empty_files": report.empty_files,
        "lines": report.lines_read,
        "digests": report.digest_count,
        "merged": report.merged,
        "withdrawn": report.guard.withdrawn_rows,
        "known_good": {
            "digests": report.guard.collisions,
            "lists": dict(report.guard.by_list),
            "named": [_collision(each) for each in report.guard.named if not each.with_it],
            "with_it": {
                "digests": report.guard.with_it,
                "lists": dict(report.guard.with_it_by_list),
                "named": [_collision(each) for each in report.guard.named if each.with_it],
            },
            "constants": report.guard.constants,
        },
        "refused": report.refused,
        "bad_lines": [str(bad) for bad in report.bad_lines],
        "diff": diff_as_json(comparison.diff) if comparison.diff is not None else None,
        "not_compared": comparison.not_compared,
        "findings": [
            {"kind": finding.kind, "list_id": finding.list_id, "text": finding.text, "stops": finding.stops}
            for finding in comparison.findings
        ],
        "overlay_notes": list(result.overlay_notes),
        "removed_snapshots": list(published.removed) if published else [],
        "not_removed": [str(path) for path in published.left] if published else [],
        "seconds": round(seconds, 3),
    }


def _collision(collision: Collision) -> dict[str, object]:
    return {
        "algorithm": collision.algorithm,
        "digest": collision.digest,
        "labels": [_shown(label) for label in collision.labels],
    }


def _shown(label: Label) -> dict[str, str]:
    return {name: value for name, value in label._asdict().items() if value is not None}
