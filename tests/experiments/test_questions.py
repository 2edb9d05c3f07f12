"""The replay of questions on synthetic users and on a small conversation."""

import json

import numpy as np
import pytest

from experiments import questions
from experiments.polis import data_folder
from experiments.questions import Config, answers_needed, candidates_of


def test_answers_needed_are_read_off_the_curve():
    assert answers_needed([0.5, 0.6, 0.8], 0.7) == pytest.approx(1.5)
    assert answers_needed([0.5, 0.6], 0.5) == 0.0
    assert answers_needed([0.5, 0.6], 0.9) == np.inf


def test_rules_are_replayed_on_synthetic_users(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(questions, "RULES", ("random", "pref", "questionnaire"))
    config = Config(tmp_path, kind="synthetic", shots=2, draws=1, smoke=True)
    (part,) = questions.run(config)
    assert part["curves"].keys() == set(questions.RULES)
    start = {round(curve["accuracy"][0], 6) for curve in part["curves"].values()}
    assert len(start) == 1  # nobody has answered anything
    for curve in part["curves"].values():
        assert len(curve["accuracy"]) == len(curve["log_loss"]) == 3
    assert (tmp_path / "tables.md").read_text().strip() in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text()) == [part]
    assert questions.run(config) == [part]  # from its file


def test_users_who_are_alike_are_asked_in_any_order(tmp_path):
    data = questions.synthetic_part(Config(tmp_path, smoke=True), 0)
    prior = data.model.prior.replace(factor=0.0 * data.model.prior.factor)
    alike = data._replace(model=data.model.replace(prior=prior))
    own = candidates_of(data.answers)
    order = questions.questionnaire_order(alike, own)
    assert order.shape == own.shape[:2]
    assert np.isfinite(order).all()


def test_a_conversation_is_replayed(tmp_path):
    config = Config(tmp_path, smoke=True)
    root = data_folder(None, tmp_path, smoke=True)
    data = questions.polis_part(config, root, "one", "known items", 0)
    own = candidates_of(data.answers)
    count = data.answers.pairs_per_user()
    assert ((own[:, :, 0] >= 0).sum(axis=1) == count).all()
    # No user's test holds a statement of the user's candidates.
    for user in range(data.test.num_users):
        mine = data.test.user == user
        tested = {*data.test.chosen[mine], *data.test.rejected[mine]}
        assert not tested & set(own[user].ravel())
