"""Measure what rsyscall costs: `python benchmarks/bench.py`, or `nox -s bench`.

Prints facts about the machine, the table of measures with their limits (gates) and aims, and the absolute
times behind it. Exits with status 1 if a gate is missed. A whole run also writes benchmarks/results.json, and
from it docs/benchmarks.md and docs/benchmarks.svg.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Run by path: make `benchmarks` importable, and not its modules as top-level names.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

try:
    import rsyscall.tasks.local  # noqa: F401
except ModuleNotFoundError as error:
    sys.exit(f"{error}; install rsyscall, or put the tree that tools/devtree.py makes on PYTHONPATH")

import trio

from benchmarks import calls, machine, own_memory, pipes, report, spawns, timeouts
from benchmarks.measure import MINIMAL_REPETITIONS, Outcome
from benchmarks.rows import ROWS, TIMES, Row, Time

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

Group = tuple[set[str], Callable[[], Awaitable[Outcome]]]


@dataclass(frozen=True)
class Suite:
    """Benchmarks that are run together.

    Attributes:
        rows: the measures.
        times: the absolute times.
        groups: given a static program, and whether to be quick: what is measured.
        results: the file that a whole run writes.
        page: made of that.
        time_limit: in seconds, for one group.
    """

    rows: Sequence[Row]
    times: Sequence[Time]
    groups: Callable[[Path, bool], dict[str, Group]]
    results: Path
    page: report.Page
    time_limit: float = 120


def groups(program: Path, quick: bool) -> dict[str, Group]:
    """Groups of measurements that take turns: the rows that each gives, and its function."""

    def repetitions(count: int) -> int:
        return MINIMAL_REPETITIONS if quick else count

    return {
        "calls": ({"call", "call-local", "pipe", "batch"}, lambda: calls.calls(repetitions(61))),
        "stream": ({"stream"}, lambda: calls.stream(repetitions(25))),
        "busy": ({"busy"}, lambda: calls.busy(repetitions(25))),
        "blocking": ({"sleepers"}, lambda: calls.blocking(repetitions(41))),
        "spawns": (
            {"spawn", "at-once", "run-process", "spawn-each", "run-subprocess", "capture"},
            lambda: spawns.spawns(program, repetitions(301)),
        ),
        "pipes": ({"both-ways", "both-ways-memory"}, lambda: pipes.both_ways(repetitions(25))),
        "function calls": ({"spawn-calls", "run-calls"}, lambda: spawns.function_calls(program)),
        "command line": ({"command-line"}, lambda: spawns.command_line(repetitions(25))),
        "memory": ({"write", "read"}, lambda: calls.memory(repetitions(61))),
        "growth": ({"late", "resident"}, lambda: spawns.growth(program, repetitions(301))),
        "big parent": ({"big-parent"}, lambda: spawns.big_parent(program, repetitions(151))),
        "idle": ({"idle"}, lambda: calls.idle(5.0)),
        "own memory": ({"own-call", "own-write", "own-read"}, lambda: own_memory.calls(repetitions(61))),
        "own memory, made": ({"own-make"}, lambda: own_memory.making(program, repetitions(301))),
        "own memory, idle": ({"own-idle"}, lambda: own_memory.idle(5.0)),
        "reaping": ({"reaping"}, lambda: spawns.reaping(program, repetitions(25))),
        "timeouts": (
            {f"timeouts-{kind}" for kind in timeouts.TREES},
            lambda: timeouts.timeouts(100 if quick else 1000),
        ),
    }


def measure(suite: Suite, wanted: set[str], quick: bool) -> dict[str, Any]:
    """Measure the rows with these names; returns the content of the file of results."""
    facts = machine.facts()
    print(report.facts(facts), flush=True)
    whole = len(wanted) == len(suite.rows)
    rows: dict[str, dict[str, Any]] = {}
    failed = []
    times: dict[str, dict[str, float]] = {}
    before, started = machine.processor_times(), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        program = machine.build_tiny(Path(directory))
        for name, (gives, run) in suite.groups(program, quick).items():
            # A group without rows is there for the absolute times only.
            if not (gives & wanted if gives else whole):
                continue
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            gc.collect()
            try:
                outcome = trio.run(_limited, run, suite.time_limit)
            except Exception:
                traceback.print_exc()
                outcome = Outcome()
                failed.append(name)
            for row in gives & wanted:
                if row in outcome.values:
                    value = outcome.values[row]
                    rows[row] = {"value": round(value.number, 4), "detail": value.detail}
                elif row in outcome.skipped:
                    rows[row] = {"value": None, "detail": f"skipped: {outcome.skipped[row]}"}
                else:
                    rows[row] = {"value": None, "detail": "raised an exception", "failed": True}
            for side, samples in outcome.samples.items():
                if any(side == shown.side for shown in suite.times):
                    times[side] = samples.summary()
    facts["time taken by other virtual machines"] = (
        f"{100 * machine.steal_share(before, machine.processor_times()):.0f} %"
    )
    facts["duration"] = f"{time.monotonic() - started:.0f} s"
    return {"facts": facts, "rows": rows, "times": times, "failed": failed}


async def _limited(run: Callable[[], Awaitable[Outcome]], seconds: float) -> Outcome:
    with trio.fail_after(seconds):
        return await run()


LOCAL = Suite(ROWS, TIMES, groups, ROOT / "benchmarks" / "results.json", report.LOCAL)


def main(arguments: list[str], suite: Suite = LOCAL) -> int:
    """Return a process exit status."""
    parser = argparse.ArgumentParser(
        prog="bench.py", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument(
        "--quick", action="store_true", help="the least number of repetitions; records nothing"
    )
    names = [row.name for row in suite.rows]
    parser.add_argument("--row", action="append", choices=names, help="only this row; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    parser.add_argument(
        "--no-record",
        action="store_true",
        help=f"leave {suite.results.name} and docs/{suite.page.name}.* as they are",
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing; write the page anew")
    options = parser.parse_args(arguments)
    if options.draw:
        report.write(json.loads(suite.results.read_text()), DOCS, suite.page)
        return 0
    machine.raise_descriptor_limit()
    results = measure(suite, set(options.row or names), options.quick)
    print(report.table(results))
    print(report.absolute_table(results))
    text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    if options.json:
        options.json.write_text(text)
    if not (options.no_record or options.quick or options.row or results["failed"]):
        suite.results.write_text(text)
        report.write(results, DOCS, suite.page)
    if missed := report.missed(results):
        print(f"gates missed: {', '.join(missed)}", file=sys.stderr)
    if results["failed"]:
        print(f"could not be measured: {', '.join(results['failed'])}", file=sys.stderr)
    return 1 if missed or results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
