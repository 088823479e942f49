"""The same with subprocess and threads."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import threading

SERVICE = r"""
$SIG{TERM} = sub { print "stopping\n"; exit 0 };
$| = 1; print "started\n";
open(my $listener, "+<&=", 3) or die;
while (accept(my $client, $listener)) {
    print $client "hello from number $ARGV[0]\n"; close $client;
    if ($ARGV[0] == 1) { print "oops\n"; exit 3 }
}
"""


class Supervisor(threading.Thread):
    def __init__(self, listener: socket.socket, log: list[str]) -> None:
        super().__init__()
        self.listener = listener
        self.log = log
        self.lock = threading.Lock()
        self.stopping = False
        self.process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        for number in itertools.count(1):
            shell = ["/bin/sh", "-c", f'exec "$@" 3<&{self.listener.fileno()}', "sh"]
            with self.lock:
                if self.stopping:
                    return
                self.process = subprocess.Popen(
                    [*shell, "/usr/bin/perl", "-e", SERVICE, str(number)],
                    stdout=subprocess.PIPE,
                    pass_fds=[self.listener.fileno()],
                    env={**os.environ, "LISTEN_FDS": "1"},
                    start_new_session=True,
                    text=True,
                )
            with self.process as process:
                assert process.stdout is not None
                for line in process.stdout:
                    self.log.append(line.strip())
            if process.returncode < 0:
                self.log.append(f"was killed by {signal.Signals(-process.returncode).name}")
            elif not self.stopping:
                self.log.append(f"exited with status {process.returncode}")

    def stop(self) -> None:
        with self.lock:
            self.stopping = True
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.join()


def ask(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port)) as stream:
        return stream.makefile().read().strip()


def main() -> None:
    log: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(listener, log)
        supervisor.start()
        try:
            for _ in range(3):
                print(ask(listener.getsockname()[1]))
        finally:
            supervisor.stop()
    print(*log, sep=", ")


if __name__ == "__main__":
    main()
