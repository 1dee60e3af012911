"""Benchmarks with their authors' prompts: what a server is asked, and what comes of its replies.

The rubrics are those of `config/authors`, as they stand there. The files of the authors are made
up: they have the names and placeholders of the real ones and none of their words. How a case is
drawn holds the authors' arithmetic, written down from their code.
"""

import base64
import io
import json
import math
import random
import re
import shutil
from collections.abc import Mapping
from statistics import fmean
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
import pytest
import yaml
from PIL import Image

from lockstep import records
from lockstep.benchmark.categories import IMGEDIT
from lockstep.devices.device import Device
from lockstep.errors import ConfigError
from lockstep.figures import published
from lockstep.judges import keys
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.records import Picture
from lockstep.rubrics.protocol import PROTOCOL, read_protocol
from lockstep.rubrics.rubric import read_rubric
from lockstep.scoring.calls import asked, judge_calls, together
from lockstep.scoring.judgements import Place
from lockstep.scoring.replies import Judging
from tests.conftest import ROOT, make_sample
from tests.fake_server import answer

CASES = 30
FAILED = range(6, CASES, 8)
"""Cases of which one reply is none."""

VIE = (
    ("_prompts_0shot_two_image_edit_rule", ""),
    ("_prompts_0shot_tie_rule_SC", "from 0 to 10: <instruction>"),
    ("_prompts_0shot_rule_PQ", "from 0 to 10"),
)
KRIS = ("consist", "instruction_following", "view_instruction_following", "consist_temporal")
KRIS += ("instruction_temporal", "consist_multi", "instruction_multi")
RISE = {
    "prompt_consist": "{instruct}",
    "prompt_reasoning": "{instruct} {reference}",
    "prompt_reasoning_w_input": "{instruct} {reference}",
    "prompt_generation": "",
    "prompt_spatial_cons": "{instruct}",
    "prompt_spatial_ref": "{instruct} {reference}",
    "prompt_spatial_ref_img": "{instruct}",
    "prompt_spatial_ref_w_input": "{instruct} {reference}",
    "prompt_spatial_qual": "",
    "prompt_logical_cons_ans": "{instruct} {reference}",
    "prompt_logical_cons": "{instruct}",
    "prompt_logical_txt": "{reference}",
    "prompt_logical_img": "{instruct}",
}
TYPES = tuple(IMGEDIT)
RE_EDIT = ("physical", "environmental", "cultural", "causal", "referential")
USER = "{original_description} {edit_instruction} {rationale} {{yes}}"

SIGNS = {
    "VIEScore/viescore/vie_prompts.py": {"_context_no_delimit": "", **dict(VIE)},
    "Step1X-Edit/GEdit-Bench/viescore/vie_prompts.py": {"_context_no_delimit": "", **dict(VIE)},
    "EditScore/editscore/vie_prompts.py": {
        "_context_no_delimit_reasoning_first": "",
        **dict(VIE),
    },
    "ImgEdit-code/Benchmark/Basic/prompts.json": dict.fromkeys(TYPES, "<edit_prompt>"),
    "Kris_Bench/utils/prompts.py": {
        **{f"prompt_{name}": "{instruct} {{x}}" for name in KRIS},
        "prompt_dual_evaluation": "{instruct} {explanation} {{x}}",
        "prompt_quality": "{{x}}",
    },
    "RISEBench-code/utils.py": RISE,
    "UniREditBench-code/eval/utils.py": {
        "prompt_consist": "{instruct}",
        "prompt_reasoning_w_ref_image": "{instruct} {reference}",
        "prompt_generation": "",
    },
    "RE-Edit-code/single_scoring_part_vllm/scoring_config.yaml": {
        **{name: USER for name in RE_EDIT},
        "sc_metric": "{edit_instruction} {{x}}",
        "instruction_following": "{edit_instruction}",
    },
}
"""What of a sample stands in each text of an authors' file."""


def text_of(name, signs):
    return f"{name} says {signs}."


def text(file, name):
    return text_of(name, SIGNS[file][name])


def write_files(folder):
    for file, names in SIGNS.items():
        path = folder / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = {name: text_of(name, signs) for name, signs in names.items()}
        if path.suffix == ".py":
            told = "".join(f'{name} = """{own}"""\n' for name, own in texts.items())
        elif path.suffix == ".json":
            told = json.dumps(texts)
        else:
            own = {
                name: {"system_prompt": f"{name} rules {{x}}.\n", "user_prompt_template": user}
                for name, user in texts.items()
            }
            told = yaml.safe_dump({"prompts": own})
        path.write_text(told, encoding="utf-8")


