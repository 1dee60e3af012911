"""Kinds of answer: what is read as one, what it counts, and how a judge is held to it."""

import itertools
import json
import math

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from lockstep.errors import ReplyError
from lockstep.judges.protocol import Pair
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.rubrics import combine
from lockstep.rubrics.questions import filled
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import Rubric

INTEGERS = {"type": "integer", "minimum": 0, "maximum": 25}
HALVES = {"type": "number", "minimum": 0, "maximum": 10, "step": 0.5}
YES_NO = {"type": "yes_no"}
CHOICE = {"type": "choice", "values": {"good": 2, "good enough": 1, "bad": 0, "unclear": None}}
LIST = {"type": "list", "entries": ["done", "kept"], "of": {**INTEGERS, "maximum": 10}}


def rubric(*kinds, **fields):
    """Return a rubric with criteria ca, cb … of these kinds."""
    criteria = [
        {
            "name": f"c{'abcdefgh'[number]}",
            "question": "q",
            "anchors": dict.fromkeys((0, 3, 5, 8, 10, 25), "x"),
            "reply": kind,
        }
        for number, kind in enumerate(kinds)
    ]
    given = {"system": "Judge.", "template": "{{ reply }}", "reply": {**INTEGERS, "maximum": 10}}
    given |= {"criteria": criteria, "combine": "weighted_mean", **fields}
    return Rubric.model_validate(given)


def said(given, *answers):
    names = [criterion.name for criterion in given.criteria]
    return json.dumps(dict(zip(names, answers, strict=True)))


ALL = rubric(INTEGERS, HALVES, YES_NO, CHOICE, LIST)


def test_each_kind_of_answer_counts_what_the_rubric_says():
    scores = parse_reply("Fine.\n" + said(ALL, 20, 7.5, "yes", "good enough", [9, 8]), ALL)
    assert scores.criteria == {"ca": 20, "cb": 7.5, "cc": 1, "cd": 1, "done": 9, "kept": 8}
    assert ALL.names == list(scores.criteria)
    assert scores.reasoning == "Fine."
    # an answer that does not count gives no value
    assert "cd" not in parse_reply(said(ALL, 0, 0, "no", "unclear", [0, 0]), ALL).criteria
    assert ALL.example == (
        '{"ca": <0-25>, "cb": <0.0-10.0>, "cc": "no or yes", '
        '"cd": "good or good enough or bad or unclear", "ce": [<0-10>, <0-10>]}'
    )


VALID = {"ca": 20, "cb": 7.5, "cc": "yes", "cd": "good", "ce": [9, 8]}


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *(("ca", answer) for answer in (26, -1, 7.0, "7", True, None, [7])),
        *(("cb", answer) for answer in (7.25, 10.5, -0.5, "7.5", True, None, [7.5], 1e99)),
        *(("cc", answer) for answer in ("Yes", "maybe", "", True, 1, None, ["yes"], "yes ")),
        *(("cd", answer) for answer in ("Good", "goo", 2, None, ["good"], "good or bad")),
        *(("ce", answer) for answer in ([9], [9, 8, 7], [9, 11], [9, "8"], 9, "9, 8", [[9, 8]])),
        ("ce", {"done": 9, "kept": 8}),
    ],
)
def test_what_is_no_answer_of_its_kind_is_a_failure_that_names_the_criterion(name, answer):
    assert parse_reply(json.dumps(VALID), ALL)
    with pytest.raises(ReplyError, match=f"found no valid score in the reply \\({name}"):
        parse_reply(json.dumps({**VALID, name: answer}), ALL)


@pytest.mark.parametrize("answer", ["7", "7.0", "7.00", "0.7e1"])
def test_a_decimal_may_be_written_in_any_way(answer):
    given = rubric(HALVES)
    assert parse_reply(f'{{"ca": {answer}}}', given).criteria == {"ca": 7.0}
    tenths = rubric({**HALVES, "step": 0.1})
    assert parse_reply('{"ca": 0.3}', tenths).criteria == {"ca": 0.3}


@pytest.mark.parametrize("answer", ["NaN", "Infinity", "-Infinity", "07", "7."])
def test_what_is_no_number_of_json_is_no_decimal(answer):
    with pytest.raises(ReplyError):
        parse_reply(f'{{"ca": {answer}}}', rubric(HALVES))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"type": "letter"}, "expected a type integer, number, yes_no, choice or list"),
        ({"type": "number", "minimum": 5, "maximum": 5}, "expected the minimum below the maximum"),
        ({**HALVES, "step": 0.3}, "expected a whole number of steps"),
        ({**HALVES, "step": 0.01}, "at most 200, found 1000"),
        ({**CHOICE, "values": {"a": 1, "b": 1}}, "expected two that differ"),
        ({**CHOICE, "values": {True: 1, "no": 0}}, "found True; put it in quotes"),
        ({**CHOICE, "values": {'a"b': 1, "c": 0}}, "pattern"),
        ({**CHOICE, "values": {"a": 1}}, "at least 2"),
        ({**LIST, "of": YES_NO}, "expected a type integer or number"),
        ({**LIST, "entries": ["score"]}, "'score', a column of the tables"),
        ({**LIST, "entries": ["cb"]}, "expected each criterion once"),
        ({**INTEGERS, "maximum": 101}, "less than or equal to 100"),
    ],
)
def test_a_kind_that_is_none_is_one_clear_error(kind, message):
    with pytest.raises(ValidationError, match=message):
        rubric(kind, YES_NO)


