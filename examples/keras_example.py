"""Tunes a small convolutional network in Keras on 1,797 handwritten digits. ASHA stops the bad ones early; trials go on after a crash.
Install: pip install "tunesmith[sklearn,keras]" tensorflow   (or torch instead of tensorflow, with KERAS_BACKEND=torch)
Takes: about two minutes on 2 cores.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow has much to say when it starts

try:
    import keras
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs scikit-learn, Keras and TensorFlow: pip install "tunesmith[sklearn,keras]" tensorflow') from None

import tunesmith as tune
from tunesmith.integration.keras import TuneReportCheckpointCallback, resume


def load_data():
    images, digits = load_digits(return_X_y=True)
    return train_test_split(images.reshape(-1, 8, 8, 1) / 16, digits, test_size=0.25, random_state=0, stratify=digits)


def train(config):
    train_images, test_images, train_digits, test_digits = load_data()
    model = keras.Sequential([
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(config["filters"], 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dropout(config["dropout"]),
        keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(config["lr"]), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        train_images,
        train_digits,
        batch_size=32,
        validation_data=(test_images, test_digits),
        initial_epoch=resume(model),  # 0 for a new trial; a retried one goes on where it was
        epochs=config["epochs"],
        callbacks=[TuneReportCheckpointCallback({"accuracy": "val_accuracy", "loss": "val_loss"})],
        verbose=0,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="three short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    epochs = 2 if args.smoke_test else 9

    analysis = tune.run(
        train,
        name="keras",
        metric="accuracy",
        mode="max",
        config={
            "lr": tune.loguniform(1e-4, 1e-1),
            "filters": tune.choice([8, 16, 32]),
            "dropout": tune.uniform(0.0, 0.5),
            "epochs": epochs,
        },
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        num_samples=3 if args.smoke_test else 16,
        keep_checkpoints_num=1,
        checkpoint_score_attr="accuracy",
        storage_path=args.storage_path,
        seed=0,
    )

    model = keras.models.load_model(os.path.join(analysis.best_checkpoint.path, "model.keras"))
    _, test_images, _, test_digits = load_data()
    right = (model.predict(test_images, verbose=0).argmax(axis=1) == test_digits).mean()
    print(f"The best model, loaded from its checkpoint, reads {100 * right:.1f} % of the test digits.")
    print(f"best accuracy: {100 * analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")
