"""Measure the judge on a GPU, against `generate` of transformers one by one, in one run.

python benchmarks/judge.py --random-weights full
python benchmarks/judge.py --random-weights full --no-generate --batches 64 --profile
python benchmarks/judge.py --random-weights full --calls --batches 64
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import full_models
import torch
import transformers
from edit_job import source
from PIL import Image

from lockstep.judges.protocol import Judgement, Pair
from lockstep.judges.qwen3_vl import Qwen3VLSettings
from lockstep.judges.qwen3_vl.judge import Qwen3VLJudge
from lockstep.judges.qwen3_vl.prompts import Chunk, Prompt
from lockstep.judges.qwen3_vl.slots import Slots
from lockstep.rubrics.calls import Call
from lockstep.rubrics.rubric import read_rubric

RUBRIC = Path(__file__).parents[1] / "config" / "rubrics" / "physical.yaml"

CALLS = RUBRIC.with_name("viescore_calls.yaml")
"""A rubric of two calls."""

TOKENS = 128
"""Tokens of a reply. Random weights hardly ever stop by themselves."""

OBJECT = 25
"""Tokens of its object of four scores as Qwen's tokenizer has it; the rest is reasoning."""

# so much text makes some 2,370 tokens in all
PROMPT = "The ball melts in the sun. " * 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random-weights", choices=["full"], required=True)
    parser.add_argument("--batches", default="1,4,16,48,64", help="sizes to measure")
    parser.add_argument("--folder", type=Path, help="where the model is kept; default temporary")
    parser.add_argument("--no-generate", action="store_true", help="leave transformers out")
    parser.add_argument("--profile", action="store_true", help="list what takes the time")
    parser.add_argument("--calls", action="store_true", help="measure a rubric of two calls alone")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.batches.split(",")]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        folder = arguments.folder or Path(temporary, "judge")
        if not folder.exists():
            full_models.save_judge(folder)
            torch.cuda.empty_cache()
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
        judge = load(folder, mode="reasoned", max_reasoning_tokens=TOKENS - OBJECT)
        if arguments.calls:
            measure_calls(judge, max(sizes))
            return
        agree(judge)
        began = time.perf_counter()
        (first,) = judge.judge(pairs(1))
        print(f"first judgement {time.perf_counter() - began:.2f} s, {first.usage}")
        alone = None if arguments.no_generate else generate_alone(judge, folder)
        measure_all(judge, sizes, alone)
        step(judge, max(sizes))
        if arguments.profile:
            profile(judge, max(sizes))
        compare(judge, pairs(max(sizes)), (8,))
        del judge
        torch.cuda.empty_cache()
        quick = load(folder, mode="score_only")
        measure_all(quick, sizes, alone)
        compare(quick, pairs(max(sizes)), (1, 8))


def load(folder: Path, **settings: object) -> Qwen3VLJudge:
    began = time.perf_counter()
    judge = Qwen3VLJudge(Qwen3VLSettings(type="qwen3_vl", model=str(folder), **settings), "cuda")
    torch.cuda.synchronize()
    memory = torch.cuda.memory_allocated() / 2**30
    print(f"loaded in {time.perf_counter() - began:.2f} s, {memory:.1f} GiB", flush=True)
    return judge


def pairs(count: int, editor: int = 0) -> list[Pair]:
    """Return pairs of as many samples, which all editors share."""
    rubric = read_rubric(RUBRIC).model_copy(update={"system": "You judge edits."})
    images = [source(number) for number in range(4)]
    return [
        Pair(
            id=f"{number}",
            editor=f"{editor}",
            source=another(images[number % 4], number),
            edited=images[(number + 1 + editor) % 4],
            rubric=rubric,
            # every instruction has another length
            prompt=PROMPT + "x" * (number % 7),
        )
        for number in range(count)
    ]


