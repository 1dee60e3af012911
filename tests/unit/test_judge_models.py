"""Judges of all architectures that are known: tiny, with random weights, in the real classes."""

import json
import logging
import math
import re
import shutil

import pytest
import torch
import transformers
from PIL import Image

from lockstep.errors import ConfigError, DeviceError, OutOfMemory
from lockstep.judges import keys, loading
from lockstep.judges.protocol import Pair, Rejected
from lockstep.judges.qwen3_vl import Qwen3VLSettings, TransformersSettings, paths
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.judges.qwen3_vl.plain import PlainJudge
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import read_rubric
from tests import tiny_judges
from tests.conftest import ROOT
from tests.unit.test_kinds import ALL, CHOICE, HALVES, INTEGERS, LIST, YES_NO, rubric
from tests.unit.test_weights import changed

PHYSICAL = read_rubric(ROOT / "config/rubrics/physical.yaml")
RUBRIC = PHYSICAL.model_copy(
    update={
        # each token is a step of its own
        "criteria": tuple(
            criterion.model_copy(update={"name": name})
            for name, criterion in zip("ab", PHYSICAL.criteria, strict=False)
        ),
        "caps": (),
        "system": "Judge.",
    }
)


def pairs(count=2, **fields):
    return [
        Pair(
            id=f"p{i}",
            editor="e",
            source=Image.new("RGB", (64 + 30 * i, 80), (i * 90, 9, 9)),
            edited=Image.new("RGB", (128, 64 + 10 * i), (0, i * 90, 255)),
            rubric=RUBRIC,
            prompt="Let go! " * (i + 1),
        )._replace(**fields)
        for i in range(count)
    ]


def settings_of(folder, **given):
    given = {"dtype": "float32", "max_reasoning_tokens": 4, "min_schema_mass": 0.0, **given}
    return TransformersSettings(type="transformers", model=str(folder), **given)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Return what writes a tiny judge once."""
    folder = tmp_path_factory.mktemp("judges")

    def made(name):
        if not (folder / name).exists():
            tiny_judges.MAKE[name](folder / name)
        return folder / name

    return made


@pytest.fixture(scope="module", params=sorted(tiny_judges.MAKE))
def judge(request, folder_of):
    return settings_of(folder_of(request.param)).load("cpu")


@pytest.fixture(scope="module")
def recurrent(folder_of):
    return settings_of(folder_of("qwen3_5")).load("cpu")


def logs(judge, pair, text, more=()):
    """Return the log probabilities behind a text and more tokens, from one pass without a cache."""
    inputs = judge._chat.inputs(pair)
    tokens = [*judge._processor.tokenizer.encode(text, add_special_tokens=False), *more]
    count = len(tokens)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens])], dim=1)
    for name, beside in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in inputs:
            filled = torch.full((1, count), beside, dtype=inputs[name].dtype)
            inputs[name] = torch.cat([inputs[name], filled], dim=1)
    with torch.inference_mode():
        return judge._model(**inputs, use_cache=False).logits[0, -1].log_softmax(-1)


def passes(judge, pair, blank, text, taken):
    """Return what passes without a cache say of a blank's answers behind a text.

    Returns:
        The probability of each, and that of all tokens which are allowed before, in and behind the
        one that is taken.
    """
    encode = judge._processor.tokenizer.encode
    written = [tuple(encode(own, add_special_tokens=False)) for own in blank.options]
    ends = judge._decoder._vocabulary.ends[blank.end]
    known = {}

    def ways(before):
        """Return the probability of each token, or of none, that leads on to an answer."""
        if before not in known:
            own = logs(judge, pair, text, before).exp().tolist()
            place = len(before)
            after = {tokens[place : place + 1] for tokens in written if tokens[:place] == before}
            on_ends = sum(own[token] for token in ends)
            known[before] = {way: own[way[0]] if way else on_ends for way in after}
        return known[before]

    def share(tokens):
        found = 1.0
        for place in range(len(tokens) + 1):
            on = ways(tokens[:place])
            found *= on[tokens[place : place + 1]] / sum(on.values())
        return found

    answer = written[blank.options.index(taken)]
    masses = [sum(ways(answer[:place]).values()) for place in range(len(answer) + 1)]
    return [share(tokens) for tokens in written], masses


def test_each_architecture_judges_alone_as_beside_others(judge):
    assert isinstance(judge, PlainJudge) and judge.fitting() == 1
    given = pairs()
    found = judge.judge(given)
    for judgement in found:
        assert set(parse_reply(judgement.reply, RUBRIC).criteria) == {"a", "b"}
        assert 0 < judgement.schema_mass < 0.5, "random weights would not have said so"
        for shares in judgement.probabilities.values():
            assert len(shares) == 11 and sum(shares) == pytest.approx(1, abs=1e-5)
    # to the last bit
    assert judge.judge(given[::-1])[::-1] == found
    assert found[0].probabilities != found[1].probabilities


def assert_exact(judge, rubric):
    """Hold what a judge says of a rubric's answers to passes without a cache."""
    (pair,) = pairs(1, rubric=rubric)
    # what it writes by itself is more than its text
    judge._decoder._max_reasoning_tokens, most = 0, 4
    try:
        (judgement,) = judge.judge([pair])
    finally:
        judge._decoder._max_reasoning_tokens = most
    rest, text, least = judgement.reply, "", 1.0
    for blank in rubric.form:
        rest = rest.removeprefix(blank.before)
        taken = re.match("[a-z ]+" if blank.end == "text" else "[0-9.]+", rest)[0]
        text += blank.before
        shares, masses = passes(judge, pair, blank, text, taken)
        assert judgement.probabilities[blank.name] == pytest.approx(shares, abs=2e-5)
        least = min(least, *masses)
        text += taken
        rest = rest.removeprefix(taken)
    assert judgement.schema_mass == pytest.approx(least, abs=1e-4)


