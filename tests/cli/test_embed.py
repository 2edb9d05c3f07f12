"""`lore-jax embed` hands its options on, and says what was embedded."""

from command_line import run

from experiments.common.tiny_model import write_sentence_encoder
from lore_jax.embed.pairs import EmbedReport
from lore_jax.embed.text_encoder import EmbedConfig
from lore_jax.storage.cache.reader import load_cache


def test_embed_passes_everything_on(here, capsys, monkeypatch):
    def embed_pairs(pairs, model, out, config, *, overwrite):
        assert (str(model), str(out), overwrite) == ("model", "cache", True)
        assert config == EmbedConfig(store="float16", max_length=9)
        assert pairs.user_ids == ["ann", "böb"]
        return EmbedReport(out, len(pairs.responses), 2, 1, 3)

    monkeypatch.setattr("lore_jax.embed.pairs.embed_pairs", embed_pairs)
    options = [
        "--model",
        "model",
        "--out",
        "cache",
        "--store",
        "float16",
        "--max-length",
        "9",
        "--overwrite",
    ]
    out = run(capsys, "embed", "pairs.jsonl", *options)
    for part in (
        "4 responses embedded",
        "4 pairs by 2 users",
        "resumed from row 2",
        "1 prompts of 3 replies were too long and lost their beginning",
    ):
        assert part in out


def test_ratings_are_embedded_and_bad_rows_can_be_skipped(here, capsys):
    long = "word " * 120  # 600 tokens, of 512 that the model reads
    votes = f"ann,Trees.,up\nann,Cars.,down\nann,,up\nann,{long},down\n"
    (here / "votes.csv").write_text(f"user_id,text,vote\n{votes}")
    write_sentence_encoder(here / "encoder")
    options = ["votes.csv", "--model", "encoder", "--out", "cache"]
    assert "line 4: text is an empty reply" in run(capsys, "embed", *options, status=2)
    out = run(capsys, "embed", *options, "--skip-bad")
    for part in ("2 responses embedded", "1 pairs by 1 users", "2 bad rows, skipped", "line 4: "):
        assert part in out
    assert "the reply has 600 tokens" in out
    assert load_cache("cache").num_pairs == 1
