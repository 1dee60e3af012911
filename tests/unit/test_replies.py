"""What of a judge's reply counts as a score: an explicit, valid one, and nothing else."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lockstep.errors import ReplyError
from lockstep.rubrics.replies import MAX_BROKEN, parse_reply
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
GOOD = {"instruction_following": 7, "physics": 3, "preservation": 10, "quality": 0}
OBJECT = json.dumps(GOOD)
OTHER = OBJECT.replace("7", "8")

SCORED = {
    "alone": OBJECT,
    "compact": json.dumps(GOOD, separators=(",", ":")),
    "in another order": json.dumps(dict(reversed(GOOD.items()))),
    "after prose": f"The ball fell.\n{OBJECT}",
    "in a code fence": f"The ball fell.\n```json\n{json.dumps(GOOD, indent=2)}\n```",
    "in a fence without a language": f"```\n{OBJECT}\n```",
    "before prose": f"{OBJECT}\nThat is all.",
    "said twice": f"{OBJECT}\nSo my answer is {OBJECT}",
    "after braces that are no object": f"A set {{1, 2}} of things. {OBJECT}",
    "after an object on something else": f'{{"seen": "a ball"}} {OBJECT}',
    "before an empty object": f"{OBJECT} {{}}",
    "after a closing brace": f"}} {OBJECT}",
    "in a list": f"[{OBJECT}]",
    "after other numbers": f"On a 0-10 scale I give 7, or 85%. {OBJECT}",
    "with Windows' line ends": OBJECT.replace(", ", ",\r\n"),
    "with an escaped key": OBJECT.replace("physics", "\\u0070hysics"),
    "in Chinese prose": f"球掉下来了。{OBJECT}谢谢！",
}

UNSCORED = {
    # no object
    "empty": "",
    "blank": "  \n\t",
    "a number": "7",
    "a fraction": "8/10",
    "a score in words": "on a 0-10 scale I give 7",
    "a percentage": "Score: 85",
    "a mean": "8.0 … 7.0 => 7.5",
    "a negative number": "-3",
    "a refusal": "I'm sorry, but I can't help with that.",
    "a refusal in Chinese": "抱歉，我无法评价这张图片。",
    "null": "null",
    "a list": "[7, 3, 10, 0]",
    "lines": "instruction_following: 7\nphysics: 3\npreservation: 10\nquality: 0",
    "a table": "| physics | 3 |\n| quality | 0 |",
    "XML": "<instruction_following>7</instruction_following><physics>3</physics>",
    "YAML in a fence": "```yaml\ninstruction_following: 7\nphysics: 3\n```",
    "a scale repeated": RUBRIC.example,
    "the question repeated": "instruction_following: Was the action carried out? 0 = nothing",
    "thousands of braces": "{" * 3000,
    "thousands of objects in each other": '{"a":' * 100_000,
    "an empty object": "{}",
    "an object of something else": '{"score": 7}',
    # no JSON
    "cut off": OBJECT[:-1],
    "cut off in a number": OBJECT[: OBJECT.index("10") + 1],
    "single quotes": OBJECT.replace('"', "'"),
    "curly quotes": OBJECT.replace('"', "”"),
    "no quotes": OBJECT.replace('"', ""),
    "a comma at the end": OBJECT.replace("}", ",}"),
    "a comment": OBJECT.replace("}", "} // done").replace("7,", "7, // good\n"),
    "escaped quotes": json.dumps(OBJECT),
    "a leading zero": OBJECT.replace("7", "07"),
    "a plus": OBJECT.replace("7", "+7"),
    "hexadecimal": OBJECT.replace("7", "0x7"),
    "digits of another script": OBJECT.replace("7", "７"),
    "a fraction as value": OBJECT.replace("7", "7/10"),
    "a range as value": OBJECT.replace("7", "6-8"),
    "an ellipsis": OBJECT.replace("7", "..."),
    "a placeholder": OBJECT.replace("7", "<0-10>"),
    "an integer of 5000 digits": OBJECT.replace("7", "7" * 5000),
    "full-width braces": OBJECT.replace("{", "｛").replace("}", "｝"),
    # another type
    "a decimal": OBJECT.replace("7", "7.5"),
    "a whole decimal": OBJECT.replace("7", "7.0"),
    "an exponent": OBJECT.replace("7", "7e0"),
    "an infinite exponent": OBJECT.replace("7", "1e400"),
    "a text": OBJECT.replace("7", '"7"'),
    "a true": OBJECT.replace("7", "true"),
    "a null": OBJECT.replace("7", "null"),
    "a NaN": OBJECT.replace("7", "NaN"),
    "an infinity": OBJECT.replace("7", "Infinity"),
    "a list as value": OBJECT.replace("7", "[7]"),
    "an object as value": OBJECT.replace("7", '{"score": 7}'),
    # out of range
    "a negative value": OBJECT.replace("7", "-3"),
    "eleven": OBJECT.replace("7", "11"),
    "of a hundred": OBJECT.replace("7", "85"),
    # other keys
    "a key less": json.dumps({k: v for k, v in GOOD.items() if k != "physics"}),
    "a key more": OBJECT.replace("}", ', "score": 9}'),
    "a reason inside": OBJECT.replace("}", ', "reasoning": "it fell"}'),
    "a key twice": OBJECT.replace("physics", "quality"),
    "a key twice with one value": OBJECT.replace("}", ', "quality": 0}'),
    "a capital": OBJECT.replace("physics", "Physics"),
    "a space in a key": OBJECT.replace("physics", "physics "),
    "a look-alike letter": OBJECT.replace("physics", "рhysics"),
    "another rubric's key": OBJECT.replace("physics", "causality"),
    "one level down": json.dumps({"scores": GOOD}),
    # several
    "two answers": f"{OBJECT} or rather {OTHER}",
    "two answers in two fences": f"```json\n{OBJECT}\n```\n```json\n{OTHER}\n```",
    "two answers in a list": f"[{OBJECT}, {OTHER}]",
    "an example and an answer": f"Example: {OTHER}. My answer: {OBJECT}",
    "an answer and a part of another": f'{OBJECT} and {{"physics": 1}}',
    "a part and an answer": f'{{"physics": 1}} {OBJECT}',
    "an answer and an invalid one": f"{OBJECT} Correction: {OBJECT.replace('7', '11')}",
    "an invalid answer and a valid one": f"{OBJECT.replace('7', '11')} I mean {OBJECT}",
    "an answer in a broken object": f'{{"first": {OBJECT}, "second":',
    "an answer after an open brace": f"{{ {OBJECT}",
    "an answer and another one level down": f'{{"draft": {OTHER}}} {OBJECT}',
    "an answer in another object": f'{{"physics": 1, "of": {OBJECT}}}',
}


@pytest.mark.parametrize("reply", SCORED.values(), ids=SCORED)
def test_a_valid_object_is_a_score_whatever_stands_around_it(reply):
    assert parse_reply(reply, RUBRIC).criteria == GOOD


@pytest.mark.parametrize("reply", UNSCORED.values(), ids=UNSCORED)
def test_what_holds_no_valid_score_is_an_error_and_never_a_number(reply):
    with pytest.raises(ReplyError):
        parse_reply(reply, RUBRIC)


@pytest.mark.parametrize(
    ("reply", "reasoning"),
    [
        (f"The ball fell.\n```json\n{OBJECT}\n```", "The ball fell."),
        (f"The ball fell. {OBJECT} Really. {OBJECT}", "The ball fell."),
        (OBJECT, ""),
    ],
)
def test_the_text_before_the_object_is_the_reasoning(reply, reasoning):
    assert parse_reply(reply, RUBRIC).reasoning == reasoning


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ("I cannot.", "found no JSON object with the criteria in the reply ('I cannot.')"),
        (OBJECT.replace("7", "85"), "instruction_following: Input should be less than or equal"),
        (f"{OBJECT} {OTHER}", "expected one answer in the reply, found several that differ"),
        (OBJECT.replace("physics", "quality"), "found a key twice"),
    ],
)
def test_the_error_says_what_to_mend(reply, sentence):
    with pytest.raises(ReplyError) as error:
        parse_reply(reply, RUBRIC)
    assert sentence in str(error.value)


def valid_objects(text):
    """Return all that could be a score: every part of a text that is a valid object by itself.

    Written without a word of the code under test, slow and plain.
    """
    found = set()
    starts = [i for i, character in enumerate(text) if character == "{"]
    ends = [i for i, character in enumerate(text) if character == "}"]
    for start in starts:
        for end in ends:
            try:
                value = json.loads(text[start : end + 1])
            except ValueError:
                continue
            if list(sorted(value)) == sorted(GOOD) and all(
                type(v) is int and v in range(11) for v in value.values()
            ):
                found.add(tuple(value[name] for name in GOOD))
    return found


pieces = st.sampled_from(
    [OBJECT, OTHER, OBJECT[:-1], OBJECT[1:], '{"physics": 1}', "{", "}", "[", "]", "```json", "```"]
    + ['"', ",", ":", " ", "\n", "\\", "7", "10", "-", ".5", "null", "true", "quality", "\0", "评"]
    + [f'"{name}": 3' for name in GOOD]
)


@st.composite
def damaged(draw):
    """Return a valid object with some of its characters lost, doubled or replaced."""
    text = list(draw(st.sampled_from([OBJECT, f"Well. {OBJECT} Done.", f"{OBJECT}{OTHER}"])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text) - 1))
        text[place] = draw(
            st.sampled_from(["", text[place] * 2, "{", "}", '"', ",", "9", "-", "."])
        )
    return "".join(text)


replies = st.text() | st.lists(pieces, max_size=12).map("".join) | damaged()


@given(replies)
@example(OBJECT)
@example(f"{OBJECT} {OTHER}")
@example(f"{{{OBJECT}}}")
@example(f'{{"": {OTHER}}} {OBJECT}')
def test_no_text_without_a_valid_object_yields_a_score(reply):
    possible = valid_objects(reply)
    try:
        criteria = parse_reply(reply, RUBRIC).criteria
    except ReplyError:
        return
    assert tuple(criteria[name] for name in GOOD) in possible
    assert len(possible) == 1, "two answers are none"


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "score", "x"]),
        st.one_of(st.integers(-5, 15), st.floats(), st.booleans(), st.text(), st.none()),
    )
    | st.fixed_dictionaries(dict.fromkeys(GOOD, st.integers(-1, 11)))
)
def test_an_object_counts_exactly_if_it_is_complete_and_in_range(value):
    valid = set(value) == set(GOOD) and all(type(v) is int and 0 <= v <= 10 for v in value.values())
    if valid:
        assert parse_reply(json.dumps(value), RUBRIC).criteria == value
    else:
        with pytest.raises(ReplyError):
            parse_reply(json.dumps(value), RUBRIC)


HUGE = 2_000_000

NESTED = {
    "braces that open": "{" * HUGE,
    "braces that open and close": "{}" * (HUGE // 8),
    "braces on lines of their own": "{\n" * (HUGE // 2),
    "objects that are never closed": '{"a":' * (HUGE // 5),
    "deep objects that break off": ('{"a":' * 500 + "x") * (HUGE // 2501),
    "keys that are never closed": '{"' * (HUGE // 2),
}


@pytest.mark.parametrize("reply", NESTED.values(), ids=NESTED)
def test_a_long_reply_of_braces_is_read_once_and_not_once_for_each_brace(reply, monkeypatch):
    broken = []
    decode = json.JSONDecoder.raw_decode

    def raw_decode(self, text, idx=0):
        try:
            return decode(self, text, idx)
        except ValueError:
            broken.append(idx)
            raise

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", raw_decode)
    with pytest.raises(ReplyError):
        parse_reply(reply, RUBRIC)
    assert len(broken) <= MAX_BROKEN + 1


@pytest.mark.parametrize("before", ["{" * 300_000 + "}" * 300_000, '{"seen": "}{"}' * 30_000])
def test_a_valid_object_behind_many_braces_is_a_score(before):
    assert parse_reply(f"{before} {OBJECT}", RUBRIC).criteria == GOOD


def test_a_few_broken_objects_before_a_valid_one_are_fine():
    broken = '{"a": x} '
    assert parse_reply(broken * MAX_BROKEN + OBJECT, RUBRIC).criteria == GOOD
    with pytest.raises(ReplyError, match="expected at most 100 broken JSON objects"):
        parse_reply(broken * (MAX_BROKEN + 1) + OBJECT, RUBRIC)
