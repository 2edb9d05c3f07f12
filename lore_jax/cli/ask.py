"""`lore-jax ask`: a person at a terminal answers, and sees what is learned."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    import numpy as np

    from lore_jax.cli.ask_pairs import Asker, Question
    from lore_jax.data.preferences import Preferences
    from lore_jax.model.model import Model
    from lore_jax.model.posterior import Posterior

_SHOWN = 300  # characters of a text
_AXES = 3


@dataclasses.dataclass(frozen=True)
class Config:
    """Asks which of two responses you prefer, and stops when your answers would teach little.

    Answer a or b; s skips a question, u takes the last answer back, q ends. After each answer you
    see what would now be picked for you. The answers are written after each of them, as rows that
    `prepare` reads (with --cache, for their embeddings). A run that was fitted to ties, strengths
    or ratings as they were said asks for those: n is no preference, a2 is "a, by more than a1".

    Attributes:
        model: a run, or a saved model.
        out: the .jsonl file of answers to write.
        cache: the responses to ask about; by default the run's cache.
        user: your name in the file.
        most: the most questions.
        least_gain: stop when the next answer is expected to be worth less, in nats (log 2 = 0.69 is
            one sure bit).
        criterion: what a question is chosen for; where more than a or b is asked for, information.
        say: what is asked for: pair, tie, strength or rating; by default the first of strength, tie
            and rating that the run knows, else pair.
        overwrite: replace a file that is there.
    """

    model: Annotated[Path, POSITIONAL]
    out: Path
    cache: Path | None = None
    user: str = "me"
    most: int = 30
    least_gain: float = 0.02
    criterion: str = "information"
    say: Literal["pair", "tie", "strength", "rating"] | None = None
    overwrite: bool = False


class _Answer(NamedTuple):
    question: Question
    said: int | None  # None: skipped


def run(config: Config) -> dict[str, Any]:
    """Asks, and writes the file."""
    from lore_jax.cli.ask_kinds import kind_asker, kind_to_ask
    from lore_jax.cli.ask_pairs import PairAsker
    from lore_jax.cli.models import load_model, refuse_other_encoder
    from lore_jax.runs.folder import MANIFEST, read_run
    from lore_jax.storage.cache.reader import load_cache, read_texts
    from lore_jax.storage.files import refuse_existing
    from lore_jax.users.candidates import candidate_pairs
    from lore_jax.users.session import Session

    if config.out.suffix != ".jsonl":
        raise ValueError(f"{config.out} ends in {config.out.suffix!r}: .jsonl is expected")
    if config.most < 1:
        raise ValueError(f"most is {config.most}: 1 or more is expected")
    if not config.least_gain >= 0.0:
        raise ValueError(f"least_gain is {config.least_gain}: 0 or more is expected")
    refuse_existing(config.out, config.overwrite)
    loaded = load_model(config.model)
    cache = config.cache
    if cache is None:
        if not (config.model / MANIFEST).exists():
            raise ValueError(f"{config.model} is a saved model: --cache must name the responses")
        cache = Path(read_run(config.model).manifest["data"]["cache"])
    refuse_other_encoder(loaded, cache)
    prefs, texts = load_cache(cache), list(read_texts(cache))
    kind = kind_to_ask(loaded, config.say)
    options: dict[str, Any] = {"users": [config.user], "capacity": max(config.most, 32)}
    if kind is None:
        session = Session(
            loaded.model,
            prefs.embeddings,
            candidate_pairs(prefs),
            criterion=config.criterion,  # pyright: ignore[reportArgumentType]
            **options,
        )
        asker: Asker = PairAsker(session)
    else:
        asker = kind_asker(loaded, kind, prefs, **options)
    _say("one moment ...")
    asker.warmup()
    answers = _dialogue(config, asker, prefs, texts)
    learned = _learned(loaded.model, loaded.users, asker.you, prefs, texts)
    count = sum(answer.said is not None for answer in answers)
    return {
        "out": str(config.out) if count else None,
        "user": config.user,
        "answers": count,
        "skipped": len(answers) - count,
        "learned": learned,
    }


def lines(result: Mapping[str, Any]) -> list[str]:
    """The result for people."""
    if not result["answers"]:
        return ["no answers: nothing is written"]
    text = [f"{result['out']}: {result['answers']} answers of {result['user']}"]
    for axis in result["learned"]:
        text.append(
            f"  {axis['share']:.0%} of what people disagree about: you are {axis['position']:+.1f} "
            f"(give or take {axis['uncertainty']:.1f}) standard deviations"
        )
        text.append(f"    towards  {axis['towards']}")
        text.append(f"    and from {axis['from']}")
    return text


def _dialogue(config: Config, asker: Asker, prefs: Preferences, texts: list[Any]) -> list[_Answer]:
    """Asks until the end; the file is written after each answer."""
    given: list[_Answer] = []
    while sum(answer.said is not None for answer in given) < config.most:
        question = asker.ask([answer.question.index for answer in given if answer.said is None])
        if question is None:
            _say("there is no question left")
            break
        if question.gain < config.least_gain:
            _say(f"sure enough: the next answer would be worth {question.gain:.3f} nats")
            break
        _show(question.rows, texts)
        word, said = _read(asker)
        if said is not None:
            asker.observe(question.rows, said)
            given.append(_Answer(question, said))
            _say(_pick_text(asker, prefs, texts, question.rows[0]))
        elif word == "s":
            given.append(_Answer(question, None))
        elif word == "u":
            if given and given.pop().said is not None:
                asker.forget()
        else:
            break
        _write(config, asker, given, texts)
    return given


def _read(asker: Asker) -> tuple[str, int | None]:
    """The first letter of a line, and what it says if it is an answer; q at the input's end."""
    while True:
        _say(f"{asker.words}, s(kip), u(ndo) or q(uit)? ", end="")
        line = sys.stdin.readline()
        word = line.strip().lower()
        if not line or word[:1] == "q":
            return "q", None
        if (said := asker.read(word)) is not None or word[:1] in ("s", "u"):
            return word[:1], said


