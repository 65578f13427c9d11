"""A driver is killed (kill -9) in the middle of a search; the same call goes on, and ends exactly as if nothing had happened.
Install: pip install "tunesmith[sklearn]"
Takes: about 20 seconds on 2 cores.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise SystemExit('This example needs scikit-learn: pip install "tunesmith[sklearn]"') from None

import tunesmith as tune


def train(config):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split

    # A trial that was running goes on from the newest checkpoint that was recorded. That is all a training function has to do for it.
    saved = tune.get_checkpoint()
    if saved is not None:
        model, first = saved.to_dict()["model"], saved.to_dict()["epoch"] + 1
    else:
        model, first = MLPClassifier((config["units"],), learning_rate_init=config["lr"], random_state=0), 0
    for epoch in range(first, config["epochs"]):
        model.partial_fit(train_images, train_digits, classes=range(10))
        tune.report(accuracy=100 * model.score(test_images, test_digits), checkpoint={"model": model, "epoch": epoch})


class Killer(tune.Callback):
    """Ends the driver as a crash would: no clean-up, no last words."""

    def __init__(self, after):
        self.left = after

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def search(args, name, callbacks=()):
    """One call for everything: "AUTO" begins the experiment, or goes on with the one of that name."""
    epochs = 4 if args.smoke_test else 27
    return tune.run(
        train,
        name=name,
        resume="AUTO",
        metric="accuracy",
        mode="max",
        config={"lr": tune.loguniform(1e-4, 1), "units": tune.lograndint(4, 128), "epochs": epochs},
        search_alg="tpe",
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        num_samples=6 if args.smoke_test else 30,
        max_concurrent_trials=2,
        callbacks=list(callbacks),
        storage_path=args.storage_path,
        seed=0,
        deterministic=True,  # only for the comparison at the end: the order of two trials' reports is otherwise a matter of luck
    )


def history(analysis):
    """What was tried, how far each trial came, with which result; and why the scheduler stopped it there."""
    trials = [(trial.config, trial.iteration, trial.last_result["accuracy"]) for trial in analysis.trials]
    return trials, [(decision["do"], decision["reason"]) for decision in analysis.decisions() if decision["do"] == "stop"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    parser.add_argument("--name", default=f"resume-{time.strftime('%Y%m%d-%H%M%S')}", help="of the experiment")
    parser.add_argument("--die-after", type=int, metavar="REPORTS", help="be the driver that is killed")
    args = parser.parse_args()
    if args.die_after:
        search(args, args.name, [Killer(args.die_after)])
        raise SystemExit("This driver should have been killed.")

    # 1. The search, in a process that is killed in the middle of it.
    reports = 5 if args.smoke_test else 60
    driver = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--name", args.name, "--die-after", str(reports)], check=False)
    print(f"\nThe driver was killed after {reports} reports (exit code {driver.returncode}).")

    # 2. The same call again. `python -m tunesmith` is not needed for it, nor is any service: all there is is the directory.
    analysis = search(args, args.name)
    print(f"\n{len(analysis.trials)} trials, {sum(trial.iteration for trial in analysis.trials)} epochs in both sessions together.")

    # 3. The same search once more, undisturbed.
    undisturbed = search(args, f"{args.name}-undisturbed")
    if history(analysis) != history(undisturbed):
        raise SystemExit("The killed search and the undisturbed one differ.")
    print("\nThe killed search and the undisturbed one are the same: configurations, epochs, results, decisions.")
    print(f"best accuracy: {analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")
