"""A real sshd on the loopback device, for tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH')}:/usr/sbin")


@dataclass
class Server:
    """A server, and the options of a client that it lets in."""

    process: subprocess.Popen[bytes]
    options: dict[str, str]

    def words(self, **options: str) -> list[str]:
        """What to give to ssh to connect, up to and including the host; these options take precedence."""
        # The first of two values counts.
        both = {**options, **self.options} | options
        words = [word for name, value in both.items() for word in ("-o", f"{name}={value}")]
        return ["-F", "/dev/null", *words, f"{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1"]


@contextlib.contextmanager
def serving(directory: Path, *options: str) -> Iterator[Server]:
    """Run a server on a free port of the loopback device."""
    if not os.getuid():
        # Debian makes it when the service starts.
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
    for name in ("host", "user"):
        if not (directory / name).exists():
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(directory / name)]
            subprocess.run(keygen, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    assert SSHD is not None
    words = [SSHD, "-D", "-e", "-f", "/dev/null", "-p", str(port)]
    for option in (
        *options,
        "ListenAddress=127.0.0.1",
        f"HostKey={directory / 'host'}",
        f"AuthorizedKeysFile={directory / 'user.pub'}",
        "StrictModes=no",
        "PidFile=none",
        "PasswordAuthentication=no",
    ):
        words += ["-o", option]
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(words, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while b"listening" not in (directory / "log").read_bytes():
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield Server(
            process,
            {
                "Port": str(port),
                "IdentityFile": str(directory / "user"),
                "IdentitiesOnly": "yes",
                "UserKnownHostsFile": str(known),
                "BatchMode": "yes",
            },
        )
    finally:
        process.terminate()
        process.wait()
