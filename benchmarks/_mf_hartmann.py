"""Hartmann functions as learning curves: cheap early values are biased and noisy, the last one is exact.

The functions are those of Dixon and Szegoe (1978); their minima are sought. The fidelity follows Kandasamy et al. (2017),
"Multi-fidelity Bayesian optimisation with continuous approximations": the four coefficients alpha shrink linearly as the fidelity z falls
below 1, so that wells change their order, and a unit of z costs more the higher it is. That iterations of a training are the fidelity, with
one-sided noise that dies out, is the idea of the MF-Hartmann tasks of mf-prior-bench. Written anew from the formulas.

At iteration t of 81, z = t / 81:

    loss = 3.9 - sum_i (alpha_i - bias_i (1 - z)) exp(-sum_j A_ij (x_j - P_ij)^2) + noise (1 - z) |N(0, 1)|

with 3.4 in place of 3.9 in six dimensions: never below 0. All iterations together take about 81 seconds: those up to z take a share
0.05 + 0.95 z^2 of it, times a factor of each configuration, from 0.5 to 2.

"good" and "bad" are how well early values tell of late ones.
"""

from __future__ import annotations

import hashlib
import math
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ITERATIONS", "Hartmann"]

ITERATIONS = 81
LEVELS = {"good": ((0.2, 0.2, 0.2, 0.6), 0.25), "bad": ((0.4, 0.4, 0.4, 1.6), 0.75)}
"""Bias of each of the four wells, and noise, both at fidelity 0. The deepest well, the fourth, is the one that looks shallow at first.
Neither is ever negative: an early value is never better than the last one, so that the best value reported is one that was reached."""

_ALPHA = (1.0, 1.2, 3.0, 3.2)
_A = {
    3: ((3.0, 10.0, 30.0), (0.1, 10.0, 35.0), (3.0, 10.0, 30.0), (0.1, 10.0, 35.0)),
    6: (
        (10.0, 3.0, 17.0, 3.5, 1.7, 8.0),
        (0.05, 10.0, 17.0, 0.1, 8.0, 14.0),
        (3.0, 3.5, 1.7, 10.0, 17.0, 8.0),
        (17.0, 8.0, 0.05, 10.0, 0.1, 14.0),
    ),
}
_P = {
    3: ((0.3689, 0.117, 0.2673), (0.4699, 0.4387, 0.747), (0.1091, 0.8732, 0.5547), (0.03815, 0.5743, 0.8828)),
    6: (
        (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
        (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
        (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.665),
        (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
    ),
}
_OFFSET = {3: 3.9, 6: 3.4}


@dataclass(frozen=True, slots=True)
class Hartmann:
    """One of the tasks.

    Args:
        dimensions: 3 or 6; each parameter is between 0 and 1.
        level: "good" or "bad".
        seed: of the noise; equal seed and equal point give equal noise, whenever it is asked for.

    Example:
        >>> task = Hartmann(3, "good")
        >>> best = [0.114614, 0.555649, 0.852547]
        >>> round(task.loss(best, ITERATIONS), 4), task.loss(best, 1) > 0.3
        (0.0372, True)
    """

    dimensions: int
    level: str
    seed: int = 0

    def loss(self, x: Sequence[float], iteration: int) -> float:
        """The value reported after ``iteration`` (1 to 81) iterations."""
        missing = 1 - iteration / ITERATIONS
        bias, noise = LEVELS[self.level]
        value = 0.0
        for alpha, shift, widths, well in zip(_ALPHA, bias, _A[self.dimensions], _P[self.dimensions]):
            value += (alpha - shift * missing) * math.exp(-sum(a * (xj - pj) ** 2 for a, xj, pj in zip(widths, x, well)))
        return _OFFSET[self.dimensions] - value + noise * missing * abs(self._chance(x, iteration).gauss(0, 1))

    def seconds(self, x: Sequence[float], iteration: int) -> float:
        """What this iteration takes."""
        factor = 2 ** self._chance(x, 0).uniform(-1, 1)
        return ITERATIONS * factor * (_share(iteration) - (_share(iteration - 1) if iteration > 1 else 0.0))

    def _chance(self, x: Sequence[float], iteration: int) -> random.Random:
        point = struct.pack(f"<qq{len(x)}d", self.seed, iteration, *x)
        return random.Random(int.from_bytes(hashlib.blake2b(point, digest_size=8).digest(), "little"))


def _share(iteration: int) -> float:
    """Of the whole cost, what the iterations up to this one take."""
    return 0.05 + 0.95 * (iteration / ITERATIONS) ** 2