def another(image: Image.Image, number: int) -> Image.Image:
    """Return an image of its own, for which nothing is there that was read of another."""
    image = image.copy()
    image.putpixel((0, 0), (number % 256, number // 256, 0))
    return image


def measure_all(judge: Qwen3VLJudge, sizes: Sequence[int], alone: float | None) -> None:
    best = max(measure(judge, size, alone) for size in sizes)
    print(f"best {best:.2f} samples/s{times(best, alone)}", flush=True)


def times(rate: float, alone: float | None) -> str:
    return "" if alone is None else f", {rate * alone:.1f} times one by one"


def measure(judge: Qwen3VLJudge, size: int, alone: float | None) -> float:
    """Time batches of a size, preparing included; return samples a second of a first editor."""
    let_take(judge, size)
    rates = {}
    try:
        judge.judge(pairs(size))
        for name, editors in (("one editor", (0, 0)), ("further editors", (1, 2))):
            seconds = []
            for editor in editors:
                given = pairs(size, editor)
                if editor == 0:
                    judge._prefixes.clear()
                torch.cuda.synchronize()
                began = time.perf_counter()
                done = judge.judge(given)
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - began)
            rates[name] = size / min(seconds)
    except Exception as error:
        print(f"batch of {size}: {error}")
        return 0.0
    tokens = statistics.mean(judgement.usage.reply_tokens for judgement in done)
    memory = torch.cuda.max_memory_allocated() / 2**30
    told = ", ".join(f"{name} {rate:.2f} samples/s" for name, rate in rates.items())
    print(
        f"batch of {size}: {told}, {tokens:.0f} tokens each"
        f"{times(rates['one editor'], alone)}, peak {memory:.0f} GiB",
        flush=True,
    )
    return rates["one editor"]


def let_take(judge: Qwen3VLJudge, size: int) -> None:
    """Let a judge compute so many rows at a time, however few there are."""
    judge._settings = judge._settings.model_copy(update={"batch_size": size})
    judge._decoder.forget()


def measure_calls(judge: Qwen3VLJudge, size: int) -> None:
    """Time both calls of a rubric, alone and together, and tell what a judgement depends on."""
    let_take(judge, size)
    calls = [of_call(pairs(size), call) for call in read_rubric(CALLS).calls]
    # kernels are chosen, and steps are captured
    for given in calls:
        judge.judge(given)
    alone = [timed(judge, [given]) for given in calls]
    both = timed(judge, calls)
    told = " + ".join(f"{seconds:.2f}" for seconds in alone)
    print(f"{size} edits: calls alone {told} s, together {both:.2f} s", flush=True)
    compare(judge, [pair for both in zip(*calls, strict=True) for pair in both][:size], (1, 8))


def of_call(given: Sequence[Pair], call: Call) -> list[Pair]:
    """Return the same edits as a call of a rubric shows them."""
    asked = call.model_copy(update={"system": "You judge edits."})
    own = {"rubric": asked, "call": call.name, "images": call.images}
    return [pair._replace(**own) for pair in given]


def timed(judge: Qwen3VLJudge, calls: Sequence[Sequence[Pair]]) -> float:
    """Return the seconds of some calls one after the other, with nothing read before."""
    judge._prefixes.clear()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for given in calls:
        judge.judge(given)
    torch.cuda.synchronize()
    return time.perf_counter() - began


def compare(judge: Qwen3VLJudge, given: Sequence[Pair], counts: Sequence[int]) -> None:
    """Tell how many judgements depend on what is judged together, before it, and in which order."""
    size = len(given)
    let_take(judge, size)
    judge._prefixes.clear()
    expected = judge.judge(given)
    tell("with all prompts begun before", judge.judge(given), expected)
    for count in counts:
        judge._prefixes.clear()
        found = [j for k in range(0, size, count) for j in judge.judge(given[k : k + count])]
        tell(f"{count} at a time", found, expected)
    judge._prefixes.clear()
    tell("the other way round", judge.judge(given[::-1])[::-1], expected)
    longer = given[0]._replace(prompt=given[0].prompt + "x" * 700)
    judge._decoder.forget()
    tell("beside a longer prompt", judge.judge([longer, *given[:7]])[1:], expected[:7])


def tell(how: str, found: Sequence[Judgement], expected: Sequence[Judgement]) -> None:
    both = list(zip(found, expected, strict=True))
    replies = sum(one.reply != other.reply for one, other in both)
    shares = sum(
        (one.probabilities, one.schema_mass) != (other.probabilities, other.schema_mass)
        for one, other in both
    )
    print(
        f"{how}: of {len(both)} judgements {replies} have another reply, {shares} other "
        "probabilities",
        flush=True,
    )


@torch.inference_mode()
def agree(judge: Qwen3VLJudge) -> None:
    """Tell how far the logits after a prompt are from those of transformers' own forward.

    Raises:
        SystemExit: if they are not those of the same model.
    """
    (pair,) = pairs(1)
    inputs = judge._processor(
        text=[judge._chat.text(pair)], images=[pair.source, pair.edited], return_tensors="pt"
    ).to(judge._model.device)
    expected = judge._model(**inputs, logits_to_keep=1).logits[0, -1].float()
    judge._prefixes.clear()
    ours = Slots(judge._model, 1, 16, judge._prefixes).begin([judge._prompt(pair)])[0].float()
    error = float((ours - expected).norm() / expected.norm())
    print(f"logits after a prompt: {error:.1e} from transformers' own", flush=True)
    if not error < 0.2:
        raise SystemExit("the judge does not say what its model says")


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
            text=[judge._chat.text(pair)], images=[pair.source, pair.edited], return_tensors="pt"
        ).to("cuda")
        model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    print(f"generate, one by one: {min(seconds):.2f} s a sample of {inputs['input_ids'].shape[1]}")
    return min(seconds)


