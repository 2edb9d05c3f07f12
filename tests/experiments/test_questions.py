"""The replay of questions on synthetic users and on a small conversation."""

import json

import numpy as np
import pytest

import lore_jax as lore
from experiments import questions
from experiments.common.gains_by_rule import gain
from experiments.polis import data_folder
from experiments.questions import Config, answers_needed, candidates_of


def test_answers_needed_are_read_off_the_curve():
    assert answers_needed([0.5, 0.6, 0.8], 0.7) == pytest.approx(1.5)
    assert answers_needed([0.5, 0.6], 0.5) == 0.0
    assert answers_needed([0.5, 0.6], 0.9) == np.inf


def test_rules_are_replayed_on_synthetic_users(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(questions, "RULES", ("random", "pref", "questionnaire"))
    config = Config(tmp_path, kind="synthetic", shots=5, draws=1, smoke=True)
    (part,) = questions.run(config)
    assert part["curves"].keys() == set(questions.RULES)
    start = {round(curve["accuracy"][0], 6) for curve in part["curves"].values()}
    assert len(start) == 1  # nobody has answered anything
    for curve in part["curves"].values():
        assert len(curve["accuracy"]) == len(curve["log_loss"]) == 6
    losses = part["curves"]["random"]["log_loss"][5] - part["curves"]["pref"]["log_loss"][5]
    assert gain([part], "pref", 0).mean == pytest.approx(losses, abs=1e-6)
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


def test_what_is_asked_at_once_is_the_batch_before_any_answer(tmp_path, monkeypatch):
    data = questions.synthetic_part(Config(tmp_path, smoke=True), 0)
    asked = []

    def noted(self, chosen, rejected, user):
        asked.append(np.stack([chosen, rejected], axis=1))
        return observe(self, chosen, rejected, user)

    observe = lore.Session.observe
    monkeypatch.setattr(lore.Session, "observe", noted)
    questions.replay(data, "at_once", 5, seed=0)
    # All users are asked the same, and targets are pairs of all responses that they may be asked.
    pairs = np.unique(np.sort(candidates_of(data.answers)[0], axis=1), axis=0)
    rows = np.unique(pairs)
    everything = rows[np.stack(np.triu_indices(len(rows), 1), axis=1)]
    table = data.answers.embeddings
    nobody = lore.population_posterior(data.model, 1)
    batch = lore.ask(
        data.model, nobody, table, pairs, count=5, criterion="v_optimal", targets=everything
    )
    expected = np.stack([batch.first[0], batch.second[0]], axis=1)
    for turn, rows in enumerate(asked):
        assert (np.sort(rows, axis=1) == np.sort(expected[turn])).all()
