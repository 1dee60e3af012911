"""Judges on the tiny model: the real classes, the real code."""

import math
import shutil
import weakref
from contextlib import contextmanager

import pytest
import torch
import transformers
from PIL import Image, ImageOps

from lockstep.errors import ConfigError, DeviceError, OutOfMemory
from lockstep.judges import keys
from lockstep.judges.precomputed import PrecomputedJudgeSettings
from lockstep.judges.protocol import Pair, Rejected
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.qwen3_vl import judge as qwen3_vl
from lockstep.judges.qwen3_vl.decoding import AHEAD
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.judges.qwen3_vl.prompts import Prefixes
from lockstep.judges.qwen3_vl.rows import Request, Row
from lockstep.judges.qwen3_vl.slots import Slots
from lockstep.judges.qwen3_vl.vocabulary import Vocabulary
from lockstep.rubrics.replies import parse_reply
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT, without_a_tensor
from tests.pretended_gpus import pretended_gpus

RUBRIC = read_rubric(ROOT / "config/rubrics/physical.yaml")
SHORT = RUBRIC.model_copy(update={"criteria": RUBRIC.criteria[:2], "caps": ()})


def settings_of(models, **settings):
    given = {"dtype": "float32", "max_reasoning_tokens": 16, "min_schema_mass": 0.0}
    model = str(models / "judge")
    return Qwen3VLSettings(type="qwen3_vl", model=model, **{**given, **settings})


@pytest.fixture(scope="module")
def loaded(models):
    modes = ("reasoned", "score_only")
    return {mode: Qwen3VLJudge(settings_of(models, mode=mode), "cpu") for mode in modes}


def as_new(judge):
    """Return a judge that other tests have left nothing with, and no want of memory."""
    judge._prefixes.clear()
    judge._prefixes.most = judge._most = None
    judge._decoder.forget()
    return judge


@pytest.fixture
def reasoned(loaded):
    return as_new(loaded["reasoned"])


@pytest.fixture
def score_only(loaded):
    return as_new(loaded["score_only"])


@pytest.fixture(params=["reasoned", "score_only"])
def judge(request):
    return request.getfixturevalue(request.param)


def pairs(count=8, **fields):
    """Return pairs of all sizes and lengths."""
    return [
        Pair(
            id=f"p{i}",
            editor="e",
            source=Image.new("RGB", (64 + 30 * i, 80), (i * 30, 9, 9)),
            edited=Image.new("RGB", (128, 64 + 10 * i), (0, i * 20, 255)),
            rubric=RUBRIC,
            # a prompt of the rubric is long: the tiny tokenizer knows single bytes alone
            prompt="Let go! " * (i + 1),
        )._replace(**fields)
        for i in range(count)
    ]


@contextmanager
def leaning(judge, **logits):
    """Let the model prefer tokens: raise the logits of single characters."""
    head = judge._model.lm_head
    bias = torch.zeros(head.out_features)
    for name, raised in logits.items():
        character = {"open": "{", "end": "<|im_end|>", "comma": ",", "dot": "."}.get(name, name[-1])
        bias[judge._processor.tokenizer.convert_tokens_to_ids(character)] = raised
    head.bias = torch.nn.Parameter(bias)
    try:
        yield
    finally:
        head.bias = None