@torch.inference_mode()
def step(judge: Qwen3VLJudge, size: int) -> None:
    """Time one step of a batch, with all rows and with few, and the reading of one prompt."""
    given = pairs(size)
    let_take(judge, size)
    judge.judge(given)
    slots = judge._decoder._slots
    start = slots._lengths.clone()
    tokens, kept = torch.full_like(start, 5), torch.ones_like(start)
    wide: Sequence[Sequence[int]] = [[5] * 32] * size
    places = [[0, 1, 30, 31]] * size
    for live in (size, size // 2, 8):
        slots._lengths.copy_(start * (torch.arange(size, device=start.device) < live))
        spent(f"step of {live} of {size} rows", lambda: slots.step(tokens, kept), 20)
        slots._lengths.copy_(start * (torch.arange(size, device=start.device) < live))
        spent(f"step of 32 tokens, {live} rows", lambda: slots.append(wide, 32, places), 3)
    judge._prefixes.clear()
    prompt = judge._prompt(given[0])
    numbers = itertools.cycle(range(size))

    def read() -> None:
        judge._prefixes.clear()
        slots._read(next(numbers), prompt)

    def read_on() -> None:
        slots._read(next(numbers), prompt)

    spent("prompt", read, 16)
    spent("prompt whose first part was read before", read_on, 16)
    slots._eyes.look(prompt.rest)
    spent("… of that, its image", lambda: slots._eyes.look(prompt.rest), 16)
    whole = in_one(judge._prompt(another_pair(given[0])))
    end = whole.tokens.shape[1]
    spent("prompt in one part", lambda: slots._pass(0, whole, 0, end, slice(-1, None)), 16)


def another_pair(pair: Pair) -> Pair:
    """Return a pair of which nothing was read before."""
    return pair._replace(source=another(pair.source, 999))


def in_one(prompt: Prompt) -> Chunk:
    """Return both parts of a prompt as one."""
    first, rest = prompt.first, prompt.rest
    split = first.tokens.shape[1]
    return Chunk(
        torch.cat([first.tokens, rest.tokens], dim=1),
        torch.cat([first.positions, rest.positions], dim=2),
        [*first.places, *(slice(p.start + split, p.stop + split) for p in rest.places)],
        first.grids + rest.grids,
        torch.cat([first.pixels, rest.pixels]),
    )


def spent(name: str, call: Callable[[], object], count: int) -> None:
    call()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(count):
        call()
    told = time.perf_counter() - began
    torch.cuda.synchronize()
    took = time.perf_counter() - began
    print(f"{name}: {took / count * 1e3:.2f} ms, CPU {told / count * 1e3:.2f} ms", flush=True)


@torch.inference_mode()
def profile(judge: Qwen3VLJudge, size: int) -> None:
    """List the kernels of a prompt and of a step."""
    slots = judge._decoder._slots
    (pair,) = pairs(1)
    prompt = judge._prompt(pair._replace(source=another(pair.source, 998)))
    tokens = torch.full_like(slots._lengths, 5)
    calls = {
        "prompt": lambda: slots._read(0, prompt),
        "step": lambda: slots.step(tokens, torch.zeros_like(tokens)),
    }
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    for name, call in calls.items():
        judge._prefixes.clear()
        call()
        judge._prefixes.clear()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=activities) as found:
            call()
            torch.cuda.synchronize()
        kernels = [each for each in found.key_averages() if each.self_device_time_total]
        kernels = [each for each in kernels if not each.key.startswith(("aten::", "cuda"))]
        kernels.sort(key=lambda each: -each.self_device_time_total)
        whole = sum(each.self_device_time_total for each in kernels) / 1e3
        print(f"{name}: {whole:.2f} ms in kernels")
        for each in kernels[:16]:
            print(f"  {each.self_device_time_total / 1e3:7.3f} ms {each.count:4d} {each.key[:90]}")


if __name__ == "__main__":
    main()
