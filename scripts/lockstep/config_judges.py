"""What a user may say of the judge."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from lockstep.config_section import Dtype, PathText, PlainPath, Seconds, Section
from lockstep.protocol import PROTOCOL, read_protocol


class Judge(Section):
    """What all judges share."""

    on_device: ClassVar[bool] = False
    """Whether it runs on the job's own device."""
    pace: ClassVar[frozenset[str]] = frozenset({"rubrics", "anchors"})
    """Keys that decide no score (rubrics and anchors are files); a change judges nothing anew."""
    rubrics: PlainPath = Field(
        "config/rubrics",
        description="Folder with one rubric per category or a protocol, or one file for all.",
    )

    def rubric_file(self, category: str) -> str:
        """Return the path of a category's rubric.

        Raises:
            RubricError: if the folder holds a protocol that is none.
        """
        if self.rubrics.endswith(".yaml"):
            return self.rubrics
        if self.protocol_file is not None:
            return read_protocol(Path(self.protocol_file)).rubric_file(category)
        return f"{self.rubrics}/{category}.yaml"

    @property
    def protocol_file(self) -> str | None:
        """Path of the protocol that the rubrics belong to, where there is one."""
        path = Path(self.rubrics) / PROTOCOL
        return str(path) if path.is_file() else None


class ModelJudge(Judge):
    """What all judges share that are asked."""

    mode: Literal["reasoned", "score_only"] = Field(
        "reasoned", description="Reason before the scores, or for quick looks give them at once."
    )
    repeats: PositiveInt = Field(
        1,
        le=100,
        description="Judgements of each edit; their mean is its score, their spread is reported.",
    )
    temperature: PositiveFloat = Field(
        0.7, description="Temperature of several judgements; a single one is greedy."
    )
    max_reasoning_tokens: PositiveInt = Field(
        256, le=32_768, description="Longest reasoning before the scores."
    )
    swapped_instruction: bool = Field(
        False,
        description="Judge each edit against another sample's instruction too, as a control.",
    )
    anchors: PlainPath | None = Field(
        None, description="Folder of an anchor set, judged anew to see whether the judge drifts."
    )


class Qwen3VLJudge(ModelJudge):
    """Qwen3-VL in the jobs themselves, on their devices."""

    on_device: ClassVar[bool] = True
    pace: ClassVar[frozenset[str]] = Judge.pace | {
        "use_batch_inference",
        "batch_size",
        "gpus_per_judge",
        "device_map",
    }
    type: Literal["qwen3_vl"]
    model: PathText = Field(description="Hub id or folder.")
    revision: str | None = Field(None, description="Commit or branch of a hub id.")
    dtype: Dtype = Field("bfloat16", description="Number format of the weights.")
    use_batch_inference: bool = Field(True, description="Judge several samples at a time.")
    batch_size: PositiveInt | Literal["auto"] = Field(
        "auto", description="Edits judged at a time; auto takes what the device has room for."
    )
    gpus_per_judge: PositiveInt = Field(
        1, description="GPUs over which one judge is spread, where it is too large for one."
    )
    device_map: Literal["auto"] | dict[str, NonNegativeInt] = Field(
        "auto",
        description="Which of its GPUs holds which module, from 0; auto gives each about as much.",
    )
    min_schema_mass: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least probability that the judge itself must put on valid scores.",
    )

    @model_validator(mode="after")
    def _mapped(self) -> Self:
        if self.device_map == "auto":
            return self
        found, there = sorted(set(self.device_map.values())), list(range(self.gpus_per_judge))
        if found != there:
            raise ValueError(
                f"found a device_map to {found}, accepted is one to all of {there} "
                f"(gpus_per_judge: {self.gpus_per_judge})"
            )
        return self


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment:
        # it may hold a secret, so it is not shown
        raise ValueError(
            "found more than an address, accepted is one without user, password and query "
            "(judge.api_key_variable names the key)"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"found {url!r}, accepted is an address such as http://localhost:8000/v1")
    return url.rstrip("/")


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port of an address, if it names one, can be one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


class OpenAIJudge(ModelJudge):
    """A model behind a server with the OpenAI interface, such as vLLM or a commercial one."""

    gpus_per_judge: ClassVar[int] = 1
    pace: ClassVar[frozenset[str]] = Judge.pace | {
        "url",
        "api_key_variable",
        "concurrency",
        "timeout",
        "attempts",
        "max_wait",
        "max_failed_share",
        "input_price",
        "output_price",
    }
    type: Literal["openai"]
    model: str = Field(min_length=1, description="Name of the model on the server.")
    revision: str | None = Field(
        None, description="Version of the weights on the server; a change of it judges anew."
    )
    url: Annotated[str, AfterValidator(_plain_url)] = Field(
        description="Address of the server up to /v1; the same model elsewhere is the same judge."
    )
    api_key_variable: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = Field(
        None, description="Environment variable that holds the server's key."
    )
    response_format: Literal["text", "json_schema"] = Field(
        "text",
        description="json_schema has the server hold replies to the scores' schema; they come "
        "without reasoning.",
    )
    request: dict[str, Any] = Field(
        {}, description="Further fields of the requests; null leaves a usual one out."
    )
    concurrency: PositiveInt = Field(
        16, le=10_000, description="Requests at a time, all jobs together."
    )
    timeout: Seconds = Field(
        300.0, description="Seconds within which a try must be over, to the answer's last byte."
    )
    attempts: PositiveInt = Field(8, le=100, description="Most tries of one request.")
    max_wait: Seconds = Field(
        120.0, description="Longest pause between two tries; a server that wants more has failed."
    )
    max_failed_share: float = Field(
        0.2, ge=0, le=1, description="Share of failed requests above which a job stops."
    )
    input_price: NonNegativeFloat | None = Field(
        None, description="Price of a million prompt tokens, in any currency."
    )
    output_price: NonNegativeFloat | None = Field(
        None, description="Price of a million generated tokens, in the same currency."
    )


class PrecomputedJudge(Judge):
    """Finished replies from a folder, `{editor}/{id}.txt`, or finished scores from a file."""

    gpus_per_judge: ClassVar[int] = 1
    mode: ClassVar[str] = "reasoned"
    repeats: ClassVar[int] = 1
    swapped_instruction: ClassVar[bool] = False
    anchors: ClassVar[str | None] = None
    type: Literal["precomputed"]
    folder: PathText | None = Field(None, description="Folder of the replies.")
    scores: PlainPath | None = Field(
        None,
        description="CSV, JSONL or Parquet with category, id, a column for each criterion or "
        "score, and optionally editor.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "PrecomputedJudge":
        if (self.folder is None) == (self.scores is None):
            found = "neither" if self.folder is None else "both"
            raise ValueError(f"found {found} of folder and scores, accepted is one of them")
        return self


AnyJudge = Annotated[Qwen3VLJudge | OpenAIJudge | PrecomputedJudge, Field(discriminator="type")]

JUDGES = {
    kind.model_fields["type"].annotation.__args__[0]: kind
    for kind in (Qwen3VLJudge, OpenAIJudge, PrecomputedJudge)
}
"""Kinds of judges by their `type`."""
