"""Places to store experiments at: in memory, in memory with faults, and behind the S3 protocol with faults."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tunesmith.storage.objects import Retry
from tunesmith.storage.remote import Remote, remote_from

__all__ = ["S3", "FaultyFileSystem"]


class FaultyFileSystem(MemoryFileSystem):
    """An object store of its own in memory. ``before(what, path)`` may raise, or wait; ``calls`` has all that was asked."""

    cachable = False
    protocol = "memory"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.store: dict[str, Any] = {}
        self.pseudo_dirs = [""]
        self.before: Callable[[str, str], object] = lambda what, path: None
        self.calls: list[tuple[str, str]] = []

    def _meet(self, what: str, path: str) -> None:
        self.calls.append((what, path))
        self.before(what, path)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self._meet("write", path)
        super().pipe_file(path, value, mode, **options)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self._meet("write", rpath)
        super().put_file(lpath, rpath, **options)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        self._meet("read", path)
        return super().cat_file(path, start, end, **options)

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        self._meet("read", rpath)
        super().get_file(rpath, lpath, **options)

    def find(self, path: str, **options: Any) -> Any:
        self._meet("list", path)
        return super().find(path, **options)

    def rm_file(self, path: str) -> None:
        self._meet("delete", path)
        super().rm_file(path)

    def names(self, root: str = "/bucket/results") -> set[str]:
        """Names of all objects below ``root``."""
        return {path.removeprefix(f"{root}/") for path in self.store if path.startswith(f"{root}/")}


@pytest.fixture
def faulty() -> FaultyFileSystem:
    return FaultyFileSystem()


@pytest.fixture
def place(faulty: FaultyFileSystem) -> Remote:
    """The place of an experiment in ``faulty``."""
    found = remote_from("bucket/results", faulty)
    assert found is not None
    return found.below("x")


@pytest.fixture
def hasty() -> Retry:
    """Tries three times without waiting; ``waited`` are the pauses."""
    return Retry(attempts=3, wait=lambda seconds: False)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Results go below ``tmp_path``; another machine is another folder there."""

    def other(name: str) -> Path:
        monkeypatch.setenv("TUNESMITH_RESULTS_DIR", str(tmp_path / name))
        return tmp_path / name

    other("here")
    return other


class S3:
    """A server that speaks S3, in threads of this process.

    Attributes:
        url: of a bucket.
        meet: called with the method and the path of each request; a number is the status that it is answered with instead.
    """

    def __init__(self) -> None:
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self.server.start()
        assert self.server._server is not None
        self._app = self.server._server.app
        self.server._server.app = self._application
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }  # fmt: skip
        self.lock = threading.Lock()
        self.count = 0
        self.meet: Callable[[str, str], int | None] = lambda method, path: None

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "moto-api" not in environ["PATH_INFO"]:
            with self.lock:
                self.count += 1
            status = self.meet(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            if status is not None:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                code = "SlowDown" if status == 503 else "InternalError"
                start_response(f"{status} {code}", [("Content-Type", "application/xml")])
                return [f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()]
        found: Iterable[bytes] = self._app(environ, start_response)
        return found

    def bucket(self, name: str) -> str:
        """A new one; returns its URL."""
        import urllib.request

        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")).close()
        return f"s3://{name}"

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Name -> content of all that is in a bucket."""
        from moto.s3.models import s3_backends

        backend = next(iter(s3_backends.values()))["aws"]
        return {key.name: key.value for key in backend.buckets[bucket.removeprefix("s3://")].keys.values()}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    server = S3()
    yield server
    server.server.stop()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server, without faults at first; this process and its children use it."""
    import s3fs

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3_server.meet = lambda method, path: None
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3_server
    s3fs.S3FileSystem.clear_instance_cache()
