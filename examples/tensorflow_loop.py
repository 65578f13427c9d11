"""A training loop written by hand in TensorFlow (GradientTape, tf.train.Checkpoint) for handwritten digits, with population-based training.
Install: pip install "tunesmith[sklearn]" tensorflow
Takes: about a minute on 2 cores.
"""

import argparse
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow has much to say when it starts

try:
    import tensorflow as tf
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs scikit-learn and TensorFlow: pip install "tunesmith[sklearn]" tensorflow') from None

import tunesmith as tune


class Net(tf.Module):
    """64 pixels, 32 hidden units, 10 digits."""

    def __init__(self):
        super().__init__()
        self.hidden = tf.Variable(tf.random.normal((64, 32), stddev=0.2))
        self.hidden_bias = tf.Variable(tf.zeros(32))
        self.out = tf.Variable(tf.random.normal((32, 10), stddev=0.2))
        self.out_bias = tf.Variable(tf.zeros(10))

    def __call__(self, images):
        return tf.nn.relu(images @ self.hidden + self.hidden_bias) @ self.out + self.out_bias


def train(config):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split((images / 16).astype("float32"), digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split
    tf.random.set_seed(tune.get_context().seed)  # the trial's own: run again with the same seed, it draws the same
    batches = tf.data.Dataset.from_tensor_slices((train_images, train_digits)).shuffle(2000).batch(32)

    net = Net()
    velocities = [tf.Variable(tf.zeros_like(variable)) for variable in net.trainable_variables]
    epoch = tf.Variable(0, dtype=tf.int64)
    state = tf.train.Checkpoint(net=net, velocities=velocities, epoch=epoch)
    if (saved := tune.get_checkpoint()) is not None:  # its own, or that of the trial which it is to be a copy of
        state.read(os.path.join(saved.path, "state")).assert_consumed()

    @tf.function
    def step(images, digits):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(digits, net(images)))
        gradients = tape.gradient(loss, net.trainable_variables)
        for variable, velocity, gradient in zip(net.trainable_variables, velocities, gradients):
            velocity.assign(config["momentum"] * velocity - config["lr"] * gradient)
            variable.assign_add(velocity)

    while epoch < config["epochs"]:
        for images, digits in batches:
            step(images, digits)
        epoch.assign_add(1)
        right = tf.argmax(net(test_images), axis=1) == test_digits
        with tempfile.TemporaryDirectory() as folder:
            state.write(os.path.join(folder, "state"))
            tune.report(accuracy=float(tf.reduce_mean(tf.cast(right, tf.float32))), checkpoint=folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few epochs, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        name="tensorflow-loop",
        metric="accuracy",
        mode="max",
        config={
            "lr": tune.loguniform(1e-3, 1e-1),
            "momentum": tune.uniform(0.0, 0.95),
            "epochs": 4 if args.smoke_test else 24,
        },
        scheduler=tune.PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=1 if args.smoke_test else 4,
            hyperparam_mutations={"lr": tune.loguniform(1e-3, 1e-1), "momentum": tune.uniform(0.0, 0.95)},
        ),
        num_samples=2 if args.smoke_test else 8,
        keep_checkpoints_num=2,
        storage_path=args.storage_path,
        seed=0,
    )
    print(f"best accuracy: {100 * analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")
