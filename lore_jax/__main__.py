"""`python -m lore_jax` is `lore-jax`."""

import sys

from lore_jax.cli.main import main

sys.exit(main())
