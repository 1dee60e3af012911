"""Records of what happened to each sample, and the only place that writes files.

Every write goes to a temporary file in the same folder and takes its final name by `os.replace`: a
kill at any moment leaves the old file or the new one.
"""

import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeVar

from PIL import Image, PngImagePlugin
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from lockstep import media, rows
from lockstep.errors import ConfigError, DamagedError
from lockstep.images import WHITE
from lockstep.rows import Rows

PROVENANCE = "lockstep"
"""Name of the PNG text chunk that holds an edit's provenance as JSON."""

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""Last chunk of every complete PNG; Pillow does not look for it."""

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""Names of files that are being written."""

Status = Literal["ok", "edit_failed", "judge_failed", "missing", "skipped"]


def file_name(name: str) -> str:
    """Return a name that is a file's in whatever folder it is put.

    Raises:
        ValueError: if it leads elsewhere.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"expected a name without folders, found {name!r:.60}")
    return name


def below(folder: Path, name: str) -> Path:
    """Return a path that a record names, below the folder that it is relative to.

    Raises:
        DamagedError: if it leads out of that folder.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise DamagedError(f"{folder}: expected a path below it in a record, found {name!r:.60}")
    return folder / name


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
    """One sentence: field, what was found, what would be accepted."""


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
    seed: int
    wave: int
    shard: int
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
    versions: dict[str, str] = {}
    """Software that made the edit."""
    cached: bool = False
    """Whether it was there already; all else is then that of the original edit."""


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


R = TypeVar("R", bound=Record)
P = TypeVar("P", Picture, Sample)
S = TypeVar("S", bound=Sample)


def canonical_json(value: Any) -> str:
    """Return the one JSON text that equal values share; NaN is refused."""
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pixels_sha256(image: Image.Image) -> str:
    """Hash an image's mode, size and pixels, whatever file they came from."""
    return sha256(f"{image.mode} {image.width}x{image.height} ".encode() + image.tobytes())


@contextmanager
def atomic(path: Path, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a binary file that becomes `path` when the block ends without an exception.

    Args:
        durable: whether it must outlive a power loss; what only living processes read need not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name that nobody can foresee, and no link that leads elsewhere
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with open(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Remove what kills have left of unfinished files; nobody may be writing there."""
    for root, _, names in os.walk(folder):
        for name in names:
            if TEMPORARY.fullmatch(name):
                os.unlink(os.path.join(root, name))


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    with atomic(path, durable) as file:
        file.write(data)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder and what its links lead to; the copy is there whole or not at all."""
    temporary = target.with_name(f".{target.name}.tmp")
    # what a kill left behind
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync() -> None:
    """Make all that was written outlive a power loss; of many files faster than one by one."""
    os.sync()


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        ValueError: if it is none.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except RecursionError:
        raise ValueError(f"{path}: found JSON nested too deep") from None


def host_folder() -> Path:
    """Return this user's folder for what concerns this host alone: locks, hashes of large files.

    Raises:
        ConfigError: if there is no room for it, or something else in its place.
    """
    name = f"lockstep-{os.getuid()}"
    folder = Path(os.environ.get("TMPDIR") or "/tmp") / name
    if not os.path.lexists(folder):
        # not always: while a disk is full this is another one, where no lock would be found
        try:
            folder = Path(tempfile.gettempdir()) / name
        except FileNotFoundError as error:
            raise ConfigError(f"TMPDIR: {error.strerror}, expected a folder with room") from None
    return own_folder(folder)


def own_folder(folder: Path) -> Path:
    """Return a folder that this user alone can read and write; it is made where there is none.

    Raises:
        ConfigError: if there is anything else, links included.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        found = "a link" if folder.is_symlink() else (error.strerror or "").lower()
        found = "a file" if error.errno == errno.ENOTDIR and found != "a link" else found
    else:
        status = os.fstat(handle)
        os.close(handle)
        if status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return folder
        found = "a folder that others own or can read"
    raise ConfigError(
        f"{folder}: expected a folder of this user alone, found {found}; remove it, or set TMPDIR "
        "to a folder of your own"
    )


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; NaN is refused."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    write_text(path, media.json(text) + "\n")


def json_line(record: Record) -> bytes:
    return (media.json(canonical_json(record.model_dump(mode="json"))) + "\n").encode()


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines."""
    with atomic(path) as file:
        file.writelines(map(json_line, records))


def read_records(path: Path, kind: type[R]) -> list[R]:
    """Read JSON lines as records of one kind.

    Raises:
        DamagedError: if a line is none.
    """
    return list(each_record([path], kind))


def each_record(paths: Iterable[Path], kind: type[R]) -> Iterator[R]:
    """Yield what `read_records` returns of several files, one record at a time."""
    for path in paths:
        with open(path, "rb") as file:
            for number, line in enumerate(file):
                yield _record(path, kind, number, line)


def _record(path: Path, kind: type[R], number: int, line: bytes) -> R:
    """Return the record in a line, of which there are so many before it."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise DamagedError(
            f"{path}: found a broken line {number + 1} ({reason}), "
            "delete the file and run again to have it made again"
        ) from None


def read_manifest(path: Path) -> Rows[Sample]:
    """Return a category's samples, each read when it is asked for.

    Their images become paths that can be opened.

    Raises:
        DamagedError: by what is read, if a line is none.
    """
    folder = Path(path).parent
    return rows.lines(
        path, lambda number, line: with_paths(_record(path, Sample, number, line), folder)
    )


def with_paths(sample: S, folder: Path) -> S:
    """Return a sample whose images are paths that can be opened, from those in a folder."""

    def placed(record: P) -> P:
        return record.model_copy(update={"image": str(folder / record.image)})

    reference = None if sample.reference is None else placed(sample.reference)
    more = list(map(placed, sample.more))
    return placed(sample).model_copy(update={"more": more, "reference": reference})


def save_edit(path: Path, image: Image.Image, provenance: dict[str, Any]) -> int:
    """Write an edited image as PNG with its provenance and the hash of its pixels inside.

    Returns:
        the file's bytes.

    Higher levels of compression take up to 17 times as long for at most 15% (docs/images.md).
    """
    text = PngImagePlugin.PngInfo()
    known = {"pixels_sha256": pixels_sha256(image), **provenance}
    text.add_itxt(PROVENANCE, canonical_json(known))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text, compress_level=1)
    _make_way(path)
    write_bytes(path, data := buffer.getvalue())
    return len(data)


def _make_way(path: Path) -> None:
    """Put a folder aside that lies where an image belongs; nobody knows whose it is."""
    if path.is_dir() and not path.is_symlink():
        aside = path.with_name(f"{path.name}.found-{time.time_ns()}")
        path.rename(aside)


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance of a complete edit, None for anything else.

    The end of the file and the pixels are verified, so that neither a file that was cut off nor one
    whose pixels were replaced is taken for an edit.
    """
    try:
        with open(path, "rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            if file.read() != PNG_END:
                return None
        with Image.open(path) as image:
            found = json.loads(image.info[PROVENANCE])
            same = found["pixels_sha256"] == pixels_sha256(image)
        return found if same else None
    except Exception:  # Pillow raises many kinds on what is no image
        return None