def assert_alike(found, expected):
    """Hold what must be the same whatever is judged beside it.

    On a CPU the last bits of a probability may differ: libraries choose how to add by the number of
    rows. What is said never does.
    """
    assert [(j.reply, j.usage) for j in found] == [(j.reply, j.usage) for j in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities.keys() == other.probabilities.keys()
        for name, own in one.probabilities.items():
            assert own == pytest.approx(other.probabilities[name], abs=1e-5)


def in_batches(judge, given, size):
    return [j for k in range(0, len(given), size) for j in judge.judge(given[k : k + size])]


def test_a_judgement_is_a_valid_score_even_from_random_weights(judge):
    for judgement in judge.judge(pairs(3)):
        assert set(parse_reply(judgement.reply, RUBRIC).criteria) == set(RUBRIC.names)
        assert 0 <= judgement.schema_mass < 0.5, "random weights would not have said so"


# 1 and 10 begin alike, so that some rows take a token more than others
@pytest.mark.parametrize("lean", [{}, {"digit_1": 4.0, "digit_0": 0.0}], ids=["plain", "tens"])
def test_judgements_depend_on_neither_batch_nor_order(judge, lean):
    given = pairs()
    with leaning(judge, **lean):
        alone = in_batches(judge, given, 1)
        for size in (3, 8):
            together = in_batches(judge, given, size)
            assert_alike(together, alone)
            assert_alike(in_batches(judge, given[::-1], size)[::-1], alone)
    assert len({judgement.reply for judgement in alone}) > 1
    values = {v for j in alone for v in parse_reply(j.reply, RUBRIC).criteria.values()}
    assert (10 in values and len(values) > 2) or not lean


def test_rubrics_of_different_lengths_go_together(judge):
    first, second, third = pairs(3)
    second = second._replace(rubric=SHORT)
    alone = [judge.judge([pair])[0].reply for pair in (first, second, third)]
    assert [j.reply for j in judge.judge([first, second, third])] == alone
    assert set(parse_reply(alone[1], SHORT).criteria) == set(SHORT.names)


@pytest.mark.parametrize("longer", [1, 7, 300])
def test_a_longer_prompt_beside_it_changes_nothing(judge, longer):
    """It begins its reply behind slots that it does not use, as behind padding."""
    (given,) = pairs(1)
    companion = given._replace(prompt=given.prompt + "x" * longer)
    alone = judge.judge([given])
    assert_alike(judge.judge([given, companion])[:1], alone)
    assert_alike(judge.judge([companion, given])[1:], alone)
    # and so does what an earlier, longer batch left in the slots
    assert_alike(judge.judge([given]), alone)


def edits_of_one_sample(count=4, **fields):
    """Return pairs of several editors: one source, edits and texts of all sizes and lengths."""
    (first, *_) = given = pairs(count, **fields)
    return [pair._replace(source=first.source, editor=f"e{i}") for i, pair in enumerate(given)]


def passes(judge, given):
    """Judge, and return what came of it and how many tokens each pass had."""
    widths = []
    embedding = judge._model.model.language_model.embed_tokens
    hook = embedding.register_forward_hook(lambda *called: widths.append(called[1][0].shape[1]))
    try:
        return judge.judge(given), widths
    finally:
        hook.remove()


def test_the_first_part_of_a_prompt_is_read_once_for_all_editors(judge):
    given = edits_of_one_sample()
    judge._prefixes.clear()
    expected, first = [], []
    for pair in given:
        judge._prefixes.clear()
        found, widths = passes(judge, [pair])
        expected += found
        first.append(widths[0])
    assert len(set(first)) == 1
    judge._prefixes.clear()
    one_by_one = [passes(judge, [pair]) for pair in given]
    # to the last bit, not only what is said
    assert [judgement for found, _ in one_by_one for judgement in found] == expected
    assert [widths.count(first[0]) for _, widths in one_by_one] == [1, 0, 0, 0]
    judge._prefixes.clear()
    together, widths = passes(judge, given)
    assert widths.count(first[0]) == 1
    again, widths = passes(judge, given)
    assert again == together
    assert first[0] not in widths
    assert_alike(together, expected)


def changed(image):
    image = image.copy()
    image.putpixel((3, 5), (1, 2, 3))
    return image


@pytest.mark.parametrize(
    "other",
    [
        lambda pair: pair._replace(source=changed(pair.source)),
        lambda pair: pair._replace(source=pair.source.resize((80, 64))),
        lambda pair: pair._replace(more=[pair.edited]),
        lambda pair: pair._replace(reference=pair.source),
        lambda pair: pair._replace(rubric=RUBRIC.model_copy(update={"system": "Judge."})),
    ],
    ids=["a pixel", "another shape", "one more image", "a reference", "another system text"],
)
def test_nothing_is_taken_for_the_first_part_of_another_prompt(score_only, other):
    (pair,) = pairs(1)
    score_only._prefixes.clear()
    expected = score_only.judge([other(pair)])
    score_only._prefixes.clear()
    score_only.judge([pair])
    found, widths = passes(score_only, [other(pair)])
    assert found == expected
    assert len(widths) == 2 + len(RUBRIC.names) + 1


def test_what_was_used_longest_ago_makes_room(score_only, monkeypatch):
    (first,) = pairs(1)
    second = first._replace(source=changed(first.source))
    third = first._replace(source=ImageOps.invert(first.source))
    score_only._prefixes.clear()
    (expected,), widths = passes(score_only, [first])
    prefixes = Prefixes(int(2.5 * widths[0]))
    monkeypatch.setattr(score_only, "_prefixes", prefixes)
    score_only._decoder.forget()

    def told_in(pair):
        return len(passes(score_only, [pair])[1]) - len(RUBRIC.names) - 1

    assert [told_in(pair) for pair in (first, second, first, third)] == [2, 2, 1, 2]
    assert [told_in(pair) for pair in (first, third, second)] == [1, 1, 2]
    # what was there when a prompt was made is there until it is read
    prompt = score_only._prompt(second)
    assert prompt.prefix is not None and prompt.first.pixels is None
    prefixes.clear()
    assert prompt.prefix.tokens == prompt.first.tokens.shape[1]
    # and no room at all is no mistake
    prefixes.most = 10
    assert_alike(score_only.judge([first]), [expected])
    assert prefixes.clear() == 0


def test_a_warm_up_changes_no_reply_and_keeps_nothing(score_only):
    score_only._prefixes.clear()
    expected = score_only.judge(pairs(2))
    score_only._prefixes.clear()
    score_only._warm_up()
    assert score_only.judge(pairs(2)) == expected


def plain(judge, pair, text):
    """Return the log probabilities after a text, from one pass without cache and padding."""
    inputs = judge._processor(
        text=[judge._chat.text(pair) + text], images=[pair.source, pair.edited], return_tensors="pt"
    )
    with torch.inference_mode():
        return judge._model(**inputs).logits[0, -1].log_softmax(-1).tolist()


@pytest.mark.parametrize(
    "lean",
    [{}, {"digit_1": 10.0, "digit_0": 4.0}, {"comma": 9.0}],
    ids=["plain", "tens", "no digits"],
)
def test_probabilities_are_those_of_a_plain_pass_over_the_text(score_only, lean):
    judge = score_only
    ids = judge._processor.tokenizer.convert_tokens_to_ids
    (pair,) = pairs(1)
    with leaning(judge, **lean):
        (judgement,) = judge.judge([pair])
        values = parse_reply(judgement.reply, RUBRIC).criteria
        text, least = "{", 1.0
        for name in RUBRIC.names:
            text += f'"{name}": '
            first = [math.exp(plain(judge, pair, text)[ids(digit)]) for digit in "0123456789"]
            after = [math.exp(value) for value in plain(judge, pair, text + "1")]
            ends = sum(after[ids(token)] for token in (",", "}", "Ġ", "Ċ", "č", "ĉ"))
            ten, one = after[ids("0")], ends
            expected = [*first, first[1] * ten / (ten + one)]
            expected[1] *= one / (ten + one)
            expected = [share / sum(expected) for share in expected]
            assert judgement.probabilities[name] == pytest.approx(expected, abs=2e-6)
            assert sum(judgement.probabilities[name]) == pytest.approx(1, abs=1e-5)
            text += str(values[name])
            behind = [math.exp(value) for value in plain(judge, pair, text)]
            least = min(
                least,
                sum(first),
                sum(behind[ids(token)] for token in (",", "}", "Ġ", "Ċ", "č", "ĉ"))
                + (ten if values[name] == 1 else 0),
                ten + one if values[name] == 10 else 1,
            )
            text += ", "
        assert judgement.schema_mass == pytest.approx(least, abs=1e-4)
    if "digit_0" in lean:
        assert 10 in values.values()


def test_the_reasoning_is_what_the_model_writes_by_itself(reasoned):
    judge = reasoned
    (pair,) = pairs(1)
    (judgement,) = judge.judge([pair])
    inputs = judge._processor(
        text=[judge._chat.text(pair)], images=[pair.source, pair.edited], return_tensors="pt"
    )
    output = judge._model.generate(**inputs, max_new_tokens=16, do_sample=False)
    free = judge._processor.decode(
        output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert len(free) > 4 and "{" not in free
    assert judgement.reply.startswith(free + "\n{")


@pytest.mark.parametrize("token", ["open", "end"])
def test_reasoning_ends_where_the_model_begins_the_object_or_stops(reasoned, token, monkeypatch):
    steps, step = [], Slots.step
    monkeypatch.setattr(Slots, "step", lambda *given: steps.append(1) or step(*given))
    with leaning(reasoned, **{token: 1000.0}):
        (judgement,) = reasoned.judge(pairs(1))
    # the device may be told of some before it has said so
    assert len(steps) == AHEAD
    assert judgement.reply.startswith('{"instruction_following": ')
    # a token is a byte, and no other was written
    assert judgement.usage.reply_tokens == len(judgement.reply)


def test_one_row_may_write_on_where_another_has_ended(reasoned):
    given = pairs()
    # enough for some of them to begin the object early
    with leaning(reasoned, open=4.0):
        alone = in_batches(reasoned, given, 1)
        together = reasoned.judge(given)
    lengths = {len(parse_reply(judgement.reply, RUBRIC).reasoning) for judgement in alone}
    assert len(lengths) > 2
    assert_alike(together, alone)


def test_scores_alone_take_one_pass_over_the_prompt_and_a_step_for_each(score_only):
    score_only._prefixes.clear()
    (judgement,), widths = passes(score_only, pairs(1))
    assert judgement.reply.startswith("{")
    # a prompt is read in two parts; the last step reads that the last value ends
    assert len(widths) == 2 + len(RUBRIC.names) + 1
    assert sum(widths[:2]) == judgement.usage.prompt_tokens
    assert min(widths[:2]) > max(widths[2:])


def test_a_sampled_reply_depends_on_its_seed_and_on_nothing_beside_it(judge):
    given = [pair._replace(seed=number) for number, pair in enumerate(pairs(4))]
    alone = in_batches(judge, given, 1)
    assert_alike(judge.judge(given[::-1])[::-1], alone)
    seeds = [given[0]._replace(seed=seed) for seed in (*range(6), None, None)]
    *sampled, first, second = [judgement.reply for judgement in judge.judge(seeds)]
    assert len(set(sampled)) > 3
    reasonings = {reply.split("{")[0] for reply in sampled}
    assert len(reasonings) > 3 or reasonings == {""}
    assert first == second == judge.judge(pairs(1))[0].reply


def test_each_number_of_a_row_s_generator_is_drawn_once():
    for written, drawn in (([5, 6], 3), ([5, 6, 7, 8], 4)):
        row = Row(Request((), seed=3), vocabulary=None)
        given = row.draws(4)
        assert given == row.draws(4)
        row.write(written, most=4)
        assert row.draws(2) == Row(Request((), seed=3), None).draws(drawn + 2)[drawn:]


def test_values_are_sampled_by_their_probabilities(score_only):
    (pair,) = pairs(1)
    many = [pair._replace(seed=seed, rubric=SHORT) for seed in range(200)]
    judgements = [j for k in range(0, 200, 50) for j in score_only.judge(many[k : k + 50])]
    name = SHORT.names[0]
    found = [parse_reply(judgement.reply, SHORT).criteria[name] for judgement in judgements]
    shares = [share ** (1 / 0.7) for share in judgements[0].probabilities[name]]
    for value, share in enumerate(shares):
        expected = share / sum(shares)
        error = 4 * math.sqrt(expected * (1 - expected) / 200) + 0.01
        assert found.count(value) / 200 == pytest.approx(expected, abs=error)


def test_a_judge_that_would_have_said_more_is_told_from_one_that_would_not(score_only):
    given = pairs(1)
    with leaning(score_only, digit_7=60.0, comma=50.0):
        (unwilling,) = score_only.judge(given)
    # 77 is what it wanted to say
    assert unwilling.schema_mass < 0.01
    with leaning(score_only, digit_7=20.0, dot=50.0):
        (decimal,) = score_only.judge(given)
    assert decimal.schema_mass < 0.01


def test_a_judge_asked_once_more_sees_its_reply_and_the_error(judge):
    (pair,) = pairs(1)
    again = pair._replace(rejected=Rejected("I give it 7/10.", "Found no object."))
    chat = judge._chat.text(again)
    assert chat.startswith(judge._chat.text(pair))
    assert "<|im_start|>assistant\nI give it 7/10.<|im_end|>" in chat
    assert "<|im_start|>user\nFound no object.<|im_end|>" in chat
    assert chat.endswith("<|im_start|>assistant\n")
    assert judge.judge([again])[0].reply != judge.judge([pair])[0].reply


def test_a_model_that_gives_no_numbers_gives_no_score(judge):
    with leaning(judge, dot=math.nan):
        (judgement,) = judge.judge(pairs(1))
    assert judgement.reply is None
    assert "gave no numbers" in judgement.error


@pytest.mark.parametrize("where", ["prompt", "last value", "beside a failure"])
def test_an_edit_that_gives_no_numbers_leaves_those_after_it_alone(judge, where):
    """Memory is used again, and what is masked there is computed with all the same."""
    ill, well = pairs(1, prompt="~" * 500) + pairs(1)
    expected = judge.judge([well])
    (token,) = judge._processor.tokenizer.encode("~")

    def overflow(_, given, embedded):
        # two tokens are what a value takes at most, and none follows the last one
        found = given[0] == token if where != "last value" else torch.tensor(given[0].shape[1] == 2)
        return embedded.masked_fill(found[..., None], math.nan)

    embedding = judge._model.model.language_model.embed_tokens
    hook = embedding.register_forward_hook(overflow)
    try:
        if where == "beside a failure":
            with pytest.raises(AttributeError, match="NoneType"):
                judge.judge([ill, well._replace(source=None)])
        else:
            assert judge.judge([ill])[0].reply is None
    finally:
        hook.remove()
    assert_alike(judge.judge([well]), expected)


def test_out_of_memory_of_a_judge_is_told_from_other_failures(judge, monkeypatch):
    def fail(error):
        def reply(*_):
            raise error

        monkeypatch.setattr(judge._decoder, "reply", reply)

    fail(torch.OutOfMemoryError("too large"))
    with pytest.raises(OutOfMemory):
        judge.judge(pairs(1))
    fail(torch.AcceleratorError("an illegal memory access"))
    with pytest.raises(DeviceError):
        judge.judge(pairs(1))


def test_what_did_not_fit_is_given_back_before_less_is_tried(score_only, monkeypatch):
    judge, given, made = score_only, pairs(1), []
    # one prompt's first part is kept, and half as much is too little for it
    expected = judge.judge(given)

    def make(slots, *given):
        assert not any(held() for held in made)
        made.append(weakref.ref(slots))
        start(slots, *given)

    def compute(slots, *given):
        if slots._count > 1:
            raise torch.OutOfMemoryError("too large")
        return read(slots, *given)

    start, read = Slots.__init__, Slots.compute
    monkeypatch.setattr(Slots, "__init__", make)
    monkeypatch.setattr(Slots, "compute", compute)
    monkeypatch.setattr(judge, "_most", 4)
    # as on a GPU
    monkeypatch.setattr(judge, "_count", lambda _: judge._most)
    judge._decoder.forget()
    assert_alike(judge.judge(given), expected)
    # four rows once more without what is kept of prompts, two, one
    assert len(made) == 4


def test_a_tokenizer_that_joins_digits_is_refused():
    class Joining:
        def encode(self, text, **_):
            return list(text.replace("0,", "X").encode())

        def get_vocab(self):
            return {}

    with pytest.raises(
        ConfigError, match="expected a tokenizer that writes numbers in tokens of their own"
    ):
        Vocabulary(Joining())


def test_qwen2_5_vl_judges_too(models, tmp_path):
    from lockstep.demo import parts, tiny

    torch.manual_seed(0)
    tokenizer = tiny.make_tokenizer()
    vision = {"depth": 2, "initializer_range": tiny.SPREAD, "hidden_size": 32, "num_heads": 2}
    vision |= {"intermediate_size": 64, "out_hidden_size": 32, "fullatt_block_indexes": [1]}
    transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config=tiny.text_config(tokenizer, mrope_section=[1, 1, 2]),
            vision_config=vision,
            **parts.vision_token_ids(tokenizer),
        )
    ).save_pretrained(tmp_path / "judge")
    transformers.Qwen2_5_VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
        ),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(),
        chat_template=parts.CHAT_TEMPLATE,
    ).save_pretrained(tmp_path / "judge")
    judge = Qwen3VLJudge(settings_of(tmp_path), "cpu")
    given = pairs(3)
    assert_alike(judge.judge(given), in_batches(judge, given, 1))


