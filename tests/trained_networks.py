"""What the tests of trained networks share: shards of small problems, and fits of few steps."""

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation import metrics
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.user_embeddings import UserEmbeddingsConfig

GROUPS_OF_USERS = SyntheticConfig(
    num_users=150,
    num_prompts=150,
    responses_per_prompt=4,
    pairs_per_user=(40, 40),
    dim=8,
    rank=3,
    users="mixture",
    num_components=3,
    spread=0.2,
    noise=0.2,
)


def groups_of_users(seed=0):
    """A split of a population of three groups, each with tastes of its own."""
    return lore.four_way(synthetic(GROUPS_OF_USERS, seed=seed).prefs, group_by="prompt", seed=seed)


def accuracy_of_unseen(split, method, shots):
    """The fitted method, and its accuracy of unseen users after each number of shots."""
    predictor, _ = fit_predictor(split.train, lore.FitConfig(method), key=jax.random.key(0))
    test, found = split.tests["unseen", "new items"], []
    for count in shots:
        margins = predictor.adapted(lore.draw_shots(split.shots, count, seed=0), test)
        right = metrics.correct(margins.mean)
        found.append(np.nanmean(metrics.per_user_mean(right, test.user, test.num_users)))
    return predictor, found


def accuracy_of_bradley_terry(split):
    """Of unseen users, by one direction for everybody."""
    return accuracy_of_unseen(split, BradleyTerryConfig(ridge=3.0), (0,))[1][0]


def some_pairs(seed=0, *, users=3, pairs=5, responses=12):
    """Pairs of some users, `[users, pairs]`; the last pair of each is padding."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(responses, size=(users, pairs)).astype(np.int32)
    rejected = (chosen + rng.integers(1, responses, (users, pairs), np.int32)) % responses
    weight = rng.uniform(0.5, 2.0, (users, pairs)).astype(np.float32)
    weight[:, -1] = 0.0
    return Pairs(chosen, rejected, weight)


def of_user(pairs, user):
    """The pairs of one user in NumPy."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[user], pairs)


def some_table(seed=0, *, responses=12, dim=6):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(responses, dim)), jnp.float32)


def perturbed(params, seed=0):
    """The parameters, all of them away from where they start."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape), jnp.float32), params
    )


def directional_derivative(function, params, seed=0, *, step=3e-3):
    """By jax, and by finite differences, along a random direction that is not across the slope."""
    rng, gradient = np.random.default_rng(seed), jax.jit(jax.grad(function))(params)

    def unit(tree):
        size = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(tree)))
        return jax.tree.map(lambda leaf: leaf / size, tree)

    noise = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
    along = jax.tree.map(jnp.add, unit(gradient), unit(noise))
    products = jax.tree.map(lambda g, a: jnp.sum(g * a), gradient, along)
    ends = [
        function(jax.tree.map(lambda x, a, by=by: x + by * a, params, along))
        for by in (step, -step)
    ]
    return float(sum(jax.tree.leaves(products))), float(ends[0] - ends[1]) / (2 * step)


# P-RLHF at the size of `groups_of_users`.
SMALL = UserEmbeddingsConfig(
    steps=200,
    stop_after=200,
    learning_rate=5e-3,
    weight_decay=0.1,
    spread=1.0,
    users_a_step=64,
    size=4,
    width=32,
)


def p_rlhf_margins(params, table, user, pairs):
    """Margins of one user's pairs by P-RLHF, in NumPy; embeddings are divided by 2."""
    params, table, user = jax.tree.map(np.asarray, (params, table, user))
    network = params["network"]
    if "clusters" in params:
        weight = np.exp(params["logits"] + user)
        user = weight / weight.sum() @ params["clusters"]
    first = table @ network["response"]["kernel"].T * table.shape[1] ** 0.5 / 2.0
    hidden = first + user @ network["user"]["kernel"] + network["user"]["bias"]
    rewards = np.where(hidden > 0, hidden, 0.01 * hidden) @ network["reward"]["kernel"][:, 0]
    return rewards[pairs.chosen] - rewards[pairs.rejected]