def test_probabilities_are_those_of_passes_without_a_cache(judge):
    """So positions, masks, windows and what a layer sums up are right in each step."""
    assert_exact(judge, RUBRIC)


# 10 is one token; spaces are SentencePiece's; a layer sums up what it reads and forgets nothing
@pytest.mark.parametrize("name", ["glm4v", "gemma4", "qwen3_5"])
def test_answers_of_all_kinds_are_read_exactly(folder_of, name):
    some = [INTEGERS, {**HALVES, "step": 2.5}, YES_NO, CHOICE, LIST]
    assert_exact(settings_of(folder_of(name)).load("cpu"), rubric(*some))


def test_what_ends_an_answer_is_known_however_a_tokenizer_writes_white_space(judge):
    vocabulary = judge._decoder._vocabulary
    for kind, ends, others in (
        ("number", ",} \n", '"1a.'),
        ("list", ",] \n", '"1a.'),
        ("text", '"', "1a ."),
    ):
        known = set(vocabulary.ends[kind])
        assert all(vocabulary.encode(sign)[0] in known for sign in ends)
        assert not any(vocabulary.encode(sign)[0] in known for sign in others)


def test_numbers_of_a_tokenizer_that_joins_digits_are_a_tree(folder_of):
    for name, joins in (("glm4v", True), ("gemma4", False), ("internvl", False)):
        vocabulary = settings_of(folder_of(name)).load("cpu")._decoder._vocabulary
        assert bool(vocabulary.digits) is not joins
        assert len(vocabulary.encode("10")) == 2 - joins


@pytest.mark.parametrize("begins", ["{", "<|im_end|>"])
def test_reasoning_ends_where_the_model_begins_the_object_or_stops(recurrent, begins):
    head = recurrent._model.lm_head
    bias = torch.zeros(head.out_features)
    bias[recurrent._processor.tokenizer.convert_tokens_to_ids(begins)] = 1000.0
    bias[recurrent._decoder._vocabulary.digits] = 990.0
    hook = head.register_forward_hook(lambda *called: called[2] + bias)
    decoder = recurrent._decoder
    most = decoder._max_reasoning_tokens
    try:
        found = recurrent.judge(pairs(1))
        decoder._max_reasoning_tokens = 0
        assert recurrent.judge(pairs(1)) == found
    finally:
        hook.remove()
        decoder._max_reasoning_tokens = most
    assert found[0].reply.startswith("{")


def test_reasoning_is_what_generate_writes(judge):
    (pair,) = pairs(1)
    (judgement,) = judge.judge([pair])
    inputs = judge._chat.inputs(pair)
    own = judge._model.generate(**inputs, max_new_tokens=4, do_sample=False)
    written = own[0, inputs["input_ids"].shape[1] :].tolist()
    assert len(written) == 4 and not set(written) & set(judge._decoder._stops.tolist())
    free = judge._decoder._vocabulary.decode(written)
    assert judgement.reply.startswith(free)
    assert judgement.usage.reply_tokens > 4