SPREAD = {
    "model.visual": 0,
    "model.language_model.embed_tokens": 1,
    "model.language_model.layers.0": 0,
    "model.language_model.layers.1": 1,
    "model.language_model.norm": 0,
    "lm_head": 1,
}
"""What is on which of two GPUs: what follows one another is apart wherever it can be."""


@pytest.mark.parametrize("mode", ["reasoned", "score_only"])
def test_a_judge_on_two_gpus_judges_as_on_one(models, mode, monkeypatch):
    given = pairs(5)
    current, astray = [], set()

    def check(module, *_):
        if next(module.parameters()).device != current[-1]:
            astray.add(module)

    alone = Qwen3VLJudge(settings_of(models, mode=mode), "cpu").judge(given)
    two = settings_of(models, mode=mode, gpus_per_judge=2, device_map=SPREAD)
    with pretended_gpus(2):
        monkeypatch.setattr(torch.cuda, "set_device", current.append)
        judge = Qwen3VLJudge(two, "cuda")
        for module in judge._model.modules():
            if not list(module.children()) and list(module.parameters()):
                module.register_forward_hook(check)
        found = judge.judge(given)
        assert not astray
        assert {parameter.device.index for parameter in judge._model.parameters()} == {0, 1}
        assert [keys.device.index for keys in judge._decoder._slots.keys] == [0, 1]
        assert judge.fitting() == int(0.7 * 2**30) // 2**28
    assert_alike(found, alone)
    assert keys.identity(two) == keys.identity(settings_of(models, mode=mode))


