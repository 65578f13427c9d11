"""GPU cards: which there are for this run, and how a trial is told which of them are its own (``CUDA_VISIBLE_DEVICES``)."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tunesmith.executors.nvml import Device, Nvml, open_nvml
from tunesmith.executors.overrides import overrides

__all__ = ["Card", "Cards"]


class Card(NamedTuple):
    """One card (or slice of one) that trials can be given.

    ``token``: what ``CUDA_VISIBLE_DEVICES`` takes for it. ``uuid``: how the driver calls it, ``memory`` bytes in all; "" and 0 where
    there is a number of cards and nothing more, because ``TUNESMITH_NUM_GPUS`` says so and the driver cannot be asked.
    """

    token: str
    name: str = ""
    uuid: str = ""
    memory: int = 0


class Cards:
    """The cards of this run, by the indices that the core leases.

    Args:
        cards: in order.
        nvml: the driver, to ask about them; None: they are known by number only.

    Example:
        >>> cards = Cards([Card("0", "NVIDIA A100"), Card("1", "NVIDIA A100")])
        >>> cards.visible([(1, 0.5)]), cards.visible([])
        ('1', '')
        >>> Cards([]).visible([]) is None
        True
    """

    def __init__(self, cards: Sequence[Card], nvml: Nvml | None = None) -> None:
        self.cards = tuple(cards)
        self.nvml = nvml

    @classmethod
    def discover(cls, *, environ: Mapping[str, str] | None = None, nvml: Nvml | None = None) -> Cards:
        """The cards that this process may use.

        A ``CUDA_VISIBLE_DEVICES`` that is set is respected by CUDA's own rules: numbers, UUIDs (also their beginnings), slices (MIG);
        what is wrong in it ends the list; empty or -1 hides all. Numbers are those of ``nvidia-smi``. A card that is cut into slices
        counts as its slices. ``TUNESMITH_NUM_GPUS`` (or "gpu" in ``TUNESMITH_RESOURCES``) says how many there are: the first of
        those found; 0 leaves cards and variable alone.

        Args:
            environ: where the variables are; None: the process's environment.
            nvml: whom to ask; None: the driver, if there is one. ``close`` closes it.

        Raises:
            ExecutorError: an override is no whole number.
        """
        environ = os.environ if environ is None else environ
        given = overrides(environ).get("gpu")
        if given == 0:
            return cls([])
        nvml = open_nvml() if nvml is None else nvml
        devices = nvml.devices() if nvml is not None else []
        variable = environ.get("CUDA_VISIBLE_DEVICES")
        found = _found(devices, variable, ordered=environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID")
        if given is not None:
            found = found[: int(given)]
            found += [Card(_token(number, variable, known=bool(devices))) for number in range(len(found), int(given))]
        return cls(found, nvml)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.cards)

    def visible(self, gpus: Sequence[tuple[int, float]]) -> str | None:
        """``CUDA_VISIBLE_DEVICES`` for a trial.

        Args:
            gpus: the (card index, fraction) pairs that it was given; none: it is to see no card.

        Returns:
            None: the variable is to be left as it is, since there are no cards to give.
        """
        if not self.cards:
            return None
        return ",".join(self.cards[card].token for card, _ in gpus)

    def label(self, card: int) -> str:
        """A card's name for messages.

        Example:
            >>> Cards([Card("0", "NVIDIA A100", "GPU-5d")]).label(0)
            'GPU card 0 (NVIDIA A100, GPU-5d)'
        """
        one = self.cards[card]
        return f"GPU card {card} ({one.name}, {one.uuid})" if one.uuid else f"GPU card {card}"

    def describe(self) -> str:
        """All of them for messages, equal ones together.

        Example:
            >>> Cards([Card("0", "NVIDIA A100", "GPU-5d", 80 * 2**30)] * 2).describe()
            '2 x NVIDIA A100 (80 GiB)'
        """
        kinds = Counter(f"{card.name} ({card.memory / 2**30:.0f} GiB)" if card.uuid else "GPU" for card in self.cards)
        return ", ".join(f"{count} x {kind}" for kind, count in kinds.items()) or "no GPU"

    def close(self) -> None:
        """Let go of the driver. Idempotent."""
        if self.nvml is not None:
            self.nvml.close()


def _token(number: int, variable: str | None, *, known: bool) -> str:
    """For a card of which nobody knows but the user: its number, or the user's own word for it; -1 (none) if all others are known."""
    if variable is None:
        return str(number)
    words = [] if known else [word.strip() for word in variable.split(",")]
    return words[number] if number < len(words) else "-1"


def _found(devices: Sequence[Device], variable: str | None, *, ordered: bool) -> list[Card]:
    """What CUDA would show a process with this ``CUDA_VISIBLE_DEVICES``.

    Numbers are the clearest tokens, and the ones that other programs understand. But where cards differ, CUDA counts them in another
    order than the driver unless it is told not to (``ordered``); then only a UUID says which is meant.
    """
    by_number = ordered or len({device.name for device in devices}) == 1
    if variable is None:
        chosen = [(str(number) if by_number else device.uuid, device) for number, device in enumerate(devices)]
    else:
        chosen = _chosen(devices, variable, by_number=by_number)
    return [card for token, device in chosen for card in _leasable(token, device)]


def _leasable(token: str, device: Device) -> list[Card]:
    """A whole card, or its slices."""
    if device.slices:
        return [Card(part.uuid, part.name, part.uuid, part.memory) for part in device.slices]
    return [Card(token, device.name, device.uuid, device.memory)]


def _chosen(devices: Sequence[Device], variable: str, *, by_number: bool) -> list[tuple[str, Device]]:
    """The devices that the entries name, up to the first that names none; if one is named twice, CUDA shows none at all."""
    chosen: list[tuple[str, Device]] = []
    for entry in variable.split(","):
        word = entry.strip()
        if word.startswith(("GPU-", "MIG-")):
            device = _by_uuid(devices, word)
            token = device.uuid if device is not None else ""
        else:
            digits = re.match(r"\d+", word)
            number = int(digits[0]) if digits else -1
            device = devices[number] if 0 <= number < len(devices) else None
            token = str(number) if by_number or device is None else device.uuid
        if device is None:
            break
        chosen.append((token, device))
    uuids = [device.uuid for _, device in chosen]
    return chosen if len(set(uuids)) == len(uuids) else []


def _by_uuid(devices: Sequence[Device], word: str) -> Device | None:
    """The one device whose UUID (or older name of a slice) begins so."""
    everything = [one for device in devices for one in (device, *device.slices)]
    exact = [one for one in everything if word in (one.uuid, one.alias)]
    begins = exact or [one for one in everything if one.uuid.startswith(word)]
    return begins[0] if len(begins) == 1 else None
