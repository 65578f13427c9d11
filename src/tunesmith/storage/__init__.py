"""Remote storage: an experiment that lies behind a URL (``s3://``, ``gs://``, ``memory://`` ... whatever fsspec reads and writes).

The run itself works in a local folder, and everything there is as it always is. A thread behind the loop mirrors it::

    <url>/<name>/journal/0000000001-0000000120-<uuid>-<digest>.jsonl.gz   records 1..120, never changed
    <url>/<name>/spec.pkl  ...                                            files of the experiment
    <url>/<name>/<trial>/progress.csv  stdout.log  ...                    files of a trial, sent again when they change
    <url>/<name>/<trial>/checkpoint_000003/...                            and .tunesmith_manifest.json, sent last
    <url>/<name>/.lease.json                                              who writes here

What is remote is at each moment an experiment that can be resumed: records follow the checkpoints that they need, and what records
make superfluous is deleted after them. Nothing of fsspec is imported unless there is a URL.
"""

from __future__ import annotations

from tunesmith.storage.remote import Remote, remote_from

__all__ = ["Remote", "remote_from"]