def test_on_a_gpu_the_shape_of_a_step_does_not_depend_on_the_batch(models, monkeypatch):
    """By its shape a GPU chooses in which order to add."""
    given = pairs(3)
    long = given[0]._replace(prompt=given[0].prompt + "x" * 600)
    shapes = []

    def compute(slots, tokens, wanted):
        shapes.append(tokens.shape)
        return read(slots, tokens, wanted)

    read = Slots.compute
    settings = {"batch_size": 5, "max_reasoning_tokens": 1}
    with pretended_gpus(2):
        monkeypatch.setattr(Slots, "compute", compute)
        judge = Qwen3VLJudge(
            settings_of(models, gpus_per_judge=2, device_map=SPREAD, **settings), "cuda"
        )
        # those of its warm-up
        shapes.clear()
        alone = judge.judge(given[:1])
        once, shapes[:] = tuple(shapes), []
        beside = judge.judge([long, *given])[1:2]
    assert tuple(shapes) == once
    assert {count for count, _ in once} == {5}
    assert_alike(beside, alone)


def test_a_map_that_takes_a_layer_apart_is_refused(models):
    layer = "model.language_model.layers.0"
    apart = {**SPREAD, f"{layer}.self_attn": 1, f"{layer}.mlp": 0}
    apart |= {f"{layer}.input_layernorm": 0, f"{layer}.post_attention_layernorm": 0}
    del apart[layer]
    with (
        pretended_gpus(2),
        pytest.raises(ConfigError, match="one GPU, found a Qwen3VLTextDecoderLayer on several"),
    ):
        Qwen3VLJudge(settings_of(models, gpus_per_judge=2, device_map=apart), "cuda")


