import pytest
from small_cache import ENCODER, TABLE, TEXTS

from lore_jax.storage.cache.writer import CacheWriter


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A cache with every kind of file, several times smaller than a page, so that flips reach all
    of it.
    """
    finish = {
        "head": TABLE[0, :4],
        "texts": TEXTS[:20],
        "user_ids": ["ann", "bob", "eve"],
        "extra": [{"n": 1}] * 4,
    }
    folder = tmp_path_factory.mktemp("rich") / "cache"
    with CacheWriter(folder, dim=4, dtype="bfloat16", encoder=ENCODER, shard_bytes=7 * 8) as writer:
        writer.append(TABLE[:20, :4])
        writer.finish(chosen=[0, 5, 19, 4], rejected=[1, 2, 3, 5], user=[2, 0, 2, 0], **finish)
    return folder