class Case(NamedTuple):
    category: str
    calls: list
    """Text with `@i` and `@d` for instruction and description, images, and reply of each call."""
    numbers: dict | None
    """What its authors publish of it; None where they have nothing to count."""
    sample: Mapping = MappingProxyType({})
    """Fields of the sample; `reference` and `more` are counts of images."""


def told(score, **more):
    """Return a reply as authors ask for it."""
    return (
        "So.\n```json\n" + json.dumps({"reasoning": "It is so.", **more, "score": score}) + "\n```"
    )


def vie(file, context, categories, top, kind):
    """Return how a case of VIEScore is drawn: a pair of values for each of two calls."""

    def draw(pick, i):
        (a, b), (c, d) = ([pick.randint(0, top) for _ in range(2)] for _ in range(2))
        parts = [text(file, name) for name in (context, *(name for name, _ in VIE))]
        if top != 10:
            parts[2:] = [part.replace("10", str(top)) for part in parts[2:]]
        both = "\n".join(parts[:3]).replace("<instruction>", "@i")
        sc, pq = min(a, b) / (top / 10), min(c, d) / (top / 10)
        numbers = {
            "score": math.sqrt(sc * pq),
            "semantic_consistency": sc,
            "perceptual_quality": pq,
        }
        if top != 10:
            numbers |= {"prompt_following": a / (top / 10), "consistency": b / (top / 10)}
        alone = "\n".join([parts[0], parts[3]])
        calls = [[both, ["source", kind], told([a, b])], [alone, [kind], told([c, d])]]
        return Case(categories[i % len(categories)], calls, numbers)

    return draw


def imgedit(pick, i):
    first, *others = (pick.randint(1, 5) for _ in range(3))
    lines = ("Look", "A & B", "C")
    values = [first, *others]
    reply = "Brief reasoning: so it is.\n" + "\n".join(
        f"{name}: {value}" for name, value in zip(lines, values, strict=True)
    )
    # the prompts say that the second and third are no higher than the first
    counted = [first, *(min(first, own) for own in others)]
    category = TYPES[i % 9]
    said = text("ImgEdit-code/Benchmark/Basic/prompts.json", category)
    calls = [[said.replace("<edit_prompt>", "@i"), ["source", "edited"], reply]]
    numbers = {"score": sum(counted) / 3}
    if counted == values:
        # the line of step1_get_avgscore.py
        assert round(sum(values) / len(values), 2) == round(numbers["score"], 2)
    return Case(category, calls, numbers)


def kris(pick, i):
    file = "Kris_Bench/utils/prompts.py"
    several = ["source", "more0", "more1", "edited"]
    kinds = {
        "color_change": ("consist", "instruction_following", ["source", "edited"]),
        "viewpoint_change": ("consist", "view_instruction_following", ["source", "edited"]),
        "temporal_prediction": ("consist_temporal", "instruction_temporal", several),
        "multi-element_composition": ("consist_multi", "instruction_multi", several),
        "physics": ("consist", "dual_evaluation", ["source", "edited"]),
    }
    category = list(kinds)[i % 5]
    first, second, images = kinds[category]
    names = ["consistency_score", "instruction_score", "quality_score"]
    names += ["knowledge_score"] if category == "physics" else []
    values = {name: pick.randint(1, 5) for name in names}

    def said(name):
        return text(file, f"prompt_{name}").format(instruct="@i", explanation="@r")

    def reply(*wanted):
        return "Looks so. " + json.dumps({"reasoning": "x", **{n: values[n] for n in wanted}})

    follows = [*images, "reference"] if category == "viewpoint_change" else images
    calls = [
        [said(first), images, reply("consistency_score")],
        [said(second), follows, reply(*[n for n in names if n[0] in "ik"])],
        # its braces are doubled as they are in the file
        [text(file, "prompt_quality"), ["edited"], reply("quality_score")],
    ]
    numbers = {name: (value - 1) * (100.0 / 4) for name, value in values.items()}
    # a temporal sample has a reference that no call shows
    sample = {"more": 2} if images is several else {}
    sample |= {"reference": 1} if category[0] in "tv" else {}
    return Case(category, calls, {"score": fmean(numbers.values()), **numbers}, sample)


def final(*scores):
    return f"Step by step.\n\n**Final Score:** **{', '.join(map(str, scores))}**"