def test_a_large_model_is_spread_evenly_and_not_onto_the_host(tmp_path):
    # as Qwen3-VL-32B: 67 GB in bfloat16
    text = {"hidden_size": 5120, "intermediate_size": 25600, "num_hidden_layers": 64}
    text |= {"num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 151936}
    vision = {"depth": 27, "hidden_size": 1152, "out_hidden_size": 5120}
    transformers.Qwen3VLConfig(text_config=text, vision_config=vision).save_pretrained(
        tmp_path / "judge"
    )
    given = settings_of(tmp_path, gpus_per_judge=2, dtype="bfloat16")
    with pretended_gpus(2, free=75 * 10**9):
        found = qwen3_vl.device_map(given, "cuda")
    layers = [place for name, place in found.items() if ".layers." in name]
    assert layers == sorted(layers) and 24 <= layers.count(0) <= 40 and len(layers) == 64
    assert found["model.visual"] == 0
    # next to which the vision tower is more than half: it stays whole
    text |= {"num_hidden_layers": 1, "vocab_size": 1000}
    vision["depth"] = 100
    transformers.Qwen3VLConfig(text_config=text, vision_config=vision).save_pretrained(
        tmp_path / "small" / "judge"
    )
    small = settings_of(tmp_path / "small", gpus_per_judge=2, dtype="bfloat16")
    with pretended_gpus(2, free=75 * 10**9):
        assert not any("visual." in name for name in qwen3_vl.device_map(small, "cuda"))
    with (
        pretended_gpus(2, free=30 * 10**9),
        pytest.raises(ConfigError, match=r"gpus_per_judge: expected more GPUs for .*, found too "),
    ):
        qwen3_vl.device_map(given, "cuda")


def test_a_judge_with_missing_weights_is_refused_and_not_random(models, tmp_path):
    shutil.copytree(models / "judge", tmp_path / "judge")
    without_a_tensor(tmp_path / "judge")
    with pytest.raises(ConfigError, match=r"judge: .*: found no fitting weights for"):
        Qwen3VLJudge(settings_of(tmp_path), "cpu")


def test_a_cut_off_model_is_one_clear_error(models, tmp_path):
    shutil.copytree(models / "judge", tmp_path / "judge")
    path = tmp_path / "judge" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"judge: .*safetensors: expected .*, found 1,000"):
        Qwen3VLJudge(settings_of(tmp_path), "cpu")


