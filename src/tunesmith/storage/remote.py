"""Where an experiment lies remotely: a file system of fsspec's, and a path in it."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import Any

from tunesmith import optional
from tunesmith.errors import SpecError
from tunesmith.places import is_url, storage_root

__all__ = ["Remote", "remote_from"]

_EXTRAS = {"s3": "s3", "s3a": "s3"}
_BRINGS = {"gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs", "adl": "adlfs", "oci": "ocifs", "oss": "ossfs"}
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "gcsfs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"})
"""File systems on which an object appears as a whole or not at all, and that have no directories to make."""

_PATHS = frozenset({"file", "local"})


@dataclass(frozen=True)
class Remote:
    """A place behind a URL.

    Args:
        url: as people see it; passwords are not in it.
        root: the path in ``filesystem``, without a "/" at its end.
        filesystem: of fsspec's.
        given: by an URL alone, so that another process finds it by that, too.
    """

    url: str
    root: str
    filesystem: Any
    given: bool = True

    def below(self, name: str) -> Remote:
        """The place ``name`` in it ("a/b" is fine)."""
        return Remote(f"{self.url.rstrip('/')}/{name}", f"{self.root.rstrip('/')}/{name}", self.filesystem, self.given)

    @property
    def above(self) -> Remote | None:
        """The place that it lies in; None: it is the topmost."""
        if not posixpath.basename(self.root) or "/" not in self.root.strip("/"):
            return None
        return Remote(self.url.rstrip("/").rpartition("/")[0], posixpath.dirname(self.root), self.filesystem, self.given)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return posixpath.basename(self.root)

    @property
    def whole(self) -> bool:
        """Whether an object appears there as a whole or not at all."""
        inner = getattr(getattr(self.filesystem, "fs", None), "type_name", None)  # pyarrow's, in fsspec's wrapper
        protocol = self.filesystem.protocol
        return not _WHOLE.isdisjoint([inner] if inner else [protocol] if isinstance(protocol, str) else protocol)

    @property
    def folder(self) -> str:
        """The local directory in which its experiments work: below the usual one for results, named after the URL."""
        scheme, _, rest = self.url.partition("://")
        return os.path.join(storage_root(None), scheme, *(part for part in rest.split("/") if part not in ("", ".", "..")))

    def __str__(self) -> str:
        return self.url


def remote_from(storage_path: Any, filesystem: Any = None) -> Remote | None:
    """The place that ``storage_path`` names; None: a local directory.

    Args:
        storage_path: a URL, or, with ``filesystem``, a path in that.
        filesystem: of fsspec's or pyarrow's; None: the one that the URL names.

    Raises:
        SpecError: a package is missing, there is no such file system, or the two do not go together.

    Example:
        >>> remote_from("results/digits") is None, str(remote_from("memory://results/digits").below("a"))
        (True, 'memory://results/digits/a')
    """
    if filesystem is not None:
        return _by_filesystem(storage_path, filesystem)
    if isinstance(storage_path, os.PathLike) and re.match(r"[a-z][a-z0-9+]+:/", str(storage_path)):
        raise SpecError(f"storage_path={storage_path!r}: a Path cannot hold a URL (it takes one of the two '/' away); give a string.")
    if not is_url(storage_path):
        return None
    url = str(storage_path)
    scheme, _, rest = url.partition("://")
    if "::" in scheme or "::" in rest:
        raise SpecError(f"storage_path={_shown(url)!r}: chained URLs are not supported; give the URL of the storage itself.")
    if "?" in rest or "#" in rest:
        raise SpecError(
            f"storage_path={_shown(url)!r}: settings in a URL are not supported. Give them to the file system, as in storage_filesystem="
            f"s3fs.S3FileSystem(endpoint_url=...), or by its own environment variables (AWS_ENDPOINT_URL ...)."
        )
    fsspec = optional.load(f"storage_path={_shown(url)!r}", "fsspec", _EXTRAS.get(scheme, "remote"))
    if scheme in _EXTRAS:
        optional.load(f"storage_path={_shown(url)!r}", "s3fs", _EXTRAS[scheme])
    try:
        found, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _BRINGS.get(scheme)
        advice = f'Install it: pip install "tunesmith[remote]" {package}' if package else "Install what it says"
        raise SpecError(f"storage_path={_shown(url)!r} needs a package that is not installed ({error}). {advice}.") from error
    except Exception as error:
        raise SpecError(f"storage_path={_shown(url)!r}: there is no such storage ({type(error).__name__}: {error}).") from error
    root = root.rstrip("/")
    if not root:
        raise SpecError(f"storage_path={_shown(url)!r} names no place: give a bucket or a directory, as in '{scheme}://bucket/results'.")
    return Remote(_shown(url.rstrip("/")), root, found, _shown(url) == url)


def _by_filesystem(path: Any, given: Any) -> Remote:
    fsspec = optional.load("storage_filesystem", "fsspec", "remote")
    try:
        root = os.fspath(path)
    except TypeError:
        root = None
    if not isinstance(root, str) or not root.strip("/"):
        raise SpecError(f"storage_filesystem needs a path in it as storage_path, such as 'bucket/results'; got {path!r}.")
    if is_url(root):
        raise SpecError(f"storage_path={_shown(root)!r} is a URL, and there is a storage_filesystem: give the path without the scheme.")
    found = given
    if type(given).__module__.startswith("pyarrow"):
        found = optional.load("storage_filesystem", "fsspec.implementations.arrow", "remote").ArrowFSWrapper(given)
    if not isinstance(found, fsspec.AbstractFileSystem):
        raise SpecError(f"storage_filesystem must be a file system of fsspec's or pyarrow's, got {type(given).__name__} {given!r}.")
    inner = getattr(getattr(found, "fs", None), "type_name", None)
    protocol = found.protocol if isinstance(found.protocol, str) else found.protocol[0]
    root = str(found._strip_protocol(root)).rstrip("/")
    scheme = inner or protocol
    return Remote(f"{scheme}://{root if scheme in _PATHS else root.lstrip('/')}", root, found, False)


def _shown(url: str) -> str:
    """``url`` without the user and password that it may have."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}" if ":" in place.rpartition("@")[0] else url