@pytest.mark.parametrize("mode", ["reasoned", "score_only"])
def test_a_model_that_the_fast_path_knows_is_judged_alike_on_both(models, mode):
    settings = settings_of(models / "judge", mode=mode)
    fast, plain = settings.load("cpu"), PlainJudge(settings, "cpu")
    assert type(fast) is Qwen3VLJudge
    given = [*pairs(), *pairs(1, seed=7), *pairs(1, rejected=Rejected("No.", "Found none."))]
    given += [*pairs(rubric=ALL), *pairs(2, rubric=ALL, seed=7)]
    given += pairs(1, rubric=ALL.model_copy(update={"system": None}), images=("edited",))
    for one, other in zip(fast.judge(given), plain.judge(given), strict=True):
        assert (one.reply, one.usage) == (other.reply, other.usage)
        assert one.schema_mass == pytest.approx(other.schema_mass, abs=2e-4)
        for name, shares in one.probabilities.items():
            assert shares == pytest.approx(other.probabilities[name], abs=1e-5)


def test_a_call_shows_its_images_and_may_have_no_system_text(judge):
    bare = RUBRIC.model_copy(update={"system": None})
    (pair,) = pairs(1, rubric=bare, images=("edited",))
    asked = judge._chat.inputs(pair)["input_ids"].shape[1]
    judgement, other = judge.judge([pair, pair._replace(source=pair.edited)])
    assert judgement == other and judgement.usage.prompt_tokens == asked
    assert asked < judge._chat.inputs(pairs(1)[0])["input_ids"].shape[1]
    whole = pair._replace(images=("edited", "source"))
    assert judge.judge([whole])[0].probabilities != judgement.probabilities
    # images stand before the user's text, whatever comes before it
    again = whole._replace(rejected=Rejected("No.", "Found none."))
    for own, roles in ((again, ["user"]), (again._replace(rubric=RUBRIC), ["system", "user"])):
        before, behind = judge._chat.text(own).split(own.prompt)
        assert re.findall("system|user", before) == roles
        marks = (getattr(judge._processor, name, None) for name in ("image_token", "boi_token"))
        assert 2 in [before.split("user")[1].count(mark) for mark in marks if mark]
        assert behind.index("No.") < behind.index("Found none.")


def test_a_sampled_reply_follows_from_its_seed(recurrent):
    given = [*pairs(1, seed=1), *pairs(1, seed=2), *pairs(1, seed=1)]
    first, second, third = recurrent.judge(given)
    assert first == third != second


def test_a_scale_of_fewer_values_is_kept(recurrent):
    scale = RUBRIC.reply.model_copy(update={"minimum": 1, "maximum": 5})
    five = RUBRIC.model_copy(update={"reply": scale})
    (judgement,) = recurrent.judge(pairs(1, rubric=five))
    assert set(parse_reply(judgement.reply, five).criteria.values()) <= set(range(1, 6))
    assert {len(shares) for shares in judgement.probabilities.values()} == {5}


def test_a_template_that_can_is_told_that_the_model_is_not_to_think(recurrent, folder_of):
    (pair,) = pairs(1)
    assert recurrent._chat.switches == {"enable_thinking": False}
    assert not recurrent._chat.text(pair).endswith("<think>")
    told = settings_of(folder_of("internvl")).load("cpu")._chat
    assert told.switches == {} and told.text(pair).endswith("<assistant>\n")


def test_a_path_is_told_in_one_line(models, folder_of, tmp_path, caplog):
    caplog.set_level(logging.INFO, "lockstep")
    folder_of("internvl")
    caplog.clear()
    settings_of(folder_of("internvl")).load("cpu")
    assert [line for line in caplog.messages if "plainly" in line] == [
        "model type internvl (InternVL 3 and 3.5) has no fast path: edits are judged plainly, one "
        "at a time"
    ]
    caplog.clear()
    settings_of(models / "judge").load("cpu")
    assert "plainly" not in caplog.text


def with_config(folder, copy, **changes):
    shutil.copytree(folder, copy)
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return copy


def test_a_type_that_nobody_tried_is_judged_plainly_and_says_so(folder_of, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "lockstep")
    known = {name: own for name, own in paths.KNOWN.items() if name != "glm4v"}
    monkeypatch.setattr(paths, "KNOWN", known)
    found = settings_of(folder_of("glm4v")).load("cpu")
    assert isinstance(found, PlainJudge)
    assert "model type glm4v is not known: edits are judged plainly, one at a time" in caplog.text


