"""Reward models: the numbers of a head are criteria."""

import math
import re

import pytest
import torch
import transformers
from PIL import Image

from lockstep.config.load import load_config
from lockstep.devices import device
from lockstep.devices.settings import DeviceSettings
from lockstep.errors import ConfigError, DeviceError, OutOfMemory
from lockstep.judges import keys
from lockstep.judges.reward import RewardSettings
from lockstep.rubrics import combine
from lockstep.rubrics.kinds import Scale
from lockstep.rubrics.rubric import read_rubric
from tests import tiny_judges
from tests.conftest import ROOT
from tests.score_job import Job
from tests.unit.test_config import BASE
from tests.unit.test_judge_models import RUBRIC, pairs
from tests.unit.test_kinds import CHOICE, LIST, YES_NO, rubric

DEVICES = device.devices(DeviceSettings(accelerator="cpu", device_ids=(0,)))
WIDE = {"a": (1, -1e4, 1e4), "b": (0, -1e4, 1e4)}
"""Ranges in which all numbers lie."""


def settings_of(folder, outputs=WIDE, **given):
    named = {
        name: {"output": output, "lowest": lowest, "highest": highest}
        for name, (output, lowest, highest) in outputs.items()
    }
    given = {"dtype": "float32", **given}
    return RewardSettings(type="reward", model=str(folder), outputs=named, **given)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewards")
    for name, make in tiny_judges.MAKE_REWARD.items():
        make(folder / name, 2)
    return folder


@pytest.fixture(scope="module", params=sorted(tiny_judges.MAKE_REWARD))
def judge(request, folders):
    return settings_of(folders / request.param).load("cpu")


@pytest.fixture(scope="module")
def qwen(folders):
    return settings_of(folders / "qwen3_5").load("cpu")


def numbers(judge, pair):
    """Return what the model itself says of a pair."""
    with torch.inference_mode():
        return judge._model(**judge._chat.inputs(pair)).logits[0].tolist()


def test_numbers_become_criteria_on_a_straight_line(judge):
    given = pairs()
    found = judge.judge(given)
    for pair, judgement in zip(given, found, strict=True):
        first, second = numbers(judge, pair)
        expected = {"a": 5 + second / 2e3, "b": 5 + first / 2e3}
        assert judgement.finished.criteria == pytest.approx(expected, abs=1e-6)
        assert judgement.error is judgement.reply is judgement.probabilities is None
        assert judgement.usage.reply_tokens == 0
    assert found[0].finished != found[1].finished
    # to the last bit
    assert judge.judge(given[::-1])[::-1] == found


def test_ends_of_a_range_are_ends_of_the_scale(folders, qwen):
    (pair,) = pairs(1)
    first, second = numbers(qwen, pair)
    scale = Scale(type="integer", minimum=1, maximum=5)
    pair = pair._replace(rubric=RUBRIC.model_copy(update={"reply": scale}))
    outputs = {"a": (0, first, first + 1), "b": (1, second - 1, second)}
    # what a model gives twice is the same number
    (judgement,) = settings_of(folders / "qwen3_5", outputs).load("cpu").judge([pair])
    assert judgement.finished.criteria == {"a": 1, "b": 5}
    outputs = {"a": (0, first + 1, first + 2), "b": (1, second - 1, second)}
    (judgement,) = settings_of(folders / "qwen3_5", outputs).load("cpu").judge([pair])
    assert judgement.finished is None
    assert judgement.error == (
        f"a: expected a number from {first + 1} to {first + 2} (judge.outputs), found {first:.6g}"
    )


def test_a_model_that_gives_no_numbers_gives_no_score(qwen):
    hook = qwen._model.score.register_forward_hook(lambda *called: called[2] * math.nan)
    try:
        (judgement,) = qwen.judge(pairs(1))
    finally:
        hook.remove()
    assert judgement.finished is None and "gave no numbers" in judgement.error


def test_what_was_given_once_is_kept_and_combined_by_todays_rubric(folders, tmp_path, monkeypatch):
    names = {"instruction_following", "physics", "preservation", "quality"}
    settings = settings_of(
        folders / "qwen3_5", {**dict.fromkeys(names, WIDE["a"]), "physics": WIDE["b"]}
    )
    job = Job(tmp_path, [Image.new("RGB", (64, 64), (90 * i, 0, 0)) for i in range(2)])
    found = job.run(settings, DEVICES)
    assert {record.status for record in found.values()} == {"ok"}
    assert all(set(record.criteria) == names for record in found.values())
    monkeypatch.setattr(RewardSettings, "load", lambda *_: pytest.fail("it was loaded"))
    again = job.run(settings, DEVICES)
    assert {record.cached for record in again.values()} == {True}
    for name, record in again.items():
        assert record.model_copy(update={"cached": False}) == found[name]
    text = job.rubric.read_text(encoding="utf-8")
    job.rubric = tmp_path / "physical.yaml"
    job.rubric.write_text(re.sub(r"(?m)^combine: .*$", "combine: min", text), encoding="utf-8")
    for name, record in job.run(settings, DEVICES).items():
        assert record.cached and record.criteria == found[name].criteria
        assert record.score == min(record.criteria.values()) < found[name].score