def test_the_identity_of_a_judge_holds_what_decides_a_reply(models):
    own = keys.identity(settings_of(models))
    for same in ({"batch_size": 9}, {"use_batch_inference": False}, {"min_schema_mass": 0.9}):
        assert keys.identity(settings_of(models, **same)) == own
    # these are a matter of single judgements, and in their keys
    for same in ({"repeats": 3}, {"temperature": 1.0}, {"swapped_instruction": True}):
        assert keys.identity(settings_of(models, **same)) == own
    for other in ({"max_reasoning_tokens": 9}, {"mode": "score_only"}, {"dtype": "bfloat16"}):
        assert keys.identity(settings_of(models, **other)) != own


def test_finished_replies_are_found_by_editor_and_id(tmp_path):
    from lockstep.models import fingerprints as models_module

    given = PrecomputedJudgeSettings(type="precomputed", folder=str(tmp_path / "replies"))
    path = tmp_path / "replies" / "e" / "p0.txt"
    path.parent.mkdir(parents=True)
    path.write_text("I give it 7.", encoding="utf-8")
    first, second = given.load("cpu").judge(pairs(2))
    assert (first.reply, first.error) == ("I give it 7.", None)
    assert second.reply is None
    assert "p1.txt', found none" in second.error
    own = keys.identity(given)
    path.write_text("I give it 8.", encoding="utf-8")
    models_module.folder_hashes.cache_clear()
    assert keys.identity(given) != own
