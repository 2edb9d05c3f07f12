"""Rankings, choices among several and best-worst choices: a softmax for every place.

An answer about k responses stands in the solvers as its k (k - 1) / 2 pairs (a, b), a before b in
the answer's own order, with margins z_ab = r_a - r_b. A softmax over responses has the Hessian

    diag p - p p' = sum over pairs of p_a p_b (e_a - e_b)(e_a - e_b)',

so pairs with the curvature p_a p_b, summed over the places at which both were still to be had, have
exactly the answer's Hessian; and its gradient g, which adds up to zero, is that of the pairs with
the last response, with slopes g_a. Whatever solves pairs solves rankings.

A softmax is the exponential family of the rewards: its third derivative along a line is the third
central moment of their changes, at most the variance times the largest change of a margin.
Concordance is that of the logistic.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.parallel.pytree import pytree, static
from lore_jax.solvers.cholesky import cholesky
from lore_jax.solvers.quadrature import normal_lattice

_LEAST_VARIANCE = 1e-8  # of a difference: a user of whom everything is known


def pairs_of(num_items: int) -> tuple[tuple[int, int], ...]:
    """The pairs of an answer about so many responses, in the order of their margins.

    Example:
        >>> pairs_of(3)
        ((0, 1), (0, 2), (1, 2))
    """
    return tuple(itertools.combinations(range(num_items), 2))


@pytree
class Ranking:
    """Plackett-Luce, and best-worst choices; a margin's first axis holds answers times pairs.

    Responses stand in the order that was said: places first, and what was left unordered after
    them. The worst, where it was said, stands last.

    Attributes:
        num_items: k, how many responses an answer is about, 2 or more.
        places: how many of the first places were said: 1 is a choice, k - 1 (or k) a ranking.
        worst: whether the last response was said to be the worst of those that were left.

    Example:
        >>> choice = Ranking(num_items=4, places=1)
        >>> float(jnp.sum(choice.loss(jnp.zeros(6))))  # log 4
        1.386...

    Reference:
        Plackett 1975, "The analysis of permutations"; Finn and Louviere 1992, "Determining the
        appropriate response to evidence of public concern" (best-worst).
    """

    num_items: int = static()
    places: int = static(default=1)
    worst: bool = static(default=False)

    @property
    def concordance(self) -> float:
        """The third central moment is at most the range times the variance."""
        return 1.0

    @property
    def ceiling(self) -> float:
        """`p_a p_b <= 1/4` at each place."""
        return 0.25 * len(self._stages())

    def loss(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """Minus the log probability of each answer, at its first pair; 0 at the others."""
        return self._at_first(self._answer_loss(self._scores(margin)), margin)

    def slope(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """The gradient in the rewards, at the pairs with the last response."""
        scores, last = self._scores(margin), self.num_items - 1
        gradient = [jnp.zeros_like(scores[0])] * self.num_items
        for winner, items, sign in self._stages():
            share = self._shares(scores, items, sign)
            for item in items:
                gradient[item] = gradient[item] + sign * (share[item] - float(item == winner))
        nothing = jnp.zeros_like(scores[0])
        return self._entries(
            [gradient[a] if b == last else nothing for a, b in pairs_of(self.num_items)], margin
        )

    def curvature(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """`p_a p_b`, summed over the places at which both were still to be had."""
        scores = self._scores(margin)
        nothing = jnp.zeros_like(scores[0])
        pairs = dict.fromkeys(pairs_of(self.num_items), nothing)
        for _, items, sign in self._stages():
            share = self._shares(scores, items, sign)
            for a, b in itertools.combinations(items, 2):
                pairs[a, b] = pairs[a, b] + share[a] * share[b]
        return self._entries(list(pairs.values()), margin)

    def of_orders(
        self,
        rewards: Float[Array, "items *any"],
        orders: Int[np.ndarray, "orders items"],
    ) -> Float[Array, "orders *any"]:
        """Log probability of many answers about the same responses.

        Orders share softmaxes: of a ranking of four 11 sets of responses stand in 72 of them. And
        sets share sums: each is one response more than another set.

        Args:
            rewards: of the responses.
            orders: the responses of each answer as they were said.

        Returns:
            `[orders, ...]`, in nats.
        """
        sets: dict[tuple[float, tuple[int, ...]], int] = {}
        taken = np.zeros((len(orders), self.num_items), np.float32)
        used: list[tuple[int, int]] = []
        for number, order in enumerate(orders.tolist()):
            for winner, items, sign in self._stages():
                taken[number, order[winner]] += sign
                among = sign, tuple(sorted(order[item] for item in items))
                used.append((number, sets.setdefault(among, len(sets))))
        counts = np.zeros((len(orders), len(sets)), np.float32)
        np.subtract.at(counts, tuple(np.array(used).T), 1.0)
        totals: dict[tuple[float, tuple[int, ...]], Array] = {}

        def total(sign: float, items: tuple[int, ...]) -> Array:
            """The logarithm of the sum of the exponentials."""
            last = sign * rewards[items[-1]]
            if len(items) == 1:
                return last
            if (sign, items) not in totals:
                totals[sign, items] = _log_add(total(sign, items[:-1]), last)
            return totals[sign, items]

        terms = jnp.concatenate([rewards, jnp.stack([total(*among) for among in sets])])
        # Otherwise XLA computes every exponential anew for each of the orders.
        terms = jax.lax.optimization_barrier(terms)
        weight = jnp.asarray(np.concatenate([taken, counts], axis=1))
        return jnp.tensordot(weight, terms, 1, precision=jax.lax.Precision.HIGHEST)

    def predictive(
        self, mean: Float[Array, "entries *any"], variance: Float[Array, "entries *any"]
    ) -> Float[Array, "entries *any"]:
        """`log E[P(answer)]`, at its first pair, over the joint Gaussian of the rewards.

        The variances of all pairs are those of the rewards: with l the last response,
        `Cov[z_al, z_bl] = (v_al + v_bl - v_ab) / 2`.
        """
        scores = self._scores(mean)
        nodes = jnp.asarray(normal_lattice(self.num_items - 1))
        lower = self._spread(variance)

        def at(node: Array) -> Array:
            away = [
                sum((lower[a, b] * node[b] for b in range(a + 1)), jnp.zeros_like(scores[0]))
                for a in range(self.num_items - 1)
            ]
            moved = [score + by for score, by in zip(scores, [*away, 0.0], strict=True)]
            return -self._answer_loss(moved)

        log_probability = jax.nn.logsumexp(jax.lax.map(at, nodes), axis=0) - jnp.log(len(nodes))
        return self._at_first(log_probability, mean)

    def _spread(self, variance: Array) -> Array:
        """Cholesky factor of the covariance of rewards less the last, `[k - 1, k - 1, n, ...]`."""
        last, of_pair = self.num_items - 1, self._of_pairs(variance)
        v = {(a, b): of_pair[number] for number, (a, b) in enumerate(pairs_of(self.num_items))}
        rows = [
            [
                v[a, last] + _LEAST_VARIANCE
                if a == b
                else 0.5 * (v[a, last] + v[b, last] - v[min(a, b), max(a, b)])
                for b in range(last)
            ]
            for a in range(last)
        ]
        matrix = jnp.stack([jnp.stack(row) for row in rows])
        return cholesky(matrix, least=jnp.full_like(matrix[0], _LEAST_VARIANCE))

    def _stages(self) -> list[tuple[int, tuple[int, ...], float]]:
        """For every place: who took it, among whom, and the sign of the rewards in the softmax."""
        places = min(self.places, self.num_items - 1)
        stages = [(s, tuple(range(s, self.num_items)), 1.0) for s in range(places)]
        if self.worst and places < self.num_items - 1:
            last = self.num_items - 1
            stages.append((last, tuple(range(places, self.num_items)), -1.0))
        return stages

    def _of_pairs(self, margin: Array) -> list[Array]:
        """`[answers * pairs, ...]` to pairs of `[answers, ...]`."""
        count = len(pairs_of(self.num_items))
        split = margin.reshape(-1, count, *margin.shape[1:])
        return [split[:, number] for number in range(count)]

    def _scores(self, margin: Array) -> list[Array]:
        """Rewards less that of the last response, each `[answers, ...]`."""
        last = self.num_items - 1
        pairs = zip(pairs_of(self.num_items), self._of_pairs(margin), strict=True)
        scores = [value for (_, b), value in pairs if b == last]
        return [*scores, jnp.zeros_like(scores[0])]

    def _entries(self, values: list[Array], margin: Array) -> Array:
        return jnp.stack(values, axis=1).reshape(margin.shape)

    def _at_first(self, value: Array, margin: Array) -> Array:
        rest = [jnp.zeros_like(value)] * (len(pairs_of(self.num_items)) - 1)
        return self._entries([value, *rest], margin)

    def _answer_loss(self, scores: list[Array]) -> Array:
        loss = jnp.zeros_like(scores[0])
        for winner, items, sign in self._stages():
            behind = jnp.stack([sign * (scores[item] - scores[winner]) for item in items])
            loss = loss + jax.nn.logsumexp(behind, axis=0)
        return loss

    def _shares(self, scores: list[Array], items: tuple[int, ...], sign: float) -> dict[int, Array]:
        """The softmax over some responses."""
        share = jax.nn.softmax(jnp.stack([sign * scores[item] for item in items]), axis=0)
        return {item: share[number] for number, item in enumerate(items)}


def _log_add(one: Array, other: Array) -> Array:
    """`log(exp(one) + exp(other))` of finite numbers."""
    return jnp.maximum(one, other) + jnp.log(1.0 + jnp.exp(-jnp.abs(one - other)))
