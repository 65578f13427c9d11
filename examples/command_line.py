"""A training program in a file of its own, run with each trial's configuration on its command line; ASHA stops the bad ones early.
Install: pip install "tunesmith[sklearn]"
Takes: about 30 seconds on 2 cores.
"""

import argparse
import sys

import tunesmith as tune


def train(args):
    """What the program does. It could be written in another language: see docs/parallel_trials.md."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    train_images, test_images, train_digits, test_digits = train_test_split(images / 16, digits, test_size=0.25, random_state=0)
    saved = tune.get_checkpoint()
    if saved is not None:
        state = saved.to_dict()
        model, first = state["model"], state["epoch"] + 1
    else:
        model, first = SGDClassifier(loss=args.loss, learning_rate="constant", eta0=args.lr, alpha=args.alpha, random_state=0), 0
    for epoch in range(first, args.epochs):
        model.partial_fit(train_images, train_digits, classes=range(10))
        accuracy = 100 * model.score(test_images, test_digits)
        tune.report(accuracy=accuracy, checkpoint={"model": model, "epoch": epoch})


def search(args):
    program = tune.command(
        [sys.executable, __file__, "--train", "--lr", "{lr}", "--alpha", "{penalty/alpha:.3g}", "--loss", "{loss}", "--epochs", "{epochs}"]
    )
    epochs = 4 if args.smoke_test else 27
    analysis = tune.run(
        program,
        name="command-line",
        metric="accuracy",
        mode="max",
        config={
            "lr": tune.loguniform(1e-5, 1),
            "penalty": {"alpha": tune.loguniform(1e-6, 1e-1)},
            "loss": tune.choice(["hinge", "log_loss", "modified_huber"]),
            "epochs": epochs,
        },
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        num_samples=4 if args.smoke_test else 20,
        storage_path=args.storage_path,
        seed=0,
    )
    print(f"best accuracy: {analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    parser.add_argument("--train", action="store_true", help="be the training program")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--loss")
    parser.add_argument("--epochs", type=int)
    args = parser.parse_args()
    train(args) if args.train else search(args)
