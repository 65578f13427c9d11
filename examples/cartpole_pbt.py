"""Balances a pole on a cart (Gymnasium's CartPole-v1): policy gradients train a small network, PBT changes their settings on the way.
Install: pip install tunesmith gymnasium
Takes: about a minute on 2 cores.
"""

import argparse

try:
    import gymnasium
except ImportError:
    raise SystemExit("This example needs Gymnasium: pip install tunesmith gymnasium") from None

import numpy as np

import tunesmith as tune

SEED = 0
EPISODES = 16  # at once, for one step of the optimiser
LIMIT = 500  # steps after which an episode ends: the most that can be had
HIDDEN = 16


class Policy:
    """Four numbers in, one hidden layer, the log-odds of pushing to the right out; trained by Adam."""

    def __init__(self, rng):
        shapes = ((4, HIDDEN), (HIDDEN,), (HIDDEN, 1), (1,))
        self.weights = [rng.normal(scale=0.5, size=shape) if len(shape) == 2 else np.zeros(shape) for shape in shapes]
        self.moments = [(np.zeros(shape), np.zeros(shape)) for shape in shapes]
        self.steps = 0

    def hidden(self, states):
        return np.tanh(states @ self.weights[0] + self.weights[1])

    def odds(self, states):
        return (self.hidden(states) @ self.weights[2] + self.weights[3])[..., 0]

    def climb(self, states, slopes, lr):
        """One step uphill; ``slopes``: derivatives of what is to grow by the log-odds in each of the states."""
        hidden = self.hidden(states)
        outer = slopes[:, None]
        inner = outer * self.weights[2].T * (1 - hidden**2)
        gradients = (states.T @ inner, inner.sum(0), hidden.T @ outer, outer.sum(0))
        self.steps += 1
        for weight, (first, second), gradient in zip(self.weights, self.moments, gradients):
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            scale = np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8
            weight += lr * first / (1 - 0.9**self.steps) / scale


def chance(odds):
    return 1 / (1 + np.exp(-odds))


def play(envs, policy, seed, rng=None):
    """One episode in each environment: states, actions, and which steps were played. Without ``rng`` the likelier action is taken."""
    state, _ = envs.reset(seed=int(seed))
    states, actions, played = [], [], []
    alive = np.ones(envs.num_envs, bool)
    while alive.any():
        odds = policy.odds(state)
        action = (odds > 0 if rng is None else rng.random(len(odds)) < chance(odds)).astype(int)
        states.append(state)
        actions.append(action)
        played.append(alive)
        state, _, fallen, over, _ = envs.step(action)
        alive = alive & ~(fallen | over)
    return np.array(states), np.array(actions), np.array(played)


def improve(policy, envs, rng, config):
    """REINFORCE: make the actions likelier that were followed by longer balancing than usual at that time. Returns how long it was."""
    states, actions, played = play(envs, policy, rng.integers(2**31), rng)
    returns = np.zeros(played.shape)
    following = np.zeros(played.shape[1])
    for step in reversed(range(len(played))):
        returns[step] = following = played[step] * (1 + config["gamma"] * following)
    advantages = (returns - returns.mean(1, keepdims=True))[played]
    advantages /= advantages.std() + 1e-8

    odds = policy.odds(states[played])
    right = chance(odds)
    slopes = advantages * (actions[played] - right) - config["entropy"] * right * (1 - right) * odds
    policy.climb(states[played], slopes / len(slopes), config["lr"])
    return played.sum(0).mean()


def train(config):
    envs = gymnasium.make_vec("CartPole-v1", num_envs=EPISODES, vectorization_mode="vector_entry_point")
    saved = tune.get_checkpoint()
    if saved is not None:  # after an exploit this is the state of one that does better
        policy, rng = saved.to_dict()["policy"], saved.to_dict()["rng"]
    else:
        rng = np.random.default_rng(tune.get_context().seed)
        policy = Policy(rng)
    while True:
        reward = np.mean([improve(policy, envs, rng, config) for _ in range(5)])
        tune.report(reward=float(reward), checkpoint={"policy": policy, "rng": rng})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()

    space = {"lr": tune.loguniform(1e-4, 1e-1), "gamma": tune.uniform(0.9, 0.999), "entropy": tune.loguniform(1e-4, 1e-1)}
    analysis = tune.run(
        train,
        name="cartpole-pbt",
        metric="reward",
        mode="max",
        config=space,
        num_samples=4 if args.smoke_test else 8,
        stop={"training_iteration": 4 if args.smoke_test else 20},
        scheduler=tune.PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=2 if args.smoke_test else 5,
            hyperparam_mutations=space,
            synch=True,
        ),
        keep_checkpoints_num=2,
        storage_path=args.storage_path,
        seed=SEED,
        deterministic=True,  # with `synch` and the seed: the same numbers each time, whoever is faster
    )

    print(f"exploits, where a trial went on from the weights of a better one: {len(analysis.exploits())}")
    policy = analysis.best_checkpoint.to_dict()["policy"]
    envs = gymnasium.make_vec("CartPole-v1", num_envs=100, vectorization_mode="vector_entry_point")
    lengths = play(envs, policy, SEED)[2].sum(0)
    print(f"the best policy balances for {lengths.mean():.0f} of {LIMIT} steps on average of 100 episodes; seed {SEED}")
    print(f"best reward: {analysis.best_result['reward']:.1f} with {analysis.best_config}")