def rise(pick, i):
    file = "RISEBench-code/utils.py"
    category = ("temporal_reasoning", "causal_reasoning", "spatial_reasoning", "logical_reasoning")[
        i % 4
    ]
    beside, free, image = (bool(i // 4 & bit) for bit in (1, 2, 4))
    expected = "" if image and category == "logical_reasoning" else "What is right."
    tags = ["reasoning_img"] * beside + ["consistency_free"] * free

    def said(name):
        return text(file, name).format(instruct="@i", reference=expected)

    cons, rea, qua = (pick.choice((1, 2, 5, 5)) for _ in range(3))
    sample = {"tags": tags, "expected": expected, "reference": 0}
    if category == "logical_reasoning":
        zero_one = [pick.randint(0, 1), pick.randint(0, 1)]
        cons, rea = (4 * min(own, 1) + 1 for own in zero_one)
        shown = ["reference", "edited"] if image else ["edited"]
        sample |= {"reference": int(image), "tags": []}
        free = False
        calls = [
            [
                said("prompt_logical_cons" if image else "prompt_logical_cons_ans"),
                ["reference" if image else "source", "edited"],
                final(zero_one[0]),
            ],
            [
                said("prompt_logical_img" if image else "prompt_logical_txt"),
                shown,
                final(zero_one[1]),
            ],
        ]
        score = 0.3 * cons + 0.7 * rea
        right = cons == 5 and rea == 5
    else:
        spatial = category == "spatial_reasoning"
        by_image = spatial and image
        sample["reference"] = int(by_image)
        first = "reference" if by_image else "source"
        names = ["prompt_spatial_cons", "prompt_spatial_ref", "prompt_spatial_qual"]
        names = names if spatial else ["prompt_consist", "prompt_reasoning", "prompt_generation"]
        if by_image:
            names[1] = "prompt_spatial_ref_img"
        elif beside:
            names[1] += "_w_input"
        calls = [
            [said(names[0]), [first, "edited"], final(cons)],
            [said(names[1]), [first, "edited"] if by_image or beside else ["edited"], final(rea)],
            [said(names[2]), ["edited"], final(qua)],
        ][free:]
        score = 0.3 * cons + 0.5 * rea + 0.2 * qua
        right = cons == rea == qua == 5
        if free:
            score = 0.2 * qua + 0.8 * rea
            right = rea == 5 and qua == 5
    if rea == 1:
        score = score * 0.5
        score = 1 if score < 1 else score
    numbers = {"score": 25 * (score - 1), "accuracy": float(right)}
    return Case(category, calls, numbers, sample)


def uniredit(pick, i):
    file = "UniREditBench-code/eval/utils.py"
    cons, rea, qua = (pick.choice((1, 3, 5, 5)) for _ in range(3))

    def said(name):
        return text(file, name).format(instruct="@i", reference="What is right.")

    calls = [
        [said("prompt_consist"), ["source", "edited"], final(cons)],
        [said("prompt_reasoning_w_ref_image"), ["source", "reference", "edited"], final(rea)],
        [said("prompt_generation"), ["edited"], final(qua)],
    ]
    score = 0.3 * cons + 0.5 * rea + 0.2 * qua
    numbers = {"score": 25 * (score - 1), "accuracy": float(cons == rea == qua == 5)}
    category = ("sokoban", "viewpoint")[i % 2]
    return Case(category, calls, numbers, {"expected": "What is right.", "reference": 1})


def re_edit(pick, i):
    file = "RE-Edit-code/single_scoring_part_vllm/scoring_config.yaml"
    theirs = RE_EDIT[i % 5]
    yes, follows = pick.random() < 0.4, pick.randint(0, 10)
    success, overediting = pick.randint(0, 10), pick.randint(0, 10)

    def said(name):
        own = text(file, name).replace("{{", "{").replace("}}", "}")
        for sign, mark in (("original_description", "@d"), ("rationale", "@r")):
            own = own.replace(f"{{{sign}}}", mark)
        return f"{name} rules {{x}}.\n\n" + own.replace("{edit_instruction}", "@i")

    both = ["source", "edited"]
    calls = [
        [said(theirs), both, told(pick.choice(("yes", "Yes")) if yes else "NO")],
        [said("instruction_following"), both, json.dumps({"score": follows, "reason": "so"})],
        [said("sc_metric"), both, told([success, overediting])],
    ]
    numbers = {
        "score": 100.0 * yes,
        # published from 0 to 10
        "instruction_following": 10 * follows,
        "semantic_consistency": 10 * min(success, overediting),
        "success": 10 * success,
        "overediting": 10 * overediting,
    }
    return Case("social" if theirs == "cultural" else theirs, calls, numbers)


TASKS = ("color_alter", "subject-add", "ps_human")
PROTOCOLS = {
    "viescore": vie(
        "VIEScore/viescore/vie_prompts.py", "_context_no_delimit", ("any",), 10, "edited"
    ),
    "gedit": vie(
        "Step1X-Edit/GEdit-Bench/viescore/vie_prompts.py",
        "_context_no_delimit",
        TASKS,
        10,
        "resized",
    ),
    "editscore": vie(
        "EditScore/editscore/vie_prompts.py",
        "_context_no_delimit_reasoning_first",
        TASKS,
        25,
        "resized",
    ),
    "imgedit": imgedit,
    "kris": kris,
    "rise": rise,
    "uniredit": uniredit,
    "re_edit": re_edit,
}
MACRO = ("gedit", "imgedit")
FAILED_AS = {"gedit": ("score", 0.0), "re_edit": ("score", 0.0), "rise": ("accuracy", 0.0)}
"""What authors count where a reply is none; all others leave the sample out."""

SIZES = {"source": (96, 64), "edited": (32, 48), "resized": (96, 64)}


def drawn(name):
    """Return the cases of a protocol, some with a reply that is none."""
    pick = random.Random(name)
    cases = [PROTOCOLS[name](pick, i) for i in range(CASES)]
    for i in FAILED:
        own = cases[i]
        pick.choice(own.calls)[2] = "I cannot say."
        cases[i] = own._replace(numbers=None)
    return cases


@pytest.fixture
def folder(tmp_path):
    for name in ("authors", "rubrics"):
        shutil.copytree(ROOT / "config" / name, tmp_path / "config" / name)
    write_files(tmp_path)
    return tmp_path


def made(folder, i, case):
    """Return the sample of a case and the file of its edit."""
    fields = dict(case.sample)

    def picture(name, colour):
        path = folder / f"{i}-{name}.png"
        Image.new("RGB", (40, 40), colour).save(path)
        return Picture(image=str(path), sha256="0" * 64, width=40, height=40)

    if fields.pop("reference", 0):
        fields["reference"] = picture("reference", (i, 0, 200))
    if count := fields.pop("more", 0):
        fields["more"] = [picture(f"more{n}", (i, 90 + n, 0)) for n in range(count)]
    instruction = f"Do {{number}} {i}."
    given = {"category": case.category, "instruction": instruction, "index": i, **fields}
    edited = folder / f"{i}-edited.png"
    Image.new("RGB", SIZES["edited"], (i, 200, 0)).save(edited)
    return make_sample(folder, f"s{i}", **given), edited


def kinds(parts):
    """Return the kinds of images that are shown, in their order, and the number of the case."""
    found, number = [], None
    for part in parts:
        data = part["image_url"]["url"].split(",")[1]
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            colour, size = image.getpixel((0, 0)), image.size
        match colour:
            case (own, 200, 0):
                number = own
                found.append("resized" if size == SIZES["resized"] else "edited")
            case (_, 0, 200):
                found.append("reference")
            case (_, 90 | 91 as which, 0):
                found.append(f"more{which - 90}")
            case _:
                assert size == SIZES["source"]
                found.append("source")
    return found, number


class Scripted:
    """Answers each call with its case's reply, and notes each that it does not expect."""

    def __init__(self):
        self.expected, self.seen, self.wrong = {}, [], []

    def expect(self, i, sample, call):
        said, images, reply = call
        for mark, own in (("@i", sample.instruction), ("@d", sample.description)):
            said = said.replace(mark, own)
        self.expected[i, said.replace("@r", sample.rationale).strip()] = (images, reply)

    def __call__(self, body):
        first, *_ = body["messages"]
        *images, said = first["content"]
        found, number = kinds(images)
        key = (number, said["text"])
        if first["role"] != "user" or self.expected.get(key, [None])[0] != found:
            self.wrong.append((found, key))
            return answer("unexpected")
        self.seen.append(key)
        return answer(self.expected[key][1])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_calls_are_asked_as_authors_do_and_count_what_they_count(name, folder, serve):
    cases = drawn(name)
    script = Scripted()
    settings = OpenAISettings(
        type="openai",
        model="m",
        url=serve(script).url,
        api_key_variable=None,
        rubrics=str(folder / "config" / "authors" / name),
    )
    identity, judgements = keys.identity(settings), []
    rubrics = {case.category: read_rubric(settings.rubric_file(case.category)) for case in cases}
    for i, case in enumerate(cases):
        sample, edited = made(folder, i, case)
        for call in case.calls:
            script.expect(i, sample, call)
        job = Judging(settings, identity, rubrics[case.category], "e")
        with Image.open(edited) as image:
            pixels = records.pixels_sha256(image)
        judgements.append(asked(job, sample, edited, pixels, folder / "kept" / f"{i}.json"))
    place = Place([[Device("cpu", "0")]], 0, "score", io.StringIO())
    done = judge_calls(settings, judgements, place)
    found = [together(own, done) for own in judgements]

    assert script.wrong == []
    assert {*script.seen} == {*script.expected}
    # one that is none is asked for once more
    assert len(script.seen) == len(script.expected) + len(FAILED)
    failed = [i for i, record in enumerate(found) if record.status != "ok"]
    assert failed == [*FAILED]

    protocol = read_protocol(folder / "config" / "authors" / name / PROTOCOL)
    frames = {key: frame(rubrics[key], key, cases, found) for key in rubrics}
    numbers = published.aggregate(protocol, frames, rubrics)
    for key, value in summed(name, cases).items():
        assert numbers["overall"][key] == pytest.approx(value, abs=1e-9, rel=0), key
    for category, own in numbers["categories"].items():
        mine = [case for case in cases if case.category == category]
        for key, value in summed("one category", mine).items():
            # a criterion may be another in each category's rubric
            assert own[key] == pytest.approx(value, abs=1e-9, rel=0), (category, key)
    for one, record in zip(cases, found, strict=True):
        if one.numbers is not None:
            low, high = protocol.scale
            score = low + record.score / 10 * (high - low)
            assert score == pytest.approx(one.numbers["score"], abs=1e-9, rel=0)


ON_DEVICE = ("viescore", "gedit", "editscore", "kris", "re_edit")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_judge_on_the_device_takes_those_that_ask_for_an_object(name, folder):
    rubrics = str(folder / "config" / "authors" / name)
    settings = Qwen3VLSettings(type="qwen3_vl", model="a/b", rubrics=rubrics)
    found = {case.category for case in drawn(name)}
    read = {own: read_rubric(settings.rubric_file(own), own) for own in found}
    if name in ON_DEVICE:
        settings.check_scores([], read)
        return
    with pytest.raises(ConfigError, match="expected kinds of answer, json_object"):
        settings.check_scores([], read)


def frame(rubric, category, cases, found):
    rows = [
        {
            "id": record.id,
            "category": category,
            "source": None,
            "status": record.status,
            "tags": json.dumps(case.sample.get("tags", [])),
            "score": record.score,
            **{name: record.criteria.get(name) for name in rubric.names},
        }
        for case, record in zip(cases, found, strict=True)
        if case.category == category
    ]
    return pd.DataFrame(rows)


def summed(name, cases):
    """Return the means of what is published, over samples or over the means of categories."""
    parts = {case.category: [] for case in cases}
    if name not in MACRO:
        parts = {"": []}
    for case in cases:
        parts[case.category if name in MACRO else ""].append(case.numbers)
    every = {key for case in cases for key in case.numbers or ()}
    sums = {key: mean(parts, key) for key in every}
    if name in FAILED_AS:
        key, value = FAILED_AS[name]
        sums[f"{key}_of_all"] = mean(parts, key, {key: value})
    return sums


def mean(parts, key, nothing=None):
    return fmean(
        fmean(own[key] for numbers in part if key in (own := numbers or nothing or {}))
        for part in parts.values()
    )


def test_the_documentation_says_where_each_file_of_authors_comes_from():
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    folders = sorted(path.name for path in (ROOT / "config" / "authors").iterdir())
    assert folders == sorted(PROTOCOLS)
    cloned = set(re.findall(r"git clone --depth 1 \S+ data/(\S+)", text))
    for name in folders:
        assert f"`config/authors/{name}`" in text
        for path in (ROOT / "config" / "authors" / name).glob("*.yaml"):
            for file in re.findall(r"file: (\S+)", path.read_text(encoding="utf-8")):
                above, place = file.split("data/")
                assert above == "../../../"
                assert place in SIGNS and place.split("/")[0] in cloned
