"""Predictions by a network for users who are known by their shots, whoever they are.

The table goes through the network's first layer once; then users are solved and their pairs
predicted some at a time, so that what is formed never grows with the number of users.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.preferences import Preferences
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.network import Hyper, Rows, UserNetwork
from lore_jax.methods.rivals.pair_slots import padded_pairs
from lore_jax.methods.rivals.unsaved import Unsaved
from lore_jax.model.basis import Params
from lore_jax.parallel.buckets import lay_out
from lore_jax.parallel.devices import filled_up
from lore_jax.users.predict import Margins

_USERS_AT_A_TIME = 64
_LEAST_SLOTS = 32  # of shots: few lengths share few programs, which take seconds to compile


def margins_of_users(
    network: UserNetwork, params: Params, rows: Rows, shots: Pairs, targets: Pairs, hyper: Hyper
) -> tuple[Float[Array, "users targets"], Float[Array, "users targets"]]:
    """`user_margins` of many users, who stand in front of shots and targets."""

    def one(user: tuple[Pairs, Pairs]) -> tuple[Array, Array]:
        return network.user_margins(params, rows, *user, hyper)

    # Parts of one size, or the last one would be compiled apart.
    count = shots.chosen.shape[0]
    parts = max(1, -(-count // _USERS_AT_A_TIME))
    size = -(-count // parts)

    def split(leaf: Array) -> Array:
        padded = jnp.pad(leaf, ((0, parts * size - count), (0, 0)))
        return padded.reshape(parts, size, -1)

    found = jax.lax.map(jax.vmap(one), jax.tree.map(split, (shots, targets)))
    mean, variance = (values.reshape(parts * size, -1)[:count] for values in found)
    return mean, variance


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkPredictor(Unsaved):
    """A trained network.

    Attributes:
        network: what it computes, without what was chosen.
        params: its parameters.
        hyper: what was chosen.
        input_scale: what the network divides embeddings by.
        dim: the length of the embeddings it takes.
    """

    network: UserNetwork
    params: Params
    hyper: dict[str, Float[np.ndarray, ""]]
    input_scale: Float[np.ndarray, ""]
    dim: int

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins given the shots; of a user without any, the network's for the generic user."""
        if shots.num_users != test.num_users:
            raise ValueError(
                f"the shots are of {shots.num_users} users, the test pairs of {test.num_users}: "
                "the same users are expected"
            )
        for prefs in (shots, test):
            if prefs.dim != self.dim:
                raise ValueError(
                    f"the table has dim {prefs.dim}: {self.dim} is expected, as in the fit"
                )
        rows, behind = self._rows(test), 0
        if shots.embeddings is not test.embeddings:
            rows, behind = jnp.concatenate([rows, self._rows(shots)]), len(rows)
        mean, variance = np.zeros((2, test.num_pairs), np.float32)
        buckets, layout = lay_out(test)
        for number, (bucket, (ids,)) in enumerate(zip(buckets, layout.ids, strict=True)):
            columns = (bucket.chosen, bucket.rejected, bucket.pair_weight)
            targets = Pairs(*(np.asarray(column)[0].T for column in columns))
            given = _padded(shots, ids, behind)
            found = _margins(self.network, self.params, rows, given, targets, self.hyper)
            (pairs,) = layout.pairs(number)
            is_pair = pairs >= 0
            for out, values in zip((mean, variance), found, strict=True):
                out[pairs[is_pair]] = np.asarray(values).T[is_pair]
        return Margins(mean, variance)

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """The same from a user's training pairs: the network is frozen, the user found again."""
        return self.adapted(shots, test)

    def _rows(self, prefs: Preferences) -> Array:
        table = jnp.asarray(filled_up(prefs.embeddings))
        return _rows(self.network, self.params, table, self.input_scale)


def _padded(shots: Preferences, users: Int[np.ndarray, " users"], behind: int) -> Pairs:
    """The shots of some users, padded to a power of four; rows counted from `behind`."""
    slots = _LEAST_SLOTS
    while slots < shots.pairs_per_user()[users[users >= 0]].max(initial=0):
        slots *= 4
    pairs, _ = padded_pairs(shots, users, slots)
    chosen, rejected = (side + np.int32(behind) for side in (pairs.chosen, pairs.rejected))
    return dataclasses.replace(pairs, chosen=chosen, rejected=rejected)


@functools.partial(jax.jit, static_argnums=0)
def _rows(network: UserNetwork, params: Params, embeddings: Array, input_scale: Array) -> Array:
    return network.rows(params, embeddings, input_scale)


@functools.partial(jax.jit, static_argnums=0)
def _margins(
    network: UserNetwork, params: Params, rows: Array, shots: Pairs, targets: Pairs, hyper: Hyper
) -> tuple[Array, Array]:
    return margins_of_users(network, params, rows, shots, targets, hyper)
