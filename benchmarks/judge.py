"""Measure the judge on a GPU, against `generate` of transformers one by one, in one run.

python benchmarks/judge.py --random-weights full
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import full_models
import torch
import transformers
from edit_job import source

from lockstep.judges.protocol import Judgement, Pair
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.rubrics.rubric import read_rubric

RUBRIC = Path(__file__).parents[1] / "config" / "rubrics" / "physical.yaml"

TOKENS = 128
"""Tokens of a reply. Random weights hardly ever stop by themselves."""

OBJECT = 25
"""Tokens of its object of four scores as Qwen's tokenizer has it; the rest is reasoning. The random
model's has a token for each byte, and so some 50 more, which only ours is burdened with."""

# the random model's tokenizer has a token for each byte: so much text makes 2,371 tokens in all
PROMPT = "The ball melts in the sun. " * 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random-weights", choices=["full"], required=True)
    parser.add_argument("--batches", default="1,4,16,48,64", help="sizes to measure")
    parser.add_argument("--folder", type=Path, help="where the model is kept; default temporary")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.batches.split(",")]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        folder = arguments.folder or Path(temporary, "judge")
        if not folder.exists():
            full_models.save_judge(folder)
            torch.cuda.empty_cache()
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
        judge = load(folder, mode="reasoned", max_reasoning_tokens=TOKENS - OBJECT)
        began = time.perf_counter()
        (first,) = judge.judge(pairs(1))
        print(f"first judgement {time.perf_counter() - began:.2f} s, {first.usage}")
        alone = generate_alone(judge, folder)
        best = 0.0
        for size in sizes:
            best = max(best, measure(judge, size, alone))
        print(f"best {best:.2f} samples/s, {best * alone:.1f} times one by one", flush=True)
        compare(judge, max(sizes))
        step(judge, 16)
        del judge
        torch.cuda.empty_cache()
        quick = load(folder, mode="score_only")
        for size in sizes:
            measure(quick, size, alone)
        compare(quick, max(sizes))


def load(folder: Path, **settings: object) -> Qwen3VLJudge:
    began = time.perf_counter()
    judge = Qwen3VLJudge(Qwen3VLSettings(type="qwen3_vl", model=str(folder), **settings), "cuda")
    torch.cuda.synchronize()
    print(f"loaded in {time.perf_counter() - began:.2f} s", flush=True)
    return judge


def pairs(count: int) -> list[Pair]:
    rubric = read_rubric(RUBRIC).model_copy(update={"system": "You judge edits."})
    images = [source(number) for number in range(4)]
    return [
        Pair(
            id=f"{number}",
            editor="e",
            source=images[number % 4],
            edited=images[(number + 1) % 4],
            rubric=rubric,
            # every instruction has another length
            prompt=PROMPT + "x" * (number % 7),
        )
        for number in range(count)
    ]


def measure(judge: Qwen3VLJudge, size: int, alone: float) -> float:
    """Time batches of a size, preparing included; return samples a second."""
    given = pairs(size)
    let_take(judge, size)
    try:
        judge.judge(given)
        seconds = []
        for _ in range(2):
            torch.cuda.synchronize()
            began = time.perf_counter()
            done = judge.judge(given)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
    except Exception as error:
        print(f"batch of {size}: {error}")
        return 0.0
    rate = size / min(seconds)
    tokens = statistics.mean(judgement.usage.reply_tokens for judgement in done)
    memory = torch.cuda.max_memory_allocated() / 2**30
    print(
        f"batch of {size}: {rate:.2f} samples/s, {tokens:.0f} tokens each, "
        f"{rate * alone:.1f} times one by one, peak {memory:.0f} GiB",
        flush=True,
    )
    return rate


def let_take(judge: Qwen3VLJudge, size: int) -> None:
    """Let a judge compute so many rows at a time, however few there are."""
    judge._settings = judge._settings.model_copy(update={"batch_size": size})
    judge._decoder.forget()


def compare(judge: Qwen3VLJudge, size: int) -> None:
    """Tell how many judgements depend on what is judged together, and in which order."""
    given = pairs(size)
    let_take(judge, size)
    expected = judge.judge(given)
    for count in (1, 8):
        found = [j for k in range(0, size, count) for j in judge.judge(given[k : k + count])]
        tell(f"{count} at a time", found, expected)
    tell("the other way round", judge.judge(given[::-1])[::-1], expected)


def tell(how: str, found: Sequence[Judgement], expected: Sequence[Judgement]) -> None:
    both = list(zip(found, expected, strict=True))
    replies = sum(one.reply != other.reply for one, other in both)
    shares = sum(one.probabilities != other.probabilities for one, other in both)
    print(
        f"{how}: of {len(both)} judgements {replies} have another reply, {shares} other "
        "probabilities",
        flush=True,
    )


@torch.inference_mode()
def generate_alone(judge: Qwen3VLJudge, folder: Path) -> float:
    """Time `generate` on one sample, as many tokens; seconds."""
    # as transformers loads it, with nothing of ours
    model = transformers.AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.bfloat16, device_map="cuda"
    )
    seconds = []
    for pair in pairs(3):
        torch.cuda.synchronize()
        began = time.perf_counter()
        inputs = judge._processor(
            text=[judge._chat(pair)], images=[pair.source, pair.edited], return_tensors="pt"
        ).to("cuda")
        model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    print(f"generate, one by one: {min(seconds):.2f} s a sample of {inputs['input_ids'].shape[1]}")
    return min(seconds)


@torch.inference_mode()
def step(judge: Qwen3VLJudge, size: int) -> None:
    """Time one step of a batch and the reading of one prompt."""
    given = pairs(size)
    let_take(judge, size)
    judge.judge(given)
    slots = judge._decoder._slots
    rows: Sequence[Sequence[int]] = [[5]] * size
    start = slots._lengths.clone()
    for name, call, count in (
        ("decode step", lambda: slots.append(rows), 20),
        ("prompts read", lambda: slots.begin(judge._prompt(pair) for pair in given[:4]), 1),
    ):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(count):
            slots._lengths.copy_(start)
            call()
        torch.cuda.synchronize()
        print(f"{name} at batch {size}: {(time.perf_counter() - began) / count * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
