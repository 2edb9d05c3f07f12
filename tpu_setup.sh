#!/usr/bin/env bash
# Sets up lore_jax on a TPU VM: its own Python 3.12 (the images ship 3.10, too old for current
# JAX), jax[tpu] and lore_jax. Safe to run again: what is there is left as it is.
#
# A single TPU VM (v5e-8, v6e-8, ...), from a clone of this repository on it:
#
#     bash tpu_setup.sh
#     .venv/bin/lore-jax demo
#
# Every host of a slice (v5e-16 and larger): the same commands on all workers at once, from your
# own machine:
#
#     gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command='
#         git clone REPOSITORY lore_jax; cd lore_jax && git pull && bash tpu_setup.sh'
#
# and a fit on all of its devices, the cache at the same path on every host and RUN in a folder
# that all of them see:
#
#     gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command='
#         cd lore_jax && .venv/bin/lore-jax fit CACHE --out RUN --resume --distributed'
#
# The same command resumes the fit after a preemption: SIGTERM to any host writes a checkpoint and
# ends all of them.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v uv >/dev/null && [ ! -x "$HOME/.local/bin/uv" ]; then
    python3 -m pip install --user --quiet uv
fi
export PATH="$HOME/.local/bin:$PATH"

[ -x .venv/bin/python ] || uv venv --quiet --python 3.12 .venv
uv pip install --quiet --python .venv/bin/python -e '.[tpu]'
.venv/bin/python - <<'PY'
import jax

kind, here, all = jax.devices()[0].device_kind, jax.local_device_count(), jax.device_count()
print(f"jax {jax.__version__}: {here} of {all} devices here, {kind}")
PY
