"""Real frameworks, trained in fresh processes: no trial hangs, and all get the result that the driver gets.

They need `tunesmith[frameworks]`, which `make test-all` installs and `make test` does not.
"""

from __future__ import annotations

import ast

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FITS = {
    "sklearn": """
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import SGDClassifier
X, Y = load_digits(return_X_y=True)
def fit():
    boosted = HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(X[:300], Y[:300])
    linear = SGDClassifier(random_state=0).fit(X[:300] @ X[:64].T, Y[:300])
    return boosted.score(X[300:600], Y[300:600]) + linear.coef_.shape[0]
""",
    "torch": """
import torch
def fit():
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 2000).unsqueeze(1)
    model = torch.nn.Sequential(torch.nn.Linear(1, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(50):
        optimizer.zero_grad()
        loss = ((model(x) - 3 * x) ** 2).mean()
        loss.backward()
        optimizer.step()
    return round(loss.item(), 4)
""",
    "tensorflow": """
import numpy as np
import tensorflow as tf
def fit():
    tf.keras.utils.set_random_seed(0)
    x = np.linspace(-1, 1, 200, dtype="float32")[:, None]
    model = tf.keras.Sequential([tf.keras.layers.Dense(8), tf.keras.layers.Dense(1)])
    model.compile(optimizer=tf.keras.optimizers.Adam(0.05), loss="mse")
    return round(model.fit(x, 3 * x, epochs=3, verbose=0).history["loss"][-1], 3)
""",
}
TRIALS = {"sklearn": 100, "torch": 100, "tensorflow": 25}

SCRIPT = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
{fit}
import tunesmith as tune
if {used}:
    expected = [fit(), fit()]
    assert expected[0] == expected[1]
analysis = tune.run(
    lambda config: {{"loss": fit()}}, num_samples={trials}, reuse_actors=False, max_concurrent_trials=2, storage_path=sys.argv[1], verbose=0
)
if not {used}:
    expected = [fit()]
print([trial.last_result["loss"] for trial in analysis.trials] == [expected[0]] * {trials}, expected)
"""


@pytest.mark.parametrize("used", [False, True], ids=["only imported", "used in the driver before"])
@pytest.mark.parametrize("framework", FITS)
def test_training_in_fresh_processes(run_script, framework: str, used: bool) -> None:
    """With the threads of BLAS, OpenMP and TensorFlow's runtime, where the driver has used it."""
    out = run_script(SCRIPT.format(fit=FITS[framework], used=used, trials=TRIALS[framework]), timeout=240)
    assert out.startswith("True"), out


def test_what_trials_import_late_is_there_for_those_to_come(run_script) -> None:
    out = run_script("""
        import os, sys
        import torch
        import tunesmith as tune

        def train(config):
            late = "torch.optim.adam" in sys.modules and "torch._dynamo" in sys.modules
            model = torch.nn.Linear(2, 1)
            torch.optim.Adam(model.parameters())
            nvidia = [name for name in os.listdir("/proc/self/fd") if "nvidia" in os.path.realpath(f"/proc/self/fd/{name}")]
            cuda = torch.cuda.is_initialized()
            return {"loss": 0, "late": late, "cuda": cuda, "devices": len(nvidia), "threads": torch.get_num_threads()}

        analysis = tune.run(train, num_samples=6, reuse_actors=False, max_concurrent_trials=1, storage_path=sys.argv[1], verbose=0)
        print([[trial.last_result[name] for name in ("late", "cuda", "devices", "threads")] for trial in analysis.trials])
    """)
    results = ast.literal_eval(out)
    assert [late for late, *_ in results[2:]] == [True] * 4, "from the third trial on"
    assert [rest for _, *rest in results] == [[False, 0, 1]] * 6


def test_models_of_the_scripts_classes_in_checkpoints(run_script) -> None:
    assert run_script("""
        import os, sys, tempfile
        import torch
        import tunesmith as tune

        class Net(torch.nn.Module):
            def __init__(self, width):
                super().__init__()
                self.layer = torch.nn.Linear(width, 1)
            def forward(self, x):
                return self.layer(x)

        data = torch.ones(4, 3)

        def train(config, data, start):
            before = torch.load(start, weights_only=False)
            assert type(before) is Net
            data *= config["scale"]
            model = Net(3)
            with tempfile.TemporaryDirectory() as folder:
                torch.save(model, os.path.join(folder, "model.pt"))
                torch.save(model.state_dict(), os.path.join(folder, "state.pt"))
                tune.report({"loss": float(data.mean())}, checkpoint=tune.Checkpoint.from_directory(folder))

        start = os.path.abspath("start.pt")
        torch.save(Net(2), start)
        analysis = tune.run(
            tune.with_parameters(train, data=data, start=start),
            config={"scale": tune.grid_search([2, 3])}, storage_path=sys.argv[1], verbose=0,
        )
        for trial in analysis.trials:
            model = torch.load(os.path.join(trial.checkpoint.path, "model.pt"), weights_only=False)
            Net(3).load_state_dict(torch.load(os.path.join(trial.checkpoint.path, "state.pt")))
            print(type(model) is Net, trial.last_result["loss"], data.mean().item())
    """) == "True 2.0 1.0\nTrue 3.0 1.0\n"  # fmt: skip
