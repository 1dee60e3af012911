"""Types of records: what is known of a sample, an edit and a score."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FiniteFloat

from lockstep.foreign.images import WHITE
from lockstep.records.hashes import canonical_json, sha256

Status = Literal["ok", "edit_failed", "judge_failed", "missing", "skipped"]


def file_name(name: str) -> str:
    """Return a name that is a file's in whatever folder it is put.

    Raises:
        ValueError: if it leads elsewhere.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"expected a name without folders, found {name!r:.60}")
    return name


Id = Annotated[str, AfterValidator(file_name)]
"""What a sample's files are called by."""


class Record(BaseModel):
    """One JSON line; unknown keys are kept."""

    model_config = ConfigDict(extra="allow")


class Picture(Record):
    """One image of a sample."""

    image: str
    """In the file relative to the manifest's folder."""
    sha256: str
    """SHA-256 of the image's bytes."""
    width: int
    """Pixels, as stored."""
    height: int
    """Pixels, as stored."""
    transparent: bool = False
    """Whether any pixel is not opaque."""


class Sample(Record):
    """One benchmark item, a line of `manifest/{category}.jsonl`."""

    id: Id
    """Unique in the benchmark and safe as a file name."""
    category: str
    """Key of the category."""
    image: str
    """Source image; in the file relative to the manifest's folder."""
    image_sha256: str
    """SHA-256 of the source image's bytes."""
    width: int
    """Pixels, as stored."""
    height: int
    """Pixels, as stored."""
    transparent: bool = False
    """Whether any pixel of the source is not opaque."""
    background: str = WHITE
    """Colour that transparent pixels are laid on, as "#rrggbb"."""
    more: list[Picture] = []
    """Further source images, in order."""
    instruction: str
    """What the editor is told, in the configured language."""
    description: str = ""
    """What the source image shows."""
    rationale: str = ""
    """Why the edit is hard; only the judge sees it."""
    tags: list[str] = []
    difficulty: str | None = None
    reference: Picture | None = None
    """What a correct edit looks like; only the judge sees it."""
    expected: str = ""
    """What a correct edit shows, in words; only the judge sees it."""
    source_seed: int | None = None
    """Seed that the source image was generated with; never used for an edit."""
    index: int
    """Position in the category."""


class Rejected(Record):
    """One benchmark item that cannot be used, a line of `manifest/rejected.jsonl`."""

    position: int
    """Number of the item in the benchmark file, from 0."""
    id: str | None
    subset: str | None
    reason: str
    """One sentence: field, what was expected, what was found."""


class Telemetry(Record):
    """What a GPU did during one edit; means of samples unless said otherwise."""

    utilisation: float
    """Percent of the time in which a kernel ran."""
    memory: int
    """Most bytes in use."""
    temperature: int
    """Highest, in °C."""
    power: float
    """Watts."""
    throttled: list[str]
    """Reasons for lowered clocks, such as sw_power_cap or hw_thermal_slowdown."""


SERVER = "server"
"""Device of an edit that a server made."""


class Served(Record):
    """What a server was asked for, and what it said of one edit; None where it said nothing."""

    requested_size: str | None = None
    """As WIDTHxHEIGHT, or in the server's words; None leaves it to the server."""
    requested_seed: int | None = None
    """Seed that was sent; None if none was."""
    seed: Literal["honoured", "ignored", "unknown"] = "unknown"
    """Whether the same request with the same seed gave the same pixels again, found out once."""
    model: str | None = None
    """Name of the model by the server."""
    used_seed: int | None = None
    """Seed by the server."""
    revised_prompt: str | None = None
    """Instruction by the server."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    warnings: list[str] = []
    """What is odd of the image and is no failure, in sentences."""


class EditRecord(Record):
    """What happened to one sample in an edit job."""

    id: Id
    category: str
    key: str
    """Edit key: SHA-256 over everything that decides the pixels."""
    status: Status
    error: str | None = None
    image: str | None = None
    """Edited image, relative to the folder of the category's results."""
    image_bytes: int | None = None
    """Size of its file."""
    image_time: int | None = None
    """Time of its file, as Unix time in whole seconds."""
    pixels_sha256: str | None = None
    """SHA-256 over mode, size and pixels of the edited image."""
    width: int | None = None
    height: int | None = None
    native_width: int | None = None
    """Width that the editor returned; `width` is after the size policy."""
    native_height: int | None = None
    size: str | None = None
    """Size policy: native (what the editor returns) or source (the source's size as shown)."""
    resize_filter: str | None = None
    """How the image was brought to its size; None with size native."""
    background: str | None = None
    """Colour that the source was laid on; None for an opaque source."""
    rewritten: str | None = None
    """What the editor was told in place of the instruction; None where that was the instruction."""
    prompt_cut: str | None = None
    """Which text encoders took only the beginning of the prompt, and how many tokens of it."""
    seed: int
    wave: int
    """Place of the edit among those of the job that made it, from the category's first wave."""
    shard: int
    """Shard whose job made the edit; in a queue not always the one whose records these are."""
    device: str
    run: str | None = None
    """Name of the invocation that made the edit."""
    load_seconds: float | None = None
    """Time that importing and loading took, without waiting; 0 where the model was there."""
    started: float | None = None
    """Unix time at which the edit began."""
    edit_seconds: float | None = None
    """Time in the editor's `edit`, from the prepared input to the image in host memory.

    Preparing and saving run beside other edits and are not in it.
    """
    wait_seconds: float = 0.0
    """Time spent at the barrier before this sample's wave."""
    stall_seconds: float = 0.0
    """Time before this edit in which the device had nothing to do but for the barrier.

    It waited for this sample's preparation, or for the saving of the image before the last one.
    """
    telemetry: Telemetry | None = None
    """What the GPU did meanwhile; None on CPU slots."""
    served: Served | None = None
    """What a server said of it; None of an edit that no server made."""
    versions: dict[str, str] = {}
    """Software that made the edit."""
    cached: bool = False
    """Whether it was there already; all else is then that of the original edit."""


