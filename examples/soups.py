"""Personalized Soups in ten lines: declared preferences to everybody's own adapter.

python examples/soups.py OUT ADAPTER ...    # PEFT LoRA adapters, one a pole
"""

import sys

import numpy as np

from lore_jax.steering.adapters import read_adapter
from lore_jax.steering.merge import make_merger
from lore_jax.steering.merged_folder import write_merged
from lore_jax.steering.mixing_weights import MergeConfig, mixing_weights

adapters = [read_adapter(folder) for folder in sys.argv[2:]]
declared = np.random.default_rng(0).normal(size=(3, len(adapters)))  # or a posterior's weights
config = MergeConfig("cat", weighting="softmax", temperature=0.5)
shares = mixing_weights(declared, config)
report = write_merged(sys.argv[1], make_merger(adapters, config), shares, ["ann", "bob", "eve"])
print(report)  # peft.PeftModel.from_pretrained(base, OUT / "ann")
