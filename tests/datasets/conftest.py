"""What the tests of several readers share."""

import csv

import pytest

COMMENTS = [["timestamp", "comment-id", "moderated", "comment-body"]]
VOTES = [["timestamp", "comment-id", "voter-id", "vote"]]


@pytest.fixture
def texts_of():
    """`texts_of(published, pair)`: the turns of the prompt, the chosen and the rejected reply."""

    def texts(published, pair):
        responses = published.pairs.responses
        chosen = responses[published.pairs.chosen[pair]]
        rejected = responses[published.pairs.rejected[pair]]
        assert chosen.prompt is rejected.prompt
        return [turn["content"] for turn in chosen.prompt], chosen.reply, rejected.reply

    return texts


@pytest.fixture
def write_conversation(tmp_path):
    """`write_conversation(name, comments, votes)`: a Polis folder of rows without their headers."""

    def write(name, comments, votes):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rows = {"comments.csv": [*COMMENTS, *comments], "votes.csv": [*VOTES, *votes]}
        for file_name in rows:
            with open(folder / file_name, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows[file_name])
        return folder

    return write


@pytest.fixture
def small(write_conversation):
    """A conversation with votes that are replaced, and with a statement that is removed."""
    comments = [[1, 30, 1, 'Said "so",\nhe said'], [1, 10, 0, "First"], [1, 20, -1, "Removed"]]
    votes = [
        [5, 10, 7, 1],
        [6, 30, 7, 1],
        [3, 30, 7, -1],
        [1, 20, 7, 1],
        [2, 10, 4, 0],
        [2, 30, 4, 1],
        [2, 30, 4, -1],
    ]
    return write_conversation("talk", comments, votes)