def _show(rows: tuple[int, ...], texts: list[Any]) -> None:
    if texts:
        _say(f"\n{_prompt_text(texts[rows[0]][0])}".rstrip())
    for letter, row in zip("AB", rows, strict=False):
        _say(f"  {letter}: {_text(row, texts)}" if len(rows) > 1 else f"  {_text(row, texts)}")


def _pick_text(asker: Asker, prefs: Preferences, texts: list[Any], row: int) -> str:
    """What would now be picked among the responses to the prompt of a question."""
    import numpy as np

    prompt = next(
        (
            prefs.prompt[side == row][0]
            for side in (prefs.chosen, prefs.rejected)
            if (side == row).any()
        ),
        None,
    )
    mine = prefs.prompt == prompt
    rows = np.unique(np.concatenate([prefs.chosen[mine], prefs.rejected[mine], [row]]))
    best = int(rows[np.argmax(asker.score(rows))])
    return f"  would now be picked for you: {_text(best, texts)}"


def _learned(
    model: Model, users: Posterior | None, you: Posterior, prefs: Preferences, texts: list[Any]
) -> list[dict[str, Any]]:
    """Where the person stands on the axes of the fit's users, in words of the axes' ends."""
    import numpy as np

    from lore_jax.evaluation.disagreement import axes, prompts_of_responses

    if users is None or users.num_users < 2:
        return []
    prompt = prompts_of_responses(prefs)
    together = np.concatenate([np.asarray(users.weights), np.asarray(you.weights)])
    found = axes(model, together, prefs.embeddings, prompt=prompt, most=_AXES)
    root = _directions(found.scores, together)
    out = []
    for number, share in enumerate(found.share):
        loading = np.nan_to_num(found.loadings[:, number])
        position = float(found.scores[-1, number])
        ends = int(loading.argmax()), int(loading.argmin())
        towards, away = ends if position >= 0 else ends[::-1]
        variance = root[:, number] @ np.asarray(you.covariance)[0] @ root[:, number]
        out.append(
            {
                "share": float(share),
                "position": position,
                "uncertainty": float(np.sqrt(max(variance, 0.0))),
                "towards": _text(towards, texts),
                "from": _text(away, texts),
            }
        )
    return out


def _directions(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The linear map from weights to scores, `[rank, axes]`: scores are linear in weights."""
    import numpy as np

    return np.linalg.lstsq(weights - weights.mean(axis=0), scores, rcond=None)[0]


def _write(config: Config, asker: Asker, given: list[_Answer], texts: list[Any]) -> None:
    """The answers as rows of texts, or of row numbers where the cache has no texts."""
    from lore_jax.storage.files import write_json_lines

    rows = []
    for (_, _, responses), said in given:
        if said is None:
            continue
        row: dict[str, object] = {"user_id": config.user}
        if texts:
            row["prompt"] = texts[responses[0]][0]
        for name, value in asker.row(responses, said).items():
            is_response = texts and name in ("chosen", "rejected", "response")
            row[name] = texts[value][1] if is_response else value  # pyright: ignore
        rows.append(row)
    write_json_lines(config.out, rows, len(rows), "answer")


def _text(row: int, texts: list[Any]) -> str:
    text = " ".join(str(texts[row][1]).split()) if texts else f"response {row}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "\u2026"


def _prompt_text(prompt: Any) -> str:
    if not isinstance(prompt, str):
        prompt = json.dumps([turn.get("content", "") for turn in prompt], ensure_ascii=False)
    return " ".join(prompt.split())[-_SHOWN:]


def _say(text: str, end: str = "\n") -> None:
    """To the person; standard output is for the result."""
    print(text, end=end, file=sys.stderr, flush=True)