@pytest.mark.parametrize("kind", ["qwen3_vl", "transformers"])
def test_both_types_take_the_path_of_the_model(models, folder_of, kind):
    given = {"dtype": "float32", "min_schema_mass": 0.0, "mode": "score_only"}
    settings = {"qwen3_vl": Qwen3VLSettings, "transformers": TransformersSettings}[kind]
    for folder, path in [(models / "judge", Qwen3VLJudge), (folder_of("qwen3_5"), PlainJudge)]:
        assert type(settings(type=kind, model=str(folder), **given).load("cpu")) is path


@pytest.mark.parametrize("windows", [False, True])
def test_layers_with_windows_are_not_for_the_fast_path(tmp_path, monkeypatch, windows):
    own = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 2}
    text = {"num_hidden_layers": 4, **(own if windows else {})}
    transformers.Qwen2_5_VLConfig(text_config=text).save_pretrained(tmp_path)
    for name in ("PlainJudge", "Qwen3VLJudge"):
        monkeypatch.setattr(paths, name, lambda *_, name=name: name)
    expected = "PlainJudge" if windows else "Qwen3VLJudge"
    assert settings_of(tmp_path).load("cpu") == expected


@pytest.mark.parametrize(
    "config",
    [
        transformers.Qwen3Config(num_hidden_layers=1),
        transformers.CLIPConfig(),
        transformers.Florence2Config(),
        transformers.T5Config(),
    ],
    ids=lambda config: config.model_type,
)
def test_a_model_that_reads_no_images_is_refused_before_it_is_loaded(config, tmp_path, monkeypatch):
    config.save_pretrained(tmp_path)
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ConfigError) as refused:
        settings_of(tmp_path).load("cpu")
    assert str(refused.value) == (
        f"judge: {tmp_path}: expected a model that reads images and writes text "
        f"(AutoModelForImageTextToText of transformers {transformers.__version__}), found model "
        f"type {config.model_type!r}"
    )


def test_code_beside_a_model_is_not_run(folder_of, tmp_path):
    code = {"auto_map": {"AutoConfig": "own.OwnConfig"}, "model_type": "own"}
    folder = with_config(folder_of("internvl"), tmp_path / "judge", **code)
    (folder / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ConfigError, match="cannot load"):
        settings_of(folder).load("cpu")


@pytest.mark.parametrize("name", ["qwen3_5", "gemma4"])
def test_other_weights_are_another_judge(folder_of, tmp_path, name):
    same, other = tmp_path / "same", tmp_path / "other"
    for copy in (same, other):
        shutil.copytree(folder_of(name), copy)
    changed(other, add_one)
    own, moved, else_ = (keys.identity(settings_of(f)) for f in (folder_of(name), same, other))
    assert own == moved != else_


def add_one(tensors):
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1


def test_a_judge_without_a_template_or_images_in_it_is_refused(folder_of, tmp_path):
    folder = tmp_path / "judge"
    shutil.copytree(folder_of("gemma4"), folder)
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|image|>", ""))
    with pytest.raises(ConfigError, match="found one that leaves out images"):
        settings_of(folder).load("cpu")


def test_failures_are_told_apart(recurrent, monkeypatch):
    def fail(error):
        def reply(*_):
            raise error

        monkeypatch.setattr(recurrent._decoder, "reply", reply)

    fail(torch.OutOfMemoryError("too large"))
    with pytest.raises(OutOfMemory):
        recurrent.judge(pairs(1))
    fail(torch.AcceleratorError("an illegal memory access"))
    with pytest.raises(DeviceError):
        recurrent.judge(pairs(1))


def test_a_model_that_gives_no_numbers_gives_no_score(recurrent):
    hook = recurrent._model.lm_head.register_forward_hook(lambda *called: called[2] * math.nan)
    try:
        (judgement,) = recurrent.judge(pairs(1))
    finally:
        hook.remove()
    assert judgement.reply is None and "gave no numbers" in judgement.error
    assert recurrent.judge(pairs(1))[0].reply


def test_the_page_on_judges_lists_the_paths():
    page = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \| (fast|plain)\b", page, re.MULTILINE)
    assert rows == [
        (known.name, name, "fast" if known.is_fast else "plain")
        for name, known in paths.KNOWN.items()
    ]
    assert set(tiny_judges.MAKE) == {name for name, own in paths.KNOWN.items() if not own.is_fast}
