"""The benchmarks: what they measure, not how fast that is."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path as LocalPath

import pytest
from sshd import SSHD

from benchmarks import remote, report
from benchmarks.bench import LOCAL, Suite


@pytest.mark.parametrize("suite", [LOCAL, remote.REMOTE], ids=["local", "remote"])
def test_every_row_is_of_one_group(suite: Suite) -> None:
    groups = suite.groups(LocalPath("program"), True)
    assert sorted(row for rows, _ in groups.values() for row in rows) == sorted(
        row.name for row in suite.rows
    )
    assert len({shown.side for shown in suite.times}) == len(suite.times)


def test_every_aim_that_is_missed_has_a_reason() -> None:
    results = json.loads(LOCAL.results.read_text())
    missed = [
        row
        for row in LOCAL.rows
        if row.aim is not None and row.name in results["rows"]
        if row.verdict(results["rows"][row.name]["value"]) != "aim"
    ]
    assert missed
    assert [row.measure for row in missed if not row.why] == []
    page = (LocalPath(__file__).resolve().parents[2] / "docs/benchmarks.md").read_text()
    assert [row.measure for row in missed if f"\n* {row.measure}: {row.why}\n" not in page] == []


@pytest.mark.slow
@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
async def test_calls_on_another_host() -> None:
    outcome = await remote.calls(15)
    assert set(outcome.values) == {"ssh-call", "ssh-batch"}
    times = {side: samples.summary() for side, samples in outcome.samples.items()}
    assert times["ssh batch"]["min"] < times["ssh call"]["min"]
    values = {name: {"value": value.number, "detail": value.detail} for name, value in outcome.values.items()}
    facts = {"processor": "one", "processors": "1", "kernel": "6.0", "Python": "3"}
    results = {"facts": facts, "rows": values, "times": times}
    page = report.page(results, remote.REMOTE.page)
    assert "| per call, batch of 64 ÷ that round trip |" in page
    assert "| **getuid** |" in page
    assert "getuid" in report.picture(results, remote.REMOTE.page)


@pytest.mark.slow
@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
async def test_channels_and_forwarding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LARGE", 4 << 20)
    outcome = await remote.channels(15)
    assert set(outcome.values) == {"ssh-child", "ssh-channel", "ssh-channel-large"}
    times = {side: samples.summary() for side, samples in outcome.samples.items()}
    # By way of the root it is more than five times as much.
    assert times["ssh call in a child"]["min"] < 5 * times["forwarded"]["min"]


def test_a_distance_is_a_delay_both_ways() -> None:
    with socket.create_server(("127.0.0.1", 0)) as far, socket.create_server(("127.0.0.1", 0)) as near:
        script = (
            "import socket, sys; from benchmarks.peers import delay; number, port = map(int, sys.argv[1:]); "
        )
        script += "delay(socket.socket(fileno=number), port, 0.05)"
        words = [sys.executable, "-c", script, str(near.fileno()), str(far.getsockname()[1])]
        process = subprocess.Popen(words, pass_fds=[near.fileno()])
        try:
            with socket.create_connection(near.getsockname()) as ours, far.accept()[0] as theirs:
                ours.settimeout(60)
                theirs.settimeout(60)
                start = time.monotonic()
                ours.sendall(b"there")
                assert theirs.recv(100) == b"there"
                assert time.monotonic() - start >= 0.05
                theirs.sendall(b"and back")
                assert ours.recv(100) == b"and back"
                assert time.monotonic() - start >= 0.1
                # The end of one direction is passed on.
                ours.shutdown(socket.SHUT_WR)
                assert theirs.recv(100) == b""
        finally:
            process.kill()
            process.wait()
