"""How a Ray executor makes its actors, talks to them, and hears of their ends."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import socket
import sys
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from tunesmith.executors.base import ExecutorSetup
from tunesmith.executors.child import Orders
from tunesmith.executors.process import Process
from tunesmith.executors.ray_actor import Host
from tunesmith.executors.ray_freight import Freight, Message
from tunesmith.executors.ray_hand import Hand
from tunesmith.executors.ray_places import Place, actor_options
from tunesmith.executors.ray_roads import Listener, Mail, RelayEnd
from tunesmith.executors.script_settings import present_settings
from tunesmith.executors.wire import Frames, Kind
from tunesmith.trainable.homes import describe, main_module
from tunesmith.trainable.parcel import pack_trainable

__all__ = ["Maker"]

_log = logging.getLogger("tunesmith")


class Maker:
    """Makes actors, and is the loop's end of their lines.

    Args:
        ray: the module, connected.
        selector: of the loop.
        setup: what is run.
        runtime_env: for the actors; None: Ray's own.
        direct: whether workers connect to us.
        ship: whether all workers are to be treated as if they did not see this machine's disk.
        arrived: called when an actor is there.
        heard: called with what it has said.
        silent: called when its line is broken.
        gone: called when it is no more, with what Ray says.

    Attributes:
        mail: calls from other threads.

    Raises:
        SerializationError: the trainable can't be sent to a worker.
    """

    def __init__(
        self, ray: Any, selector: selectors.BaseSelector, setup: ExecutorSetup, runtime_env: dict[str, Any] | None, *, direct: bool,
        ship: bool, arrived: Callable[[Hand], None], heard: Callable[[Hand, list[Message]], None], silent: Callable[[Hand], None],
        gone: Callable[[Hand, Exception], None],
    ) -> None:  # fmt: skip
        self._ray, self._selector, self._runtime_env, self._ship = ray, selector, runtime_env, ship
        self._arrived, self._silent, self._gone = arrived, silent, gone
        parcel = pack_trainable(setup.trainable)
        self._parcel = ray.put((parcel.data, [_array(buffer) for buffer in parcel.buffers]))
        orders = Orders(setup.log_to_file, setup.chdir, setup.reuse is True, 0, setup.keep_errors, setup.min_free)
        self._mark = f".tunesmith_{secrets.token_hex(4)}"
        self._marked: set[str] = set()
        script = describe(main_module()), list(sys.argv), present_settings()
        self._given = astuple(orders), script, self._mark, setup.grace_s
        self._host = ray.remote(Host)
        self._token = secrets.token_bytes(32)
        self._number = 0
        self._hands: dict[int, Hand] = {}
        self.mail = Mail(selector)
        self._freight = Freight(self.mail.post, heard, setup.min_free)
        self._listener = Listener(ray.util.get_node_ip_address(), self._token, selector, self._welcome) if direct else None
        self._relay = RelayEnd(ray, self.mail, self._relayed, self._relay_lost)

    def make(self, place: Place) -> Hand:
        """An actor in that place, as soon as Ray has room for it."""
        self._number += 1
        hand = self._hands[self._number] = Hand(self._number, place, self._selector, self._readable)
        options = actor_options(place)
        if self._runtime_env is not None:
            options["runtime_env"] = self._runtime_env
        hand.made(self._host.options(**options).remote(hand.number, self._parcel, *self._given), self.kill)
        self._serve(hand)
        return hand

    def kill(self, hand: Hand) -> None:
        """End it whatever it is at, or have it not begin."""
        self._ray.kill(hand.actor)

    def bury(self, hand: Hand) -> None:
        """It is no more."""
        hand.bury()
        self._hands.pop(hand.number, None)
        self._freight.drop(hand)

    def mark(self, trial_dir: str) -> None:
        """Put a file beside the trial's directory: a worker that sees it sees this machine's disk."""
        folder = os.path.dirname(trial_dir)
        if not self._ship and folder not in self._marked:
            self._marked.add(folder)
            with contextlib.suppress(OSError):  # then workers do as if they did not see it, which costs time only
                os.makedirs(folder, exist_ok=True)
                with open(os.path.join(folder, self._mark), "x"):
                    pass

    def close(self) -> None:
        """End all actors."""
        for hand in list(self._hands.values()):
            self.bury(hand)
            self.kill(hand)
        self._freight.close()
        self._relay.close()
        if self._listener is not None:
            self._listener.close()
        self.mail.close()
        for folder in self._marked:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, self._mark))

    # -- lines -----------------------------------------------------------------------------------------------------------

    def _serve(self, hand: Hand) -> None:
        """Have it take attempts, over the best line that there is."""
        address = self._listener.address if self._listener is not None else None
        if address is None:
            hand.attach_relay(self._relay)
        self._follow(hand, hand.actor.serve.remote(address, self._token, self._relay.actor if address is None else None))

    def _follow(self, hand: Hand, call: Any) -> None:
        call._on_completed(lambda found: self.mail.post(lambda: self._served(hand, found)))

    def _welcome(self, connection: socket.socket, fields: tuple[Any, ...], frames: Frames) -> bool:
        number, info = fields
        hand = self._hands.get(number)
        if hand is None or hand.pid or hand.dismissed:
            return False
        hand.attach(connection, frames, info)
        self._arrived(hand)
        return True

    def _readable(self, process: Process) -> None:
        assert isinstance(process, Hand)
        self._freight.sort(process, process.receive())
        if process.hung_up and not process.gone:
            self._silent(process)

    def _relayed(self, number: int, data: bytes) -> None:
        hand = self._hands.get(number)
        if hand is None:
            return
        messages = hand.hear(data)
        if messages and messages[0][0] is Kind.HELLO and not hand.pid:
            hand.arrived(messages.pop(0)[1][1])
            self._arrived(hand)
        self._freight.sort(hand, messages)

    def _relay_lost(self) -> None:
        _log.warning("The actor that trials' reports go through is gone; the trials begin again from their newest checkpoints.")
        for hand in self._hands.values():  # they notice as well; but their places are needed now
            if hand.by_relay:
                self.kill(hand)

    # -- ends ------------------------------------------------------------------------------------------------------------

    def _served(self, hand: Hand, found: Any) -> None:
        if hand.gone:
            return
        if isinstance(found, str) and found:
            self._fall_back(hand, found)
        elif isinstance(found, self._ray.exceptions.ActorUnavailableError):  # not the last word
            self._silent(hand)
            self._follow(hand, hand.actor.__ray_ready__.remote())
        elif isinstance(found, Exception):
            self._gone(hand, found)

    def _fall_back(self, hand: Hand, why: str) -> None:
        """It cannot connect: it and all that follow use the relay."""
        if self._listener is not None:
            host, port = self._listener.address
            _log.warning("Trials cannot connect to %s, port %d (%s): reports go by calls of an actor, which is slower.", host, port, why)
            self._listener.close()
            self._listener = None
        self._serve(hand)


def _array(buffer: memoryview) -> Any:
    """A buffer as Ray keeps it best: all workers on a machine share it."""
    import numpy as np

    return np.frombuffer(buffer, dtype=np.uint8)
