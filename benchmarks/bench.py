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
from collections.abc import Awaitable, Callable
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
from benchmarks.rows import ROWS, TIMES

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
DOCS = ROOT / "docs"
TIME_LIMIT = 120  # seconds, for one group

Group = tuple[set[str], Callable[[], Awaitable[Outcome]]]


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


def measure(wanted: set[str], quick: bool) -> dict[str, Any]:
    """Measure the rows with these names; returns the content of the file of results."""
    facts = machine.facts()
    print(report.facts(facts), flush=True)
    whole = len(wanted) == len(ROWS)
    rows: dict[str, dict[str, Any]] = {}
    failed = []
    times: dict[str, dict[str, float]] = {}
    before, started = machine.processor_times(), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        program = machine.build_tiny(Path(directory))
        for name, (gives, run) in groups(program, quick).items():
            # A group without rows is there for the absolute times only.
            if not (gives & wanted if gives else whole):
                continue
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            gc.collect()
            try:
                outcome = trio.run(_limited, run)
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
                if any(side == shown.side for shown in TIMES):
                    times[side] = samples.summary()
    facts["time taken by other virtual machines"] = (
        f"{100 * machine.steal_share(before, machine.processor_times()):.0f} %"
    )
    facts["duration"] = f"{time.monotonic() - started:.0f} s"
    return {"facts": facts, "rows": rows, "times": times, "failed": failed}


async def _limited(run: Callable[[], Awaitable[Outcome]]) -> Outcome:
    with trio.fail_after(TIME_LIMIT):
        return await run()


def main(arguments: list[str]) -> int:
    """Return a process exit status."""
    parser = argparse.ArgumentParser(
        prog="bench.py", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument(
        "--quick", action="store_true", help="the least number of repetitions; records nothing"
    )
    parser.add_argument(
        "--row", action="append", choices=[row.name for row in ROWS], help="only this row; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    parser.add_argument(
        "--no-record",
        action="store_true",
        help="leave benchmarks/results.json and docs/benchmarks.* as they are",
    )
    parser.add_argument("--draw", action="store_true", help="measure nothing; write docs/benchmarks.* anew")
    options = parser.parse_args(arguments)
    if options.draw:
        report.write(json.loads(RESULTS.read_text()), DOCS)
        return 0
    machine.raise_descriptor_limit()
    results = measure(set(options.row or (row.name for row in ROWS)), options.quick)
    print(report.table(results))
    print(report.absolute_table(results))
    text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
    if options.json:
        options.json.write_text(text)
    if not (options.no_record or options.quick or options.row or results["failed"]):
        RESULTS.write_text(text)
        report.write(results, DOCS)
    if missed := report.missed(results):
        print(f"gates missed: {', '.join(missed)}", file=sys.stderr)
    if results["failed"]:
        print(f"could not be measured: {', '.join(results['failed'])}", file=sys.stderr)
    return 1 if missed or results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
