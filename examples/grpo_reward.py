"""A GRPO reward in ten lines.

python examples/grpo_reward.py MODEL ENCODER    # of lore.save, and a Hugging Face folder
"""

import sys

import lore_jax as lore
from lore_jax.embed import load_encoder

model, users = lore.load(sys.argv[1])
assert users is not None  # saved with its users
encoder = load_encoder(sys.argv[2])  # the one that embedded what the model was fitted on
reward = lore.trl_reward(model, users, encoder, caution=0.25, empty_reward=-1.0)
# trl.GRPOTrainer(model=POLICY, reward_funcs=reward, train_dataset=ROWS), or trl.RLOOTrainer, where
# each row has a prompt and a user_id; this is what the trainer asks:
print(reward(prompts=["Tea?", "Tea?"], completions=["Yes, please.", ""], user_id=[None, None]))