def test_kinds_of_several_scales_are_brought_to_that_of_scores():
    given = rubric(INTEGERS, HALVES, YES_NO, CHOICE)
    values = parse_reply(said(given, 20, 7.5, "yes", "good enough"), given).criteria
    assert combine.score(given, values) == pytest.approx((8 + 7.5 + 10 + 5) / 4, abs=1e-10)
    # what does not count leaves the others their weights
    assert combine.score(given, {"ca": 20, "cc": 0.0}) == 4
    # of one scale, values are combined on it, and the score is brought to 0 to 10
    alike = rubric(YES_NO, YES_NO, caps=[{"criterion": "ca", "below": 0.5, "score": 0.25}])
    assert combine.score(alike, {"ca": 1, "cb": 0}) == 5
    assert combine.score(alike, {"ca": 0, "cb": 1}) == 2.5


def test_answers_that_all_do_not_count_are_no_score():
    given = rubric(CHOICE, CHOICE)
    with pytest.raises(ReplyError, match="expected a criterion with a value"):
        combine.score(given, {})
    with pytest.raises(ValidationError, match="expected a criterion whose answers count"):
        rubric({"type": "choice", "values": {"a": None, "b": None}})


def test_the_expectation_is_that_of_the_values_that_count():
    given = rubric(YES_NO, CHOICE)
    shares = {"ca": (0.25, 0.75), "cb": (0.2, 0.1, 0.1, 0.6)}
    # yes counts 10 of 10; good 10, good enough 5, bad 0, of those that count
    assert combine.expected_score(given, shares) == round((7.5 + (2 + 0.5) / 0.4) / 2, 2)
    assert combine.expected_score(given, {"ca": (0.25, 0.75)}) == 7.5
    assert combine.uncertainty({"ca": (0.5, 0.5)}) == 1


def test_a_server_is_told_the_schema_of_each_kind():
    schema = ALL.reply_schema["properties"]
    assert schema["ca"] == {"maximum": 25, "minimum": 0, "title": "Ca", "type": "integer"}
    assert (schema["cb"]["minimum"], schema["cb"]["maximum"]) == (0, 10)
    assert schema["cb"]["type"] == "number"
    assert schema["cc"]["enum"] == ["no", "yes"]
    assert schema["cd"]["enum"] == list(CHOICE["values"])
    assert (schema["ce"]["minItems"], schema["ce"]["maxItems"]) == (2, 2)


def test_what_an_answer_counts_is_no_part_of_what_is_asked():
    other = {**CHOICE, "values": {**CHOICE["values"], "good": 5}}
    assert rubric(other).asked("p") == rubric(CHOICE).asked("p")
    assert rubric(other).sha256 != rubric(CHOICE).sha256
    renamed = {**LIST, "entries": ["a", "b"]}
    assert rubric(renamed).asked("p") == rubric(LIST).asked("p")
    kinds = [INTEGERS, HALVES, {**HALVES, "step": 1}, YES_NO, CHOICE, LIST]
    asked = [json.dumps(rubric(kind).asked("p")) for kind in kinds]
    assert len(set(asked)) == len(kinds)


@pytest.fixture(scope="module")
def judges(models):
    def load(mode):
        given = {"dtype": "float32", "max_reasoning_tokens": 8, "min_schema_mass": 0.0}
        return Qwen3VLJudge(
            Qwen3VLSettings(type="qwen3_vl", model=str(models / "judge"), mode=mode, **given), "cpu"
        )

    return {mode: load(mode) for mode in ("score_only", "reasoned")}


def pairs(count, *rubrics, **fields):
    return [
        Pair(
            id=f"p{number}",
            editor="e",
            source=Image.new("RGB", (64 + 30 * number, 80), (number * 30, 9, 9)),
            edited=Image.new("RGB", (128, 64 + 10 * number), (0, number * 20, 255)),
            rubric=rubrics[number % len(rubrics)],
            prompt="Let go! " * (number + 1),
        )._replace(**fields)
        for number in range(count)
    ]


