"""Tunes classifiers of handwritten digits with drop-ins for scikit-learn's search classes: a grid, then a search with early stopping.
Install: pip install "tunesmith[sklearn]"
Takes: about 40 seconds on 2 cores.
"""

import argparse

try:
    from scipy.stats import loguniform, randint
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
except ImportError:
    raise SystemExit('This example needs scikit-learn: pip install "tunesmith[sklearn]"') from None

from tunesmith.sklearn import TuneGridSearchCV, TuneSearchCV

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="few and short trials, to see that everything works")
    parser.add_argument("--storage-path", help="keep the experiments there (default: nothing is kept)")
    args = parser.parse_args()
    common = {"cv": 3, "n_jobs": 2, "verbose": 1, "storage_path": args.storage_path}

    images, digits = load_digits(return_X_y=True)
    images, test_images, digits, test_digits = train_test_split(images, digits, random_state=0, stratify=digits)

    # In the place of GridSearchCV: every combination.
    pipeline = make_pipeline(StandardScaler(), SVC())
    grid = {"svc__C": [1, 10] if args.smoke_test else [0.1, 1, 10, 100], "svc__gamma": ["scale", 0.01]}
    search = TuneGridSearchCV(pipeline, grid, **common).fit(images, digits)
    print(f"Support vectors: {search.score(test_images, test_digits):.1%} of the test images, with {search.best_params_}")

    # In the place of RandomizedSearchCV, with a searcher that learns; networks that do badly are stopped after a few epochs.
    network = make_pipeline(StandardScaler(), MLPClassifier(random_state=0))
    space = {
        "mlpclassifier__learning_rate_init": loguniform(1e-5, 1e-1),
        "mlpclassifier__alpha": loguniform(1e-6, 1e-1),
        "mlpclassifier__batch_size": [32, 64, 128],
        "mlpclassifier__hidden_layer_sizes": randint(8, 128),
    }
    search = TuneSearchCV(
        network, space, n_trials=4 if args.smoke_test else 30, search_optimization="tpe", early_stopping=True,
        max_iters=4 if args.smoke_test else 20, random_state=0, **common,
    ).fit(images, digits)  # fmt: skip
    epochs = search.cv_results_["training_iteration"]
    print(f"Networks:        {search.score(test_images, test_digits):.1%}; {sum(epochs < max(epochs))} of {len(epochs)} stopped early")
    print(f"best mean accuracy {search.best_score_:.4f} {search.best_params_}")
