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
    """A mesh of devices: rows of tokens are split over its axis `data`, matrices over `model`."""

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
        splits = (axis == parameter.split for axis in range(len(parameter.shape)))
        axes = ["model" if is_split else None for is_split in splits]
        return NamedSharding(self.mesh, PartitionSpec(*[None] * stacked, *axes))


def make_placement(
    model: Architecture, devices: Devices | None = None, model_parallel: int = 1
) -> Placement:
    """Lays devices (all local ones) out for a model, `model_parallel` of them to each matrix.

    Raises:
        ValueError: the devices or the model's heads cannot be split so.
    """
    devices = jax.local_devices() if devices is None else devices
    heads = model.kv_heads if isinstance(model, Decoder) else model.heads
    wholes = {f"the {len(devices)} devices": len(devices), f"the model's {heads} key heads": heads}
    for whole, number in wholes.items():
        if model_parallel < 1 or number % model_parallel:
            expected = f"a divisor of {whole} is expected"
            raise ValueError(f"model_parallel is {model_parallel}: {expected}")
    grid = np.array(devices).reshape(-1, model_parallel)
    return Placement(Mesh(grid, ("data", "model")))
