import dataclasses

import numpy as np
import pytest
from uncertain_model import DIM, USERS, model, posterior

import lore_jax as lore
from lore_jax.data.encoder_identity import identity_of
from lore_jax.steering.texts import conversation, reply_text, score_texts


class Encoder:
    """Embeds by letters, and remembers what it was asked for."""

    def encode(self, texts):
        self.texts = list(texts)
        rows = [np.frombuffer(str(text).encode().ljust(DIM)[-DIM:], np.uint8) for text in texts]
        return np.array(rows, np.float32) / 100.0


def users():
    return lore.Posterior(*posterior(), *(np.zeros(USERS) for _ in range(4)))


def test_scores_are_those_of_the_embeddings():
    encoder = Encoder()
    scores = score_texts(model(), users(), encoder, "Tea?", ["Yes, please.", "No."])
    ask = {"role": "user", "content": "Tea?"}
    assert encoder.texts == [
        [ask, {"role": "assistant", "content": "Yes, please."}],
        [ask, {"role": "assistant", "content": "No."}],
    ]
    expected = lore.score(model(), users(), encoder.encode(encoder.texts))
    np.testing.assert_array_equal(scores, expected)


def test_the_spellings_of_prompts_and_replies():
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"}]
    reply = [{"role": "assistant", "content": "Yes."}]
    assert conversation(turns, reply) == [*turns, *reply]
    assert conversation("Tea?", "Yes.") == [turns[1], *reply]
    assert conversation(None, reply) == "Yes."
    assert len(turns) == 2


@pytest.mark.parametrize(
    ("prompt", "replies", "message"),
    [
        ("Tea?", [], "there are 0 replies: 1 or more"),
        ("Tea?", ["Yes.", "  "], "reply 1 is empty: a text is expected"),
        ("Tea?", [3], "reply 0 is '3': a text, or a list of one message"),
        ("Tea?", [[{"role": "user", "content": "Yes."}]], "reply 0 is .*of the assistant"),
        (7, ["Yes."], "the prompt is a int: a text or a list of messages"),
    ],
)
def test_bad_texts_are_named(prompt, replies, message):
    with pytest.raises(ValueError, match=message):
        score_texts(model(), users(), Encoder(), prompt, replies)


def test_another_encoder_of_the_same_width_is_refused():
    class Described(Encoder):
        def __init__(self, digest):
            self.digest = digest

        def describe(self):
            return {"model": "copied", "sha256": self.digest, "pooling": "mean"}

    fitted = identity_of({"model": "original", "sha256": "ab", "pooling": "mean"})
    known, ask = dataclasses.replace(model(), encoder=fitted), ("Tea?", ["Yes.", "No."])
    expected = score_texts(model(), users(), Encoder(), *ask)
    for allowed in (Described("ab"), Encoder()):
        np.testing.assert_array_equal(score_texts(known, users(), allowed, *ask), expected)
    line = r"another encoder than that of the model: .*sha256 'cd' \(fitted on 'ab'\)"
    with pytest.raises(ValueError, match=line):
        score_texts(known, users(), Described("cd"), *ask)
    with pytest.raises(ValueError, match=line):
        lore.trl_reward(known, users(), Described("cd"))


def test_another_encoder_is_refused_by_its_width():
    class Narrow:
        def encode(self, texts):
            return np.ones((len(texts), 2), np.float32)

    with pytest.raises(ValueError, match="embeddings have dim 2, the model was fitted on dim 6"):
        score_texts(model(), users(), Narrow(), "Tea?", ["Yes."])
    assert reply_text("Yes.") == "Yes."
