"""The judge behind a real server, `transformers serve`, gives the replies of the one in-process.

A judge of random weights writes no scores by itself, and a server forces nothing on it. So a tiny
judge is taught a few replies, which both must then give whole; and of one of random weights the
reasoning is compared, which nobody forces in-process either.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import torch
import yaml
from PIL import Image

from lockstep.devices.device import Device
from lockstep.foreign import images
from lockstep.judges.openai_api import OpenAISettings
from lockstep.judges.openai_api.judge import OpenAIJudge
from lockstep.judges.protocol import Pair, Rejected
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.rubrics.rubric import Rubric, read_rubric
from tests.conftest import ROOT, make_sample
from tests.score_job import Job

LESSONS = {
    "red": "It is red.\n",
    "blue": "Blue, as nobody asked.\n",
    "green": "",
}
"""What the taught judge says of edits of one colour, before it scores."""

SCORES = {"red": (10, 7), "blue": (1, 0), "green": (3, 10)}

ANCHORS = dict.fromkeys((0, 3, 5, 8, 10), "?")

RUBRIC = {
    "system": "Judge.",
    "template": "{{ instruction }} {{ reply }}",
    "criteria": [{"name": name, "question": "?", "anchors": ANCHORS} for name in ("done", "kept")],
    "combine": "weighted_mean",
    "reply": {"type": "integer", "minimum": 0, "maximum": 10},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Address of a server that loads the models it is asked for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with open(log, "w", encoding="utf-8") as file:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "transformers.cli.transformers", "serve"),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--device", "cpu", "--dtype", "float32"),
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            # the last bits depend on the number of threads
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        deadline = time.monotonic() + 120
        while not healthy(port):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def healthy(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").is_success
    except httpx.TransportError:
        return False


def behind(url, folder, **given):
    return OpenAISettings(type="openai", model=str(folder), url=url, **given)


def here(folder, **given):
    given = {"dtype": "float32", "min_schema_mass": 0.0, **given}
    return Qwen3VLSettings(type="qwen3_vl", model=str(folder), **given)


def lesson(colour):
    done, kept = SCORES[colour]
    return f'{LESSONS[colour]}{{"done": {done}, "kept": {kept}}}'


def edits():
    return [Image.new("RGB", (64, 64), colour) for colour in LESSONS]


@pytest.fixture(scope="module")
def taught(models, tmp_path_factory):
    """Folder of a tiny judge that was taught the lessons."""
    folder = tmp_path_factory.mktemp("taught")
    shutil.copytree(models / "judge", folder / "judge")
    pairs = []
    for number, edited in enumerate(edits()):
        sample = make_sample(folder, instruction=f"Do number {number}.")
        rubric = Rubric.model_validate(RUBRIC)
        source = images.open_rgb(sample.image)
        pairs.append(Pair("a", "e", source, edited, rubric, rubric.prompt(sample)))
    teach(folder / "judge", pairs, [lesson(colour) for colour in LESSONS])
    return folder / "judge"


def teach(folder: Path, pairs, replies):
    """Train a judge until it replies to each pair as told."""
    torch.manual_seed(0)
    judge = Qwen3VLJudge(here(folder), "cpu")
    model, processor = judge._model, judge._processor
    prompts = [judge._chat.text(pair) for pair in pairs]
    inputs = processor(
        text=[f"{p}{reply}<|im_end|>" for p, reply in zip(prompts, replies, strict=True)],
        images=[image for pair in pairs for image in (pair.source, pair.edited)],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    labels = inputs["input_ids"].clone()
    labels[inputs["attention_mask"] == 0] = -100
    start = processor.tokenizer.convert_tokens_to_ids("<|im_start|>")
    for row in labels:
        # only the reply is learnt; each character is a token
        last = int((row == start).nonzero()[-1])
        row[: last + 1 + len("assistant\n")] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = torch.tensor(1.0)
    for _ in range(1000):
        loss = model(**inputs, labels=labels).loss
        if loss < 0.003:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.003
    model.save_pretrained(folder)


def test_a_judge_run_gives_the_same_replies_as_in_process(url, taught, tmp_path):
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text(yaml.safe_dump(RUBRIC), encoding="utf-8")
    found = {}
    for name, judge in (("here", here(taught)), ("behind", behind(url, taught))):
        (tmp_path / name).mkdir()
        found[name] = Job(tmp_path / name, edits(), rubric).run(judge, [Device("cpu", "0")])
    pairs = zip(found["behind"].values(), found["here"].values(), LESSONS, strict=True)
    for served, own, colour in pairs:
        assert served.reply == own.reply == lesson(colour)
        assert served.criteria == own.criteria
        assert tuple(served.criteria.values()) == SCORES[colour]
        assert (served.status, served.score) == ("ok", own.score)
        assert (served.reasoning, served.rejected) == (LESSONS[colour].strip(), None)
        assert served.prompt_tokens == own.prompt_tokens


def test_a_judge_of_random_weights_reasons_as_in_process(url, models, tmp_path):
    rubric = read_rubric(ROOT / "config/rubrics/physical.yaml")
    pairs = [
        Pair(
            id="a",
            editor="e",
            source=Image.linear_gradient("L").resize((64 + 30 * i, 80)).convert("RGB"),
            edited=Image.radial_gradient("L").resize((128, 64 + 10 * i)).convert("RGB"),
            rubric=rubric,
            prompt=rubric.prompt(make_sample(tmp_path, instruction="Let go! " * (i + 1))),
        )
        for i in range(4)
    ]
    # one of them is asked for once more
    pairs[-1] = pairs[-1]._replace(rejected=Rejected("7/10", rubric.correction("found no object")))
    own = Qwen3VLJudge(here(models / "judge", max_reasoning_tokens=24), "cpu").judge(pairs)
    server = OpenAIJudge(behind(url, models / "judge", request={"max_tokens": 24}))
    served = server.judge(pairs)
    server.close()
    for one, other in zip(own, served, strict=True):
        assert one.usage.prompt_tokens == other.usage.prompt_tokens
        reasoning = other.reply.split("{")[0]
        assert one.reply.startswith(reasoning.removesuffix("\n") + "\n{")
    assert len({judgement.reply for judgement in served}) > 1
