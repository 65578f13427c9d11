"""The peers: Optuna, Ray Tune, and bare sockets and forks, below which nobody can get."""

from __future__ import annotations

import os
import pickle
import selectors
import socket
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from _common import scratch, stopwatch

if TYPE_CHECKING:
    import optuna

__all__ = ["Channel", "bare_forks", "optuna_on_plane", "optuna_run", "ray_trials", "ray_tune", "serve"]

_LENGTH = struct.Struct("<I")


def optuna_run(
    objective: Callable[[optuna.Trial], float], trials: int, *, warm_up: int = 0, storage: str = "memory", **options: Any
) -> float:
    """Seconds that trials take with Optuna, sampled at random.

    Args:
        objective: Optuna's kind.
        trials: how many.
        warm_up: how many of the same study come before the clock runs.
        storage: "memory", "sqlite" or "journal".
        **options: further arguments of ``optuna.create_study``.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=_optuna_storage(storage), sampler=optuna.samplers.RandomSampler(seed=1), **options)
    study.optimize(objective, n_trials=warm_up)
    with stopwatch() as elapsed:
        study.optimize(objective, n_trials=trials)
    return elapsed()


def _optuna_storage(kind: str) -> optuna.storages.BaseStorage:
    import optuna

    match kind:
        case "memory":
            return optuna.storages.InMemoryStorage()
        case "sqlite":
            return optuna.storages.RDBStorage(f"sqlite:///{scratch()}/study.db")
        case _:
            return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(scratch() / "study.log")))


def optuna_on_plane(trial: optuna.Trial) -> float:
    """Two parameters, one intermediate value."""
    loss = (trial.suggest_float("x", -5, 5) - 1) ** 2 + trial.suggest_float("y", 1e-3, 1, log=True)
    trial.report(loss, 1)
    return loss


def ray_trials(trials: int, *, warm_up: int, reuse: bool, imports: Callable[[], None] | None = None) -> dict[str, float]:
    """Ray Tune's trials a second, of one report each, after a run of ``warm_up`` of them; each begins with ``imports``."""

    def objective(config: dict[str, float]) -> None:
        if imports is not None:
            imports()
        from ray import tune

        tune.report({"loss": (config["x"] - 1) ** 2 + config["y"]})

    ray_tune(objective, warm_up, reuse=reuse)
    return {"trials/s": trials / ray_tune(objective, trials, reuse=reuse)[0]}


def ray_tune(trainable: Callable[[dict[str, Any]], None], trials: int, *, reuse: bool) -> tuple[float, list[float]]:
    """Runs trials with Ray Tune, on a cluster of this machine that is up before the clock runs.

    Args:
        trainable: Ray's kind of training function.
        trials: how many.
        reuse: whether its actors serve several trials.

    Returns:
        Seconds that it took, and when each result came, in seconds from the beginning.
    """
    import ray
    from ray import tune

    class Times(tune.Callback):
        def on_trial_result(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter() - begin)

    times: list[float] = []
    if not ray.is_initialized():
        ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        trainable,
        param_space={"x": tune.uniform(-5, 5), "y": tune.loguniform(1e-3, 1)},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=trials, reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=str(scratch()), verbose=0, callbacks=[Times()]),
    )
    begin = time.perf_counter()
    grid = tuner.fit()
    seconds = time.perf_counter() - begin
    if grid.num_errors or len(grid) != trials:
        raise SystemExit(f"{grid.num_errors} of {len(grid)} trials failed")
    return seconds, times


class Channel:
    """Messages as pickles after their length, over a socket, and nothing else."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._rest = b""

    def send(self, *message: Any) -> None:
        body = pickle.dumps(message, 5)
        self._socket.sendall(_LENGTH.pack(len(body)) + body)

    def receive(self) -> list[tuple[Any, ...]]:
        """What has come; waits for at least one message. None left: the other side is gone."""
        found: list[tuple[Any, ...]] = []
        while not found:
            data = self._socket.recv(65536)
            if not data:
                break
            self._rest += data
            while len(self._rest) >= 4 and len(self._rest) >= 4 + (length := _LENGTH.unpack_from(self._rest)[0]):
                found.append(pickle.loads(self._rest[4 : 4 + length]))
                self._rest = self._rest[4 + length :]
        return found


def serve(work: Callable[[Channel], None], workers: int = 2) -> Iterator[list[tuple[Channel, tuple[Any, ...]]]]:
    """Forks workers that each call ``work``, and yields ``(channel, message)`` pairs, a turn at a time, until all have hung up."""
    selector = selectors.DefaultSelector()
    for _ in range(workers):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            _leave(lambda theirs=theirs: work(Channel(theirs)))
        theirs.close()
        selector.register(ours, selectors.EVENT_READ, Channel(ours))
    while selector.get_map():
        turn = []
        for key, _ in selector.select():
            messages = key.data.receive()
            if not messages:
                selector.unregister(key.fileobj)
            turn += [(key.data, message) for message in messages]
        yield turn
    for _ in range(workers):
        os.wait()


def bare_forks(work: Callable[[], None], count: int, at_once: int = 2) -> list[float]:
    """When each of ``count`` forked children of this process ended, in seconds from the first fork."""
    ends: list[float] = []
    running = 0
    start = time.perf_counter()
    for _ in range(count):
        if running == at_once:
            ends.append(_wait(start))
            running -= 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the threads of BLAS
            if os.fork() == 0:
                _leave(work)
        running += 1
    ends += [_wait(start) for _ in range(running)]
    return ends


def _wait(start: float) -> float:
    _, status = os.wait()
    if status != 0:
        raise SystemExit(f"a bare fork ended with status {status}")
    return time.perf_counter() - start


def _leave(work: Callable[[], None]) -> NoReturn:
    try:
        work()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)
