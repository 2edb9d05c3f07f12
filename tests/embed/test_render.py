"""Rendering: both sides written alike, conversations cut from the left, leaks refused."""

import dataclasses

import pytest

from experiments.common.tiny_model import TEMPLATE, write_tokenizer
from lore_jax.datasets.formats.messages import Message
from lore_jax.embed.render import Conversation, make_renderer, prepare
from lore_jax.embed.tokenizer import load_tokenizer

ASK = (Message("user", "Why?"),)
LONG = (
    Message("system", "Be brief."),
    Message("user", "first question " * 4),
    Message("assistant", "first answer " * 4),
    Message("user", "second question " * 4),
    Message("assistant", "second answer " * 4),
    Message("user", "third question"),
)
# Writes a reply that begins with a capital letter differently: a leak.
LEAKY = TEMPLATE.replace(
    "{{ message['content'] | trim }}",
    "{{ '!' if message['content'] == 'Yes' else '' }}{{ message['content'] | trim }}",
)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)

    def renderer(max_length=512):
        return make_renderer(load_tokenizer(folder), is_chat=True, prefix="", max_length=max_length)

    return renderer


def run(renderer, *conversations):
    return prepare(
        [Conversation(*parts) for parts in conversations],
        renderer,
        [f"row {n}" for n in range(len(conversations))],
    )


def test_a_response_is_written_by_the_chat_template(chat):
    assert (
        chat().text(ASK, "Because.")
        == "<|bos|><|start|>user\nWhy?<|end|><|start|>assistant\nBecause.<|end|>"
    )


def test_plain_models_read_the_turns_one_after_the_other(chat):
    renderer = make_renderer(chat().tokenizer, is_chat=False, prefix="query: ", max_length=64)
    assert renderer.text(ASK, "Because.") == "query: Why?\n\nBecause."
    assert renderer.text((), "Because.") == "query: Because."


def test_short_conversations_stay_as_they_are(chat):
    conversations = [(ASK, "Because."), (ASK, "No."), (LONG, "Yes.")]
    prepared = run(chat(), *conversations)
    assert prepared == ([Conversation(*parts) for parts in conversations], 0, 0)


@pytest.mark.parametrize("limit", range(60, 300, 12))
def test_a_long_conversation_loses_its_beginning_and_both_sides_the_same(chat, limit):
    renderer = chat(limit)
    replies = ["Short.", "A longer reply."]
    prepared = run(renderer, *((LONG, reply) for reply in replies))
    first, second = prepared.conversations
    assert first.prompt == second.prompt
    assert [first.reply, second.reply] == replies
    assert prepared[1:] == (1, 2)
    texts = [renderer.text(*parts) for parts in prepared.conversations]
    lengths = [len(ids) for ids in renderer.token_ids(texts)]
    assert max(lengths) <= limit
    # What is left is the end of the conversation, behind the system's turn.
    system, *turns = first.prompt
    assert system == LONG[0]
    kept = LONG[len(LONG) - len(turns) :]
    assert turns[1:] == list(kept[1:])
    assert turns[0].role == "user"
    assert kept[0].content.endswith(turns[0].content)
    if len(turns) == 1 and turns[0].content != kept[0].content:
        assert lengths[1] == limit  # no more was cut than had to be: a token is a byte here


def test_the_beginning_is_cut_between_characters(chat):
    prompt = (Message("user", "ä€😀" * 20),)  # 2, 3 and 4 tokens a character
    for limit in range(60, 80):
        ((cut, _),) = run(chat(limit), (prompt, "Yes.")).conversations
        assert prompt[0].content.endswith(cut[0].content)
        assert cut[0].content


@pytest.mark.parametrize(
    ("prompt", "reply", "message"),
    [
        (ASK, " \n", "row 1: reply is an empty reply"),
        (ASK, "['one', 'two']", "row 1: reply is a list rendered as text"),
        (ASK, ["one"], "row 1: reply is a list: a text is expected"),
        (ASK, "Yes<|end|>", "row 1: reply holds the special token '<|end|>' as text"),
        (
            (Message("user", "<|bos|>Why?"),),
            "Yes",
            "row 1: prompt holds the special token '<|bos|>' as text",
        ),
        (
            (Message("robot", "Why?"),),
            "Yes",
            "row 1: prompt: message 0 is the turn of 'robot': 'user' is expected",
        ),
        (
            (*ASK, *ASK),
            "Yes",
            "row 1: prompt: message 1 is the turn of 'user': 'assistant' is expected",
        ),
        (
            (*ASK, Message("assistant", "So.")),
            "Yes",
            "row 1: prompt ends with the turn of 'assistant': 'user' is expected",
        ),
        ((), "Yes", "row 1: a text without a prompt: this model reads conversations"),
        (ASK, "broken \ud800", "row 1: reply has a lone surrogate at character 7"),
        (
            ASK,
            "word " * 120,
            "row 1: the reply has 600 tokens, with its prompt too many for 512, the limit "
            r"\(--max-length, where the model can read more\); a reply is never cut",
        ),
    ],
)
def test_what_cannot_be_embedded_unchanged_is_refused_by_name(chat, prompt, reply, message):
    with pytest.raises(ValueError, match="^" + message.replace("|", r"\|")) as error:
        run(chat(), (ASK, "Fine."), (prompt, reply))
    assert "\n" not in str(error.value)


def test_a_template_that_writes_one_side_in_another_way_is_refused(tmp_path):
    write_tokenizer(tmp_path, LEAKY)
    renderer = make_renderer(load_tokenizer(tmp_path), is_chat=True, prefix="", max_length=512)
    run(renderer, (ASK, "No"))
    with pytest.raises(
        ValueError, match="row 1: the chat template writes this reply in another way than others"
    ):
        run(renderer, (ASK, "No"), (ASK, "Yes"))


def test_a_template_that_doubles_a_special_token_is_refused(tmp_path):
    write_tokenizer(tmp_path, "<|bos|>" + TEMPLATE)
    with pytest.raises(ValueError, match=r"writes the special token '<\|bos\|>' twice in a row"):
        make_renderer(load_tokenizer(tmp_path), is_chat=True, prefix="", max_length=512)


def test_a_template_that_refuses_a_role_is_quoted(tmp_path):
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        + TEMPLATE
    )
    write_tokenizer(tmp_path, refuses)
    renderer = make_renderer(load_tokenizer(tmp_path), is_chat=True, prefix="", max_length=512)
    with pytest.raises(
        ValueError,
        match="row 0: the model's chat template refuses the conversation: no system turn",
    ):
        run(renderer, (LONG, "Yes"))


def test_a_chat_model_needs_a_template(tmp_path):
    write_tokenizer(tmp_path, None)
    with pytest.raises(ValueError, match="its tokenizer has no chat template"):
        make_renderer(load_tokenizer(tmp_path), is_chat=True, prefix="", max_length=512)


ENDLESS = {
    "one loop": ("{% for i in range(10**9) %}x{% endfor %}", "fails: OverflowError, Range too big"),
    "loops in a loop": (
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "does not end within 1,000,000 steps",
    ),
    "a macro of itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_chat_template_that_does_not_end_is_refused(chat, name):
    template, message = ENDLESS[name]
    tokenizer = dataclasses.replace(chat().tokenizer, chat_template=template)
    with pytest.raises(ValueError, match=f"the model's chat template .*{message}"):
        make_renderer(tokenizer, is_chat=True, prefix="", max_length=100)
