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


def logs(judge, pair, text):
    """Return the log probabilities behind a text, from one pass without a cache."""
    inputs = judge._chat.inputs(pair)
    tokens = judge._processor.tokenizer.encode(text, add_special_tokens=False)
    count = len(tokens)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens])], dim=1)
    for name, beside in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if name in inputs:
            filled = torch.full((1, count), beside, dtype=inputs[name].dtype)
            inputs[name] = torch.cat([inputs[name], filled], dim=1)
    with torch.inference_mode():
        return judge._model(**inputs, use_cache=False).logits[0, -1].log_softmax(-1)


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


def test_probabilities_are_those_of_a_pass_without_a_cache(judge):
    """So positions, masks, windows and what a layer sums up are right in each step."""
    (pair,) = pairs(1)
    vocabulary = judge._decoder._vocabulary
    # what it writes by itself is more than its text
    judge._decoder._max_reasoning_tokens, most = 0, 4
    try:
        (judgement,) = judge.judge([pair])
    finally:
        judge._decoder._max_reasoning_tokens = most
    values, text, masses = parse_reply(judgement.reply, RUBRIC).criteria, "", []
    digits, splits = vocabulary.digits, len(vocabulary.ten) == 2
    for name, before in (("a", "{"), ("b", ", ")):
        text += f'{before}"{name}": '
        own = logs(judge, pair, text).exp().tolist()
        shares = [own[token] for token in vocabulary.single]
        masses.append(sum(shares))
        behind_1 = logs(judge, pair, text + "1").exp().tolist()
        ten, one = behind_1[digits[0]], sum(behind_1[token] for token in vocabulary.ends)
        if splits:
            shares += [shares[1] * ten / (ten + one)]
            shares[1] *= one / (ten + one)
        expected = [share / sum(shares) for share in shares]
        assert judgement.probabilities[name] == pytest.approx(expected, abs=2e-5)
        if splits and values[name] in (1, 10):
            masses.append(ten + one)
        if not splits or values[name] != 1:
            behind = logs(judge, pair, text + str(values[name])).exp().tolist()
            masses.append(sum(behind[token] for token in vocabulary.ends))
        text += str(values[name])
    assert judgement.schema_mass == pytest.approx(min(masses), abs=1e-4)


@pytest.mark.parametrize("begins", ["{", "<|im_end|>"])
def test_reasoning_ends_where_the_model_begins_the_object_or_stops(recurrent, begins):
    head = recurrent._model.lm_head
    bias = torch.zeros(head.out_features)
    bias[recurrent._processor.tokenizer.convert_tokens_to_ids(begins)] = 1000.0
    bias[recurrent._decoder._vocabulary.single] = 990.0
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
    for one, other in zip(fast.judge(given), plain.judge(given), strict=True):
        assert (one.reply, one.usage) == (other.reply, other.usage)
        assert one.schema_mass == pytest.approx(other.schema_mass, abs=2e-4)
        for name, shares in one.probabilities.items():
            assert shares == pytest.approx(other.probabilities[name], abs=1e-5)


def test_a_sampled_reply_follows_from_its_seed(recurrent):
    given = [*pairs(1, seed=1), *pairs(1, seed=2), *pairs(1, seed=1)]
    first, second, third = recurrent.judge(given)
    assert first == third != second


def test_a_scale_of_fewer_values_is_kept(recurrent):
    scale = RUBRIC.reply.model_copy(update={"minimum": 1, "maximum": 5})
    rubric = RUBRIC.model_copy(update={"reply": scale})
    (judgement,) = recurrent.judge(pairs(1, rubric=rubric))
    assert set(parse_reply(judgement.reply, rubric).criteria.values()) <= set(range(1, 6))
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
    with pytest.raises(ConfigError, match="a chat template that leaves out images"):
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
