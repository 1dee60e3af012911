"""The check of texts that people read: it finds planted sentences and no others."""

import pytest

from tests import prose

NOUN, EXPECTED, VERB, NUMBER = prose.RULES


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("What fits its key is never redone.", NOUN),
        ("An edit is kept, what does not always is.", NOUN),
        ("Whoever has the plan can break the codes.", NOUN),
        ("So what was read stays in memory.", NOUN),
        ("How a shard knows this is below.", NOUN),
        ("That either is gone the other learns from the kernel.", NOUN),
        ('devices: found "gpu", accepted is auto or cpu', EXPECTED),
        ("found float8, accepted are float16 and float32", EXPECTED),
        ("Beside every score stands a fingerprint of the judge.", VERB),
        ("Only then does it load a model.", VERB),
        ("It loads no model, nor does it wait.", VERB),
        ("Should a shard die, the others go on.", VERB),
        ("Standardised is a score less the judge's mean.", VERB),
        ("A model takes longer to load than many an image takes to edit.", NUMBER),
        ("Return at most so many places.", NUMBER),
        ("One " * 36 + "two.", "expected at most 35 words, found 37"),
    ],
)
def test_a_planted_sentence_is_found(sentence, fault):
    assert list(prose.faults(sentence)) == [(fault, sentence)]
    text = f"# What a heading is\n\nA good sentence. {sentence} Another one.\n"
    (piece,) = filter(None, prose.pieces(text))
    assert [told for told, _ in prose.faults(piece)][:1] == [fault]


@pytest.mark.parametrize(
    "sentence",
    [
        "What is a wave?",
        "That is why each shard waits.",
        "That file is written last.",
        "From a server, a reply counts only if the server says so.",
        "A judge sees the source; what else it sees is in the rubric.",
        "In the report, all editors stand side by side.",
        "Only these are judged ahead.",
        "One " * 30 + "two; " + "one " * 30 + "two.",
    ],
)
def test_a_plain_sentence_is_none(sentence):
    assert not list(prose.faults(sentence))


def test_code_and_tables_are_read_as_what_they_are():
    page = "```\nWhat is code is code.\n```\n\n| key | says |\n|---|---|\n| `a` | What it is. |\n"
    found = [piece for piece in prose.pieces(page) if piece.strip("|-: ")]
    assert found == ["| key", "| says", "| CODE", "| What it is."]
    assert not list(prose.faults("What it is.", label=True))
    assert list(prose.faults("What it is. What it does is this.", label=True))


def test_docstrings_and_messages_are_read():
    code = '"""Whoever reads.\n\nWhat else."""\nraise ValueError(f"{1}, accepted is {2}")'
    assert list(prose.of_code(code)) == [(1, "Whoever reads.", True), (4, ", accepted is ", False)]


def test_a_page_of_the_tree_is_named_with_its_fault(tmp_path):
    page = tmp_path / "docs" / "a.md"
    page.parent.mkdir()
    page.write_text("# A\n\n*For users.*\n\nWhat is kept is kept.\n", encoding="utf-8")
    assert list(prose.found(tmp_path)) == [f"docs/a.md: {NOUN}: What is kept is kept."]
    page.write_text("# A\n\nA page for all.\n", encoding="utf-8")
    assert list(prose.found(tmp_path)) == [
        'docs/a.md: expected a first line "For …" that says who reads the page'
    ]
