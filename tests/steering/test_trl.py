import json
import warnings

import numpy as np
import pytest
from uncertain_model import DIM, USERS, model, posterior

import lore_jax as lore
from experiments.common.tiny_model import VOCABULARY, write_tokenizer
from lore_jax.steering.candidates import find_candidates, moments
from lore_jax.steering.trl import trl_reward

NAMES = np.array([f"user {number}" for number in range(USERS)])


class Encoder:
    """Embeds by letters."""

    def encode(self, texts):
        rng = [np.random.default_rng(list(json.dumps(text).encode())) for text in texts]
        return np.array([own.standard_normal(DIM) for own in rng], np.float32)


def users():
    nothing = (np.zeros(USERS) for _ in range(4))
    return lore.Posterior(*posterior(), *nothing, user_ids=NAMES)


def test_each_row_has_its_own_users_reward():
    reward = trl_reward(model(), users(), Encoder())
    prompts, completions = ["Tea?", "Tea?", "Milk?"], ["Yes.", "No.", "Yes."]
    values = reward(prompts, completions, user_id=["user 3", "user 1", None], mood=["a", "b", "c"])
    for at, user in ((0, 3), (1, 1)):
        own = lore.score_texts(model(), users(), Encoder(), prompts[at], [completions[at]])
        assert values[at] == pytest.approx(own[user, 0], abs=1e-5)
    nobody = lore.population_posterior(model(), 1)
    own = lore.score_texts(model(), nobody, Encoder(), "Milk?", ["Yes."])
    assert values[2] == pytest.approx(own[0, 0], abs=1e-5)


def test_conversational_rows_are_the_same():
    reward = trl_reward(model(), users(), Encoder())
    chat = [{"role": "user", "content": "Tea?"}], [{"role": "assistant", "content": "Yes."}]
    plain = reward(["Tea?"], ["Yes."], user_id=["user 0"])
    assert reward([chat[0]], [chat[1]], user_id=["user 0"]) == plain


def test_caution_takes_off_what_is_not_known():
    texts = [f"Reply {number}." for number in range(4)]
    rows = {"prompts": ["Tea?"] * 4 + ["Milk?"], "completions": [*texts, "Yes."]}
    rows["user_id"] = ["user 2"] * 4 + ["user 1"]
    bold = trl_reward(model(), users(), Encoder())(**rows)
    careful = trl_reward(model(), users(), Encoder(), caution=2.0)(**rows)
    table = Encoder().encode(
        [
            [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": text}]
            for text in texts
        ]
    )
    weights, covariance = posterior()
    some = find_candidates(model(), table, None, 1)
    spread = moments(some, weights[[2]], covariance[[2]]).spread[0]
    np.testing.assert_allclose(np.subtract(bold, careful)[:4], 2.0 * spread, rtol=1e-4)
    assert bold[4] == pytest.approx(careful[4], abs=1e-4)  # alone: nothing to be compared with


def test_empty_completions_have_the_reward_that_is_said():
    rows = {"prompts": ["Tea?"] * 2, "completions": [" ", "Yes."], "user_id": [None, None]}
    assert trl_reward(model(), users(), Encoder())(**rows)[0] is None
    assert trl_reward(model(), users(), Encoder(), empty_reward=-9.0)(**rows)[0] == -9.0
    rows["completions"] = ["", ""]
    assert trl_reward(model(), users(), Encoder())(**rows) == [None, None]


def test_bad_rows_are_refused():
    reward = trl_reward(model(), users(), Encoder())
    with pytest.raises(ValueError, match="user_id is missing: the data set needs a column"):
        reward(["Tea?"], ["Yes."])
    with pytest.raises(ValueError, match="user_id 'eve' is not among the 5 users with weights"):
        reward(["Tea?"], ["Yes."], user_id=["eve"])
    with pytest.raises(ValueError, match="reply is '3': a text"):
        reward(["Tea?"], [3], user_id=[None])
    with pytest.raises(ValueError, match="caution is -1"):
        trl_reward(model(), users(), Encoder(), caution=-1.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trainer", ["GRPO", "RLOO"])
def test_trl_trains_three_steps_with_the_reward(tmp_path, trainer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own imports
        pytest.importorskip("torch", reason="PyTorch is not installed")
        trl = pytest.importorskip("trl", reason="TRL is not installed")
        datasets = pytest.importorskip("datasets", reason="datasets is not installed")
        import transformers
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    folder = tmp_path / "policy"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder)
    policy = transformers.LlamaForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = {"prompt": ["word", "words"] * 4, "user_id": [None, "user 1"] * 4}
    settings = getattr(trl, f"{trainer}Config")(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=4,
        max_steps=3,
        use_cpu=True,
        report_to=[],
        logging_steps=1,
        bf16=False,
        save_strategy="no",
    )
    seen = []
    reward = trl_reward(model(), users(), Encoder(), empty_reward=-1.0)

    def personal_reward(**columns):
        seen.append((columns["user_id"], reward(**columns)))
        return seen[-1][1]

    running = getattr(trl, f"{trainer}Trainer")(
        model=policy,
        args=settings,
        train_dataset=datasets.Dataset.from_dict(rows),
        reward_funcs=personal_reward,
        processing_class=tokenizer,
    )
    running.train()
    assert running.state.global_step == 3
    assert {name for names, _ in seen for name in names} <= {None, "user 1"}
    assert all(isinstance(value, float) for _, values in seen for value in values)