def test_the_identity_holds_what_decides_a_number(folders):
    own = keys.identity(settings_of(folders / "qwen3_5"))
    assert keys.identity(settings_of(folders / "qwen3_5")) == own
    other = {**WIDE, "a": (1, -1e4, 2e4)}
    assert keys.identity(settings_of(folders / "qwen3_5", other)) != own
    assert keys.identity(settings_of(folders / "qwen3_5", dtype="bfloat16")) != own
    assert keys.identity(settings_of(folders / "gemma3")) != own


def test_a_criterion_without_a_number_is_one_sentence():
    settings = settings_of("some/model", {"a": (0, 0, 1), "bb": (1, 0, 1)})
    with pytest.raises(ConfigError, match=r"judge.outputs: expected 'b', a criterion of .*, found"):
        settings.check_scores([], {"physical": RUBRIC})
    settings_of("some/model").check_scores([], {"physical": RUBRIC})


def test_a_criterion_of_another_scale_has_values_of_its_own(folders, qwen):
    given = rubric({"type": "integer", "minimum": 0, "maximum": 25}, LIST)
    entries = dict.fromkeys(("done", "kept"), WIDE["a"])
    settings = settings_of(folders / "qwen3_5", {"ca": WIDE["b"], **entries})
    settings.check_scores([], {"physical": given})
    (pair,) = pairs(1, rubric=given)
    (judgement,) = settings.load("cpu").judge([pair])
    first, second = numbers(qwen, pair)
    expected = {"ca": 12.5 + first / 800, **dict.fromkeys(("done", "kept"), 5 + second / 2e3)}
    assert judgement.finished.criteria == pytest.approx(expected, abs=1e-6)
    assert judgement.finished.score == combine.score(given, judgement.finished.criteria)


@pytest.mark.parametrize("kind", [YES_NO, CHOICE], ids=["yes_no", "choice"])
def test_words_are_no_answers_of_a_reward_model(kind):
    settings = settings_of("some/model", {"ca": (0, 0, 1)})
    with pytest.raises(
        ConfigError, match=r"ca: reply: expected a kind of number .*, found \"\w+ or"
    ):
        settings.check_scores([], {"physical": rubric(kind)})


def test_a_rubric_of_several_calls_is_none_for_a_reward_model():
    several = read_rubric(ROOT / "config/rubrics/viescore_calls.yaml")
    with pytest.raises(ConfigError, match=r"expected a rubric of one call for a .*, found 2 calls"):
        settings_of("some/model").check_scores([], {"physical": several})


def test_a_number_that_the_model_does_not_have_is_one_sentence(folders):
    with pytest.raises(ConfigError, match=r"judge.outputs.a: expected a number of .* has 2, .* 2$"):
        settings_of(folders / "qwen3_5", {"a": (2, 0, 1)}).load("cpu")


def test_a_range_ascends():
    judge = {"type": "reward", "model": "a/b"}
    for lowest, highest in ((1, 1), (2, 1)):
        outputs = {"a": {"output": 0, "lowest": lowest, "highest": highest}}
        with pytest.raises(ConfigError, match="expected lowest below highest"):
            load_config({**BASE, "judge": {**judge, "outputs": outputs}}, "c.yaml")
    with pytest.raises(ConfigError, match=r"judge.outputs"):
        load_config({**BASE, "judge": {**judge, "outputs": {}}}, "c.yaml")


@pytest.mark.parametrize("kind", ["text", "no head"])
def test_a_model_without_images_or_without_a_head_is_refused(kind, folders, models, tmp_path):
    if kind == "text":
        transformers.Qwen3Config(num_labels=2).save_pretrained(tmp_path)
        expected = "reads images and has a head that gives numbers"
    else:
        # as a model that writes text, without the head's weights
        tiny_judges.MAKE["qwen3_5"](tmp_path)
        expected = "no fitting weights for score.weight"
    with pytest.raises(ConfigError, match=expected):
        settings_of(tmp_path).load("cpu")
    with pytest.raises(ConfigError, match="found model type 'qwen3_vl'"):
        settings_of(models / "judge").load("cpu")


def test_failures_are_told_apart(qwen, monkeypatch):
    for error, told in (
        (torch.OutOfMemoryError("too large"), OutOfMemory),
        (torch.AcceleratorError("an illegal memory access"), DeviceError),
    ):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(qwen._model, "forward", fail)
        with pytest.raises(told):
            qwen.judge(pairs(1))
