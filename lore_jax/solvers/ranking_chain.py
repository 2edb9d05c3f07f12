"""Rankings by neighbours: k - 1 entries an answer, where its pairs are k (k - 1) / 2.

The responses of an answer stand in the order that was said. Let p be the softmax over those from s
on, a = p_s and b = 1 - a, and let u_s be the features of response s less the mean under the softmax
over those behind it. By the law of total variance the covariance of features under p is

    a b u_s u_s' + b (the covariance under the softmax over those behind s),

and the gradient of -log a is -b u_s. So with h_s = b_s ([place s was said] + h_{s-1}) the answer's

    Hessian = sum over s of a_s h_s u_s u_s',        gradient = -sum over said s of b_s u_s.

The u follow from the differences of neighbours, e_s = f_s - f_{s+1}, from the last to the first:
`u_s = e_s + b_{s+1} u_{s+1}`; and in the margins of neighbours the gradient is -h. All softmaxes of
an answer cost k - 1 exponentials together, for each is the one behind it and one response more.

Who was the worst is a choice among those left, of the opposite rewards: turned around, the margins
of neighbours are the same numbers.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.parallel.pytree import pytree, static
from lore_jax.solvers.pair_sums import sums_over_answers


@pytree
class RankingChain:
    """What `Ranking` says, for Newton's method alone; a margin's first axis: answers x neighbours.

    Attributes:
        num_items: k, how many responses an answer is about, 2 or more.
        places: how many of the first places were said.
        worst: whether the last response was said to be the worst of those that were left.

    Example:
        >>> float(jnp.sum(RankingChain(num_items=4, places=1).loss(jnp.zeros(3))))  # log 4
        1.386...

    Reference:
        Plackett 1975, "The analysis of permutations".
    """

    num_items: int = static()
    places: int = static(default=1)
    worst: bool = static(default=False)

    @property
    def concordance(self) -> float:
        """That of `Ranking`, for moves of any two responses of an answer (`move`)."""
        return 1.0

    @property
    def ceiling(self) -> float:
        """A variance is at most a quarter of the squared range, here a sum of k - 1 moves."""
        return 0.25 * (self.num_items - 1) * sum(places for _, places in self._chains())

    def loss(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """Minus the log probability of each place, at its neighbours; of the worst at the last."""
        margins = self._of_answers(margin)
        losses = [jnp.zeros_like(margins[0])] * len(margins)
        for order, places in self._chains():
            for s, (_, loss) in list(zip(order, _softmaxes(margins, order), strict=True))[:places]:
                losses[s] = losses[s] + loss
        return self._entries(losses)

    def slope(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """`-h`, the gradient in the margins of neighbours."""
        margins = self._of_answers(margin)
        slopes = [jnp.zeros_like(margins[0])] * len(margins)
        for order, places in self._chains():
            rests = [rest for rest, _ in _softmaxes(margins, order)]
            for s, h in zip(order, _held(rests, places), strict=True):
                slopes[s] = slopes[s] - h
        return self._entries(slopes)

    def move(self, along: Float[Array, "entries *any"]) -> Float[Array, "*any"]:
        """The largest change between any two responses of an answer, over all answers."""
        at = highest = lowest = jnp.zeros_like(self._of_answers(along)[0])
        for change in self._of_answers(along):
            at = at + change
            highest, lowest = jnp.maximum(highest, at), jnp.minimum(lowest, at)
        return jnp.max(highest - lowest, axis=0, initial=0.0)

    def sums(
        self,
        features: Float[Array, "k entries *any"],
        margin: Float[Array, "entries *any"],
        weight: Float[Array, "entries *any"],
    ) -> tuple[Float[Array, "k *any"], Float[Array, "k k *any"]]:
        """Minus the gradient, and the lower triangle of the Hessian."""
        return sums_over_answers(self._turned, features, margin, weight, self.num_items - 1)

    def _turned(self, features: Array, margin: Array, weight: Array) -> tuple[Array, Array, Array]:
        """The u, and how much each counts in minus the gradient and in the Hessian."""
        margins, weights = self._of_answers(margin), self._of_answers(weight)
        columns, answers = features.shape[0], len(margins[0])
        apart = features.reshape(columns, answers, -1, *features.shape[2:])
        turned, pulls, curvatures = [], [], []
        for order, places in self._chains():
            rests = [rest for rest, _ in _softmaxes(margins, order)]
            held, u = _held(rests, places), jnp.zeros_like(apart[:, :, 0])
            for place in range(len(order) - 1, -1, -1):
                behind = rests[place + 1][None] * u if place + 1 < len(order) else 0.0
                u, counts = apart[:, :, order[place]] + behind, weights[order[place]]
                turned.append(u)
                pulls.append(counts * rests[place] * float(place < places))
                curvatures.append(counts * (1.0 - rests[place]) * held[place])
        return jnp.concatenate(turned, 1), jnp.concatenate(pulls), jnp.concatenate(curvatures)

    def _chains(self) -> list[tuple[range, int]]:
        """Neighbours in the order of a chain, and how many of its first places were said."""
        neighbours = self.num_items - 1
        chains = [(range(neighbours), min(self.places, neighbours))]
        if self.worst and self.places < neighbours:
            chains.append((range(neighbours - 1, self.places - 1, -1), 1))
        return chains

    def _of_answers(self, margin: Array) -> list[Array]:
        """`[answers * neighbours, ...]` to neighbours of `[answers, ...]`."""
        split = margin.reshape(-1, self.num_items - 1, *margin.shape[1:])
        return [split[:, s] for s in range(self.num_items - 1)]

    def _entries(self, values: list[Array]) -> Array:
        return jnp.stack(values, axis=1).reshape(-1, *values[0].shape[1:])


def _softmaxes(margins: list[Array], order: range) -> list[tuple[Array, Array]]:
    """Each place's b and `-log a`, from the last, of two responses, to the first, of all.

    `total` is the sum of the exponentials behind a place, of scores less the largest of them, and
    `lead` how much that one is above the first of them.
    """
    total, lead = jnp.ones_like(margins[0]), jnp.zeros_like(margins[0])
    found = []
    for s in reversed(order):
        ahead = margins[s] - lead
        less, leads = jnp.exp(-jnp.abs(ahead)), ahead > 0
        rest = jnp.where(leads, less * total, total)
        total = rest + jnp.where(leads, 1.0, less)
        found.append((rest / total, jnp.log(total) + jnp.maximum(-ahead, 0.0)))
        lead = jnp.maximum(-ahead, 0.0)
    return found[::-1]


def _held(rests: list[Array], places: int) -> list[Array]:
    """Each place's h."""
    held, before = [], jnp.zeros_like(rests[0])
    for place, rest in enumerate(rests):
        before = rest * (before + float(place < places))
        held.append(before)
    return held
