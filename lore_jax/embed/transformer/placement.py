"""Devices of an encoder: rows over one axis of the mesh, a large model's matrices over another."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lore_jax.embed.transformer.architectures import Architecture, Decoder
from lore_jax.embed.transformer.layers import Parameter
from lore_jax.parallel.devices import Devices


@dataclasses.dataclass(frozen=True)
class Placement:
    """A mesh of devices, `data` x `model`.

    Attributes:
        mesh: rows of tokens are split over its axis `data`, matrices over its axis `model`.
    """

    mesh: Mesh

    @property
    def data_parallel(self) -> int:
        """How many parts the rows of a batch are split into."""
        return self.mesh.shape["data"]

    @property
    def rows(self) -> NamedSharding:
        """Where arrays with a leading axis of rows lie."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    def sharding(self, parameter: Parameter, *, stacked: bool = False) -> NamedSharding:
        """Where a parameter lies, or (`stacked`) the stack of all layers' parameters."""
        axes = [
            "model" if axis == parameter.split else None for axis in range(len(parameter.shape))
        ]
        return NamedSharding(self.mesh, PartitionSpec(*[None] * stacked, *axes))


def make_placement(
    model: Architecture, devices: Devices | None = None, model_parallel: int = 1
) -> Placement:
    """Lays devices out for a model.

    Args:
        model: the architecture.
        devices: None: all local ones.
        model_parallel: how many devices share each matrix; such groups of devices share the rows.

    Returns:
        The placement.

    Raises:
        ValueError: the devices or the model's heads cannot be split so.
    """
    devices = jax.local_devices() if devices is None else devices
    if model_parallel < 1 or len(devices) % model_parallel:
        raise ValueError(
            f"model_parallel is {model_parallel}: "
            f"a divisor of the {len(devices)} devices is expected"
        )
    heads = model.kv_heads if isinstance(model, Decoder) else model.heads
    if heads % model_parallel:
        raise ValueError(
            f"model_parallel is {model_parallel}: "
            f"a divisor of the model's {heads} key heads is expected"
        )
    grid = np.array(devices).reshape(-1, model_parallel)
    return Placement(Mesh(grid, ("data", "model")))