@pytest.mark.parametrize("mode", ["score_only", "reasoned"])
def test_judgements_of_all_kinds_depend_on_neither_batch_nor_order(judges, mode):
    judge = judges[mode]
    given = pairs(8, ALL, rubric(LIST, YES_NO), rubric(CHOICE))
    given += [pair._replace(seed=number) for number, pair in enumerate(given)]
    alone = [judge.judge([pair])[0] for pair in given]
    for found in (
        judge.judge(given),
        judge.judge(given[::-1])[::-1],
        [*judge.judge(given[:5]), *judge.judge(given[5:])],
    ):
        assert [(j.reply, j.usage) for j in found] == [(j.reply, j.usage) for j in alone]
        for one, other in zip(found, alone, strict=True):
            assert one.schema_mass == pytest.approx(other.schema_mass, abs=2e-4)
            for name, shares in other.probabilities.items():
                assert one.probabilities[name] == pytest.approx(shares, abs=1e-5)
    for pair, judgement in zip(given, alone, strict=True):
        assert parse_reply(judgement.reply, pair.rubric)
        assert list(judgement.probabilities) == pair.rubric.names


ENDS = {"number": (",", "}", "Ġ", "Ċ", "č", "ĉ"), "text": ('"',)}


@pytest.mark.parametrize(
    ("kind", "end"),
    [(YES_NO, "text"), (CHOICE, "text"), (INTEGERS, "number"), (HALVES, "number")],
    ids=["yes_no", "choice", "integers", "halves"],
)
def test_probabilities_are_those_of_plain_passes_over_each_answer(judges, kind, end):
    judge, given = judges["score_only"], rubric(kind)
    ids = judge._processor.tokenizer.convert_tokens_to_ids
    (pair,) = pairs(1, given)
    (judgement,) = judge.judge([pair])
    (blank,) = given.form

    def shares(text):
        inputs = judge._processor(
            text=[judge._chat.text(pair) + text],
            images=[pair.source, pair.edited],
            return_tensors="pt",
        )
        with torch.inference_mode():
            return judge._model(**inputs).logits[0, -1].softmax(-1).tolist()

    def ways(prefix):
        """Return what may stand behind a part of an answer; an empty text is its end."""
        longer = [text for text in blank.options if text.startswith(prefix)]
        return {text[len(prefix) : len(prefix) + 1] for text in longer}

    def on(found, way):
        return found[ids(way.replace(" ", "Ġ"))] if way else sum(found[ids(t)] for t in ENDS[end])

    expected, known = [], {}
    for text in blank.options:
        share = 1.0
        for length in range(len(text) + 1):
            if length and len(ways(text[:length])) == 1:
                continue
            prefix = text[:length]
            if prefix not in known:
                known[prefix] = shares(blank.before + prefix)
            found = known[prefix]
            own = on(found, text[length : length + 1])
            share *= own / math.fsum(on(found, way) for way in ways(prefix))
        expected.append(share)
    assert sum(expected) == pytest.approx(1)
    assert judgement.probabilities["ca"] == pytest.approx(expected, abs=2e-6)
    taken = str(json.loads(judgement.reply)["ca"])
    assert taken == max(zip(expected, blank.options, strict=True))[1]
    least = min(
        math.fsum(on(shares(blank.before + taken[:length]), way) for way in ways(taken[:length]))
        for length in range(len(taken) + 1)
    )
    assert judgement.schema_mass == pytest.approx(least, abs=1e-4)


def test_integers_that_are_read_at_once_are_those_of_their_tree(judges, monkeypatch):
    """As where a tokenizer joins digits."""
    judge = judges["score_only"]
    given = pairs(4, rubric(YES_NO, {**INTEGERS, "maximum": 10}, LIST))
    at_once = judge.judge(given)
    monkeypatch.setattr(judge._decoder._vocabulary, "digits", [])
    for one, other in zip(judge.judge(given), at_once, strict=True):
        assert (one.reply, one.usage) == (other.reply, other.usage)
        assert one.schema_mass == pytest.approx(other.schema_mass, abs=2e-4)
        for name, shares in other.probabilities.items():
            assert one.probabilities[name] == pytest.approx(shares, abs=1e-5)


def test_each_answer_is_taken_by_its_probability(judges):
    judge = judges["score_only"]
    given = rubric(CHOICE)
    (pair,) = pairs(1, given)
    many = [pair._replace(seed=seed) for seed in range(200)]
    judgements = [j for k in range(0, 200, 50) for j in judge.judge(many[k : k + 50])]
    found = [json.loads(judgement.reply)["ca"] for judgement in judgements]
    shares = [share ** (1 / 0.7) for share in judgements[0].probabilities["ca"]]
    for text, share in zip(CHOICE["values"], shares, strict=True):
        expected = share / sum(shares)
        error = 4 * math.sqrt(expected * (1 - expected) / 200) + 0.01
        assert found.count(text) / 200 == pytest.approx(expected, abs=error)


def test_blanks_and_what_they_hold_make_the_object():
    for answers in itertools.islice(itertools.product([0, 25], [0.5], ["no", "yes"]), 4):
        given = rubric(INTEGERS, HALVES, YES_NO, LIST)
        texts = [*map(str, answers), "3", "10"]
        reply = filled(given.form, texts)
        assert json.loads(reply) == json.loads(said(given, *answers, [3, 10]))
