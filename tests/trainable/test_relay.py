"""Where a trial listens: what strangers send has no effect but that they are hung up on."""

from __future__ import annotations

import json
import selectors
import socket

import pytest

from tunesmith.trainable.relay import Relay


@pytest.fixture
def relay():
    with selectors.DefaultSelector() as selector:
        made = Relay(None, selector, lambda peer: pytest.fail("nobody was there"))
        yield made, selector
        made.close()


def step(selector):
    ready = selector.select(1.0)
    for key, _ in ready:
        key.data()
    return bool(ready)


def connected(relay, data):
    host, port, token = relay.address.split(":")
    caller = socket.create_connection((host, int(port)))
    caller.sendall(data.replace(b"TOKEN", token.encode()))
    return caller


@pytest.mark.parametrize(
    "data",
    [
        b"1\n", b"null\n", b"[]\n", b"{}\n", b'"TOKEN"\n', b"TOKEN\n", b"\xff\n", b'{"token": 1}\n', b'{"token": "\\ud800"}\n',
        b'{"token": "TOKENx"}\n', b'{"token": ' + b"[" * 30_000 + b"]" * 30_000 + b"}\n", b"[" * 60_000 + b"\n", b"9" * 60_000 + b"\n",
        b"x" * 70_000, b'{"x": "' + b"x" * 70_000 + b'", "token": "TOKEN"}\n',
    ],
    ids=lambda data: data[:20].decode("latin-1"),
)  # fmt: skip
def test_who_sends_what_is_no_token_is_hung_up_on(relay, data):
    made, selector = relay
    with connected(made, data):
        assert step(selector)
        assert len(selector.get_map()) == 2
        while len(selector.get_map()) > 1:
            assert step(selector)
    with connected(made, b'{"token": "TOKEN", "rank": 0}\n') as friend:  # and the trial goes on to listen
        assert step(selector)
        assert step(selector)
        assert json.loads(friend.recv(100)) == {}