class RewriteRecord(Record):
    """What became of one instruction that was to be rewritten, a line of `rewritten.jsonl`."""

    id: Id
    category: str
    key: str | None = None
    """SHA-256 over all that decides the text, as far as it is known; None of a text in a file."""
    status: Literal["ok", "rewrite_failed"]
    error: str | None = None
    instruction: str
    """As the benchmark has it."""
    rewritten: str | None = None
    """What the editor is told; None unless status is ok."""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    rewrite_seconds: float | None = None
    versions: dict[str, str] = {}
    """What the server says of the model that rewrote."""


class ScoreRecord(Record):
    """What the judge said of one sample."""

    id: Id
    category: str
    key: str | None = None
    """Score key: SHA-256 over what the judge was shown and told, the judge and its sampling."""
    status: Status
    error: str | None = None
    score: float | None = None
    """Criteria combined by the rubric, 0 to 10; None unless status is ok."""
    expected_score: float | None = None
    """Expectation of `score` under `probabilities`, criteria independent given the reply."""
    criteria: dict[str, float] = {}
    """Each criterion's value, on the rubric's scale; the mean where it was judged several times."""
    reasoning: str | None = None
    reply: str | None = None
    """The judge's raw reply, kept for failures too."""
    rejected: str | None = None
    """The raw reply before, which held no valid score; the judge was then asked once more."""
    correction: str | None = None
    """What it was told then; None where that was not recorded."""
    probabilities: dict[str, tuple[float, ...]] = {}
    """What the judge put on each criterion's values, ascending, of all on valid ones."""
    uncertainty: float | None = None
    """Entropy of `probabilities`, 0 (sure) to 1 (all values alike), mean over the criteria."""
    schema_mass: float | None = None
    """Probability that the judge itself put on allowed values, least over the criteria."""
    seed: int | None = None
    """Seed that the reply was sampled with; None if it is greedy."""
    scores: list[float] = []
    """Scores of several judgements of the same edit, whose mean is `score`."""
    judgements: list[dict[str, float]] = []
    """Each judgement's criteria, in the order of `scores`; empty where there is but one."""
    spread: float | None = None
    """Standard deviation of `scores` (ddof 0)."""
    swapped_score: float | None = None
    """Score of the edit against another sample's instruction, where that control is on."""
    judge: dict[str, Any] = {}
    """Identity of the judge: model, revision or fingerprint, settings."""
    rubric: str | None = None
    """SHA-256 of the rubric."""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    finish_reason: str | None = None
    """What ended the reply, in the server's word; None where no server was asked."""
    judge_seconds: float | None = None
    versions: dict[str, str] = {}
    """Software that judged."""
    cached: bool = False
    """Whether the reply was there already."""

    @property
    def fingerprint(self) -> str | None:
        """Short name of the judge: of its identity, its software and the rubric."""
        if not self.judge:
            return None
        decides = {"judge": self.judge, "versions": self.versions, "rubric": self.rubric}
        return sha256(canonical_json(decides).encode())[:12]


class PreservationRecord(Record):
    """How much an edit keeps of its source. `figures.measuring` defines each measure."""

    id: Id
    key: str
    """SHA-256 over what decides the numbers: both images and how they are measured."""
    source_width: int
    """Pixels, as shown."""
    source_height: int
    """Pixels, as shown."""
    edited_width: int
    """Pixels that the editor returned, before the size policy."""
    edited_height: int
    """Pixels that the editor returned, before the size policy."""
    size_ratio: FiniteFloat
    """Pixels of the edit over those of the source."""
    psnr: FiniteFloat | None
    """Peak signal-to-noise ratio in dB; None of an exact copy, where it is infinite."""
    ssim: FiniteFloat | None
    """Structural similarity of brightness; None of images smaller than its window."""
    changed_share: FiniteFloat
    """Share of the pixels that are clearly another colour, 0 to 1."""
    shift_x: FiniteFloat | None
    """Pixels of the source by which the edit's content lies further right; None if unknown."""
    shift_y: FiniteFloat | None
    """Pixels of the source by which the edit's content lies further down; None if unknown."""
    zoom_percent: FiniteFloat | None
    """Percent by which the edit's content is larger; None if unknown."""
    matched_share: FiniteFloat | None
    """Share of the blocks with texture that fit shift and zoom; None if these are unknown."""
    colour_l: FiniteFloat
    """Mean of L* in CIELAB less the source's."""
    colour_a: FiniteFloat
    """Mean of a* (green to red) less the source's."""
    colour_b: FiniteFloat
    """Mean of b* (blue to yellow) less the source's."""
    colour_cast: FiniteFloat
    """Colour difference ΔE (1976) of the means."""
    copy_of_source: Literal["exact", "near", "no"]
    """Whether the edit is a copy of its source, to the pixel or but for noise."""


class SimilarityRecord(Record):
    """What one model told of an edit beside its source; how is in `figures.similarity`."""

    id: Id
    key: str
    """SHA-256 over what decides the numbers: both images, the instruction and the model."""
    numbers: dict[Literal["clip_similarity", "clip_text", "dino_similarity", "lpips"], FiniteFloat]
    """By column of the tables; none of images that are too small for the model."""
    clip_text_cut: str | None = None
    """How many tokens of the instruction CLIP took, where it took only the beginning of it."""
