"""Editors that are programs of their own: what they may do, and what becomes of it."""

import contextlib
import json
import os
import sys
import textwrap

import psutil
import pytest
from PIL import Image, ImageOps

from lockstep.config.load import load_config
from lockstep.editors import keys
from lockstep.editors.command import CommandSettings
from lockstep.errors import ConfigError, EditError, SharedError, SkipError
from lockstep.foreign.images import open_rgb
from lockstep.jobs import run
from lockstep.records import Picture
from tests.conftest import ROOT, make_sample
from tests.workflow.conftest import until
from tests.workflow.test_documents import blocks

(EXAMPLE,) = blocks("docs/own_editor.md", "python")

PROGRAM = """
import json, os, signal, sys, time
from PIL import Image

def say(**message):
    print(json.dumps(message), flush=True)

def write(request, size=(8, 8), colour="red"):
    Image.new("RGB", size, colour).save(request["output"])

ready = {{"ready": True}}
{start}
say(**ready)
for line in sys.stdin:
    request = json.loads(line)
{edit}
    say(id=request["id"], ok=True)
"""
"""A program whose start and edits a test says."""

PROMPTLY = 10


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started = []

    def make(edit="write(request)", start="", **given):
        (tmp_path / "edit.py").write_text(
            PROGRAM.format(start=textwrap.dedent(start), edit=textwrap.indent(edit, "    "))
        )
        known = {"name": "e", "type": "command", "version": "1", "folder": str(tmp_path)}
        command = (sys.executable, "edit.py")
        started.append(CommandSettings(**{**known, "command": command, **given}))
        return started[-1]

    return make


@pytest.fixture
def edited(sample):
    """Edit a sample, or several, and leave nothing running."""
    editors = []

    def edit(settings, *samples):
        if not editors:
            editors.append(settings.load("cpu"))
        (editor,) = editors
        found = [editor.edit(editor.prepare(s), s, 7) for s in samples or [sample]]
        return found[-1]

    yield edit
    for editor in editors:
        if editor._program is not None:
            editor._program.end()
    assert not guards()


def guards():
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] if any("guard.py" in word for word in process.cmdline()) else []
    return found


def exchanged(tmp_path):
    return list(tmp_path.glob("lockstep-*/exchange-*/*"))


def test_the_pages_example_edits_as_it_stands(settings, edited, sample, tmp_path):
    given = settings(arguments={"steps": 3})
    (tmp_path / "edit.py").write_text(EXAMPLE)
    assert len(EXAMPLE.splitlines()) <= 35
    source = open_rgb(sample.image)
    assert edited(given).tobytes() == ImageOps.mirror(source).tobytes()
    assert not exchanged(tmp_path)


def test_a_program_is_told_all_that_an_edit_needs(settings, edited, tmp_path):
    given = settings("json.dump(request, open('told', 'w')); write(request)", arguments={"s": [1]})
    sample = make_sample(tmp_path, "两 个\u2028 a", instruction='说 "你好"\n🙂')
    edited(given, sample)
    told = json.loads((tmp_path / "told").read_text())
    places = [told.pop("image"), told.pop("output")]
    assert all(os.path.isabs(place) and place.endswith(".png") for place in places)
    assert told == {
        "id": sample.id,
        "images": [],
        "instruction": sample.instruction,
        "seed": 7,
        "arguments": {"s": [1]},
    }


def test_a_program_gets_the_source_as_all_editors_see_it(settings, edited, tmp_path, monkeypatch):
    path = tmp_path / "turned.png"
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGBA", (40, 20), (0, 0, 255, 0)).save(path, exif=turned)
    sample = make_sample(tmp_path).model_copy(update={"image": str(path), "background": "#00ff00"})
    image = edited(settings("os.rename(request['image'], request['output'])"), sample)
    assert image.size == (20, 40)
    assert image.getpixel((0, 0)) == (0, 255, 0)


def test_it_takes_as_many_source_images_as_it_says(settings, edited, sample):
    more = Picture(image=sample.image, sha256="0" * 64, width=96, height=64)
    two, three = (sample.model_copy(update={"more": [more] * n}) for n in (1, 2))
    given = settings("write(request, (len(request['images']) + 1, 9))", start="ready['images'] = 2")
    assert edited(given, sample, two).size == (2, 9)
    with pytest.raises(SkipError, match="found 3 source images, but the program takes 2"):
        edited(given, three)


def test_it_sees_its_device_and_the_variables_that_it_is_given(
    settings, edited, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("OF_THE_SHELL", "1")
    start = "json.dump(dict(os.environ), open('seen', 'w'))"
    edited(settings(start=start, environment={"OWN": "值"}))
    seen = json.loads((tmp_path / "seen").read_text())
    expected = {"CUDA_VISIBLE_DEVICES": "3", "OF_THE_SHELL": "1", "OWN": "值"}
    assert expected.items() <= seen.items()


GARBAGE = r"""
os.write(1, b"\xff\xfe\x00 no text\n\n[1]\n17\nnull\n{\"loss\": 1}\n" + b"{" * 3000 + b"\n")
print(json.dumps({"id": "of another", "ok": True}))
print(line)
print("x" * 3_000_000)
for step in range(50): print(f"\r{step}/50", end="")
print(flush=True)
print("\x1b[31mred", file=sys.stderr, flush=True)
time.sleep(0.3)
for number in range(1000): print("line", number, file=sys.stderr)
write(request)
print("without an end of line ", end="")
"""


def test_whatever_a_program_prints_harms_nothing_and_is_logged_within_limits(
    settings, edited, caplog
):
    caplog.set_level("INFO")
    assert edited(settings(GARBAGE)).size == (8, 8)
    until(lambda: "more than 200 lines" in caplog.text, PROMPTLY)
    said = [r.message for r in caplog.records if "says: " in r.message]
    assert max(map(len, said)) < 600
    assert len(said) < 250
    assert "e says: 49/50" in said
    assert "48/50" not in caplog.text
    assert caplog.text.count("no answer to what was asked") == 2
    assert "\x1b" not in "".join(said)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        ("pass", "expected an image from the program, found none"),
        ("open(request['output'], 'wb')", "the program's image: .*found"),
        (
            "write(request, (400, 400)); os.truncate(request['output'], 300)",
            "the program's image: .*truncated",
        ),
        ("open(request['output'], 'w').write('no image')", "the program's image: "),
        ("os.mkdir(request['output'])", "Is a directory"),
        ("os.mkfifo(request['output'])", "no file"),
        ("Image.new('RGB', (9, 9)).save(request['output'], 'JPEG')", "expected a PNG.*jpg"),
        ("Image.new('RGBA', (9, 9)).save(request['output'])", "transparent pixels"),
        ("Image.new('1', (10000, 10000)).save(request['output'])", "expected up to 64,000,000 pix"),
        ("say(id=request['id'], error='too\\ndark'); continue", "the program: too dark"),
        ("say(id=request['id'], ok=False); continue", 'expected .*"ok": true.*found'),
        ("say(id=request['id'], status='done'); continue", 'expected .*"ok": true.*found'),
        ("say(id=request['id'], error=5); continue", 'expected .*"ok": true.*found'),
        ("say(id=request['id'], ok=True, error='but'); continue", "the program: but"),
    ],
)
def test_an_edit_that_cannot_be_taken_fails_alone(
    settings, edited, sample, tmp_path, edit, sentence
):
    once = (
        f"if not os.path.exists('once'):\n    open('once', 'w')\n    {edit}\nelse: write(request)"
    )
    given = settings(once)
    with pytest.raises(EditError, match=sentence):
        edited(given)
    assert not list(tmp_path.glob("lockstep-*/exchange-*/*.png"))
    assert edited(given).size == (8, 8)


LATE = """
if not os.path.exists('first'):
    open('first', 'w')
    if not os.fork():
        while not os.path.exists('second'): time.sleep(0.01)
        write(request)
        open('written', 'w')
        os._exit(0)
else:
    open('second', 'w')
    while not os.path.exists('written'): time.sleep(0.01)
"""


def test_an_image_that_comes_after_the_answer_is_taken_for_no_sample(settings, edited):
    given = settings(LATE)
    for _ in range(2):
        with pytest.raises(EditError, match="expected an image from the program, found none"):
            edited(given)


CRASHES = {
    "os._exit(3)": "ended with code 3",
    "os.kill(os.getpid(), signal.SIGKILL)": r"ended with code 137 \(SIGKILL\)",
    "os.kill(os.getpid(), signal.SIGSEGV)": r"ended with code 139 \(SIGSEGV\)",
    "raise RuntimeError('out of memory at ' + request['output'])": "RuntimeError: out of memory at",
    "sys.stdout.close(); os.close(1); time.sleep(60)": "expected an answer",
    "time.sleep(60)": "expected an answer within 1 s, found none",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)": "within 1 s",
}


@pytest.mark.parametrize("edit", CRASHES)
def test_a_program_that_ends_or_hangs_is_started_anew(settings, edited, sample, tmp_path, edit):
    once = f"if not os.path.exists('once'):\n    open('once', 'w')\n    {edit}\nwrite(request)"
    slow = "sleep" in edit
    given = settings(once, timeout=1 if slow else 60)
    assert edited(given).size == (8, 8)


@pytest.mark.parametrize("edit", CRASHES)
def test_a_sample_at_which_it_always_ends_fails_alone(settings, edited, tmp_path, edit):
    bad, good = make_sample(tmp_path, "bad one"), make_sample(tmp_path, "good")
    always = f"if request['id'] == 'bad one':\n    {edit}\nwrite(request)"
    given = settings(always, timeout=1 if "sleep" in edit else 60, attempts=1)
    with pytest.raises(EditError, match=CRASHES[edit]) as raised:
        edited(given, bad)
    assert "bad one" not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    assert edited(given, good).size == (8, 8)
    assert len(guards()) == 1


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        (
            "sys.exit('no weights')",
            'expected a line {"ready": true}, found the program ended with code 1',
        ),
        ("raise SystemExit(0)", "ended with code 0.*, and it said nothing"),
        ("time.sleep(60)", 'expected a line {"ready": true} within 1 s, found none'),
        ("say(error='needs a GPU'); time.sleep(60)", "found needs a GPU"),
        ("ready = {'ready': False}", 'expected a line {"ready": true}, found {"ready": false}$'),
        ("ready['images'] = 0", 'expected a number as "images", found 0'),
        ("ready['images'] = 'all'", "found 'all'"),
    ],
)
def test_a_program_that_does_not_get_ready_is_one_sentence(settings, start, sentence):
    with pytest.raises(SharedError, match=sentence) as raised:
        settings(start=start, start_timeout=1 if "60" in start and "say" not in start else 60).load(
            "cpu"
        )
    assert "\n" not in str(raised.value)
    assert not guards()


def test_a_program_that_ended_between_two_samples_costs_neither_a_try(settings, edited):
    given = settings(attempts=1)
    edited(given)
    (guard,) = guards()
    (program,) = guard.children()
    program.kill()
    until(lambda: not alive(guard), PROMPTLY)
    assert edited(given).size == (8, 8)


def test_a_program_that_cannot_be_started_anew_ends_the_job(settings, edited):
    start = "if os.path.exists('once'): sys.exit('no room')\nopen('once', 'w')"
    with pytest.raises(SharedError, match="ended with code 1; it said last: no room"):
        edited(settings("os._exit(1)", start=start))


def test_the_end_of_what_it_printed_says_why_it_did_not_start(settings):
    with pytest.raises(SharedError, match=r"it said last: .*No module named 'no_such_model'"):
        settings(start="import no_such_model").load("cpu")


def test_a_program_that_cannot_be_run_is_one_sentence(settings, tmp_path):
    (tmp_path / "none.py").write_text("no program")
    (tmp_path / "none.py").chmod(0o755)
    with pytest.raises(SharedError, match="Exec format error"):
        settings(command=("./none.py",)).load("cpu")


TREE = """
import subprocess
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
open("pids", "w").write(f"{os.getpid()} {child.pid}")
"""

OWNER = """
import sys, time
from lockstep.editors.command import CommandSettings
settings = CommandSettings.model_validate_json(sys.argv[1])
editor = settings.load("cpu")
print("loaded", flush=True)
time.sleep(99)
"""


@pytest.mark.parametrize("killed", ["owner", "guard", "program"])
def test_nothing_of_a_program_is_left_whoever_is_killed(settings, tmp_path, killed):
    given = settings(start=TREE).model_dump_json()
    owner = psutil.Popen([sys.executable, "-c", OWNER, given], stdout=-1)
    assert owner.stdout.readline() == b"loaded\n"
    pids = list(map(int, (tmp_path / "pids").read_text().split()))
    (guard,) = [p for p in owner.children() if any("guard.py" in w for w in p.cmdline())]
    family = [guard, *map(psutil.Process, pids)]
    {"owner": owner, "guard": guard, "program": family[1]}[killed].kill()
    # of a killed guard only the program itself can be sure to end
    mine = family[:2] if killed == "guard" else family
    until(lambda: not [p for p in mine if alive(p)], PROMPTLY)
    if killed != "guard":
        until(lambda: not list(tmp_path.glob("lockstep-*/exchange-*")), PROMPTLY)
    for process in (owner, *family):
        if alive(process):
            process.kill()
    owner.wait()


def alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def key(settings, sample):
    return keys.identity(settings, sample)


def test_a_key_holds_what_decides_and_no_place(settings, sample, tmp_path):
    (tmp_path / "weights").mkdir()
    for name in ("a.bin", "weights/b.bin", "weights/.hidden", "option.bin"):
        (tmp_path / name).write_text(name)
    words = (sys.executable, "edit.py", "-x", "--w=option.bin")
    given = settings(command=words, depends_on=("a.bin", "weights"))
    first = key(given, sample)

    def changed(**update):
        return key(given.model_copy(update=update), sample) != first

    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("edit.py", "a.bin", "option.bin", "weights"):
        os.system(f"cp -r {tmp_path / name} {moved}")
    assert not changed(folder=str(moved))
    assert not changed(command=("/other/env/bin/python", *words[1:]))
    assert not changed(timeout=1.0, start_timeout=1.0, attempts=5)
    assert changed(command=(*words, "--fast"))
    assert changed(version="2")
    assert changed(arguments={"steps": 1})
    assert changed(environment={"A": "b"})
    (moved / "weights" / ".hidden").write_text("another")
    for name in ("a.bin", "weights/b.bin", "option.bin", "edit.py"):
        before = (moved / name).read_text()
        (moved / name).write_text("another")
        copy = tmp_path / f"copy-{name.replace('/', '-')}"
        os.system(f"cp -r {moved} {copy}")
        assert changed(folder=str(copy)), name
        (moved / name).write_text(before)


def test_a_changed_file_is_another_model_in_memory_and_another_state(settings, tmp_path):
    given = settings()
    before = run.model_key(given), given.state()
    (tmp_path / "edit.py").write_text("another")
    assert run.model_key(given) != before[0]
    assert given.state() != before[1]
    with_words = given.model_copy(update={"command": (*given.command, "--fast")})
    assert with_words.state() != given.state()


def test_a_program_whose_files_changed_since_they_were_hashed_edits_nothing(
    settings, edited, sample, tmp_path
):
    (tmp_path / "weights").write_text("one")
    given = settings(depends_on=("weights",))
    given.identity(sample)
    (tmp_path / "weights").write_text("another")
    with pytest.raises(SharedError, match=r"e: .*weights changed during the run, run it again"):
        edited(given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"command": "no-such-program edit.py"},
            "command: expected a program on PATH, found no 'no-such-",
        ),
        ({"command": ["./edit.py"]}, "command: expected an executable file, found no './edit.py'"),
        ({"command": []}, "command: expected"),
        ({"command": "'a"}, "command: expected words as a shell splits them, found No closing"),
        ({"command": ["a\0"]}, "command: expected words that a program can be given, found a NUL"),
        ({"command": None}, "command: found nothing|command: expected"),
        ({"version": None}, "version: "),
        ({"version": 1.0}, r"version: expected a text \(in quotes\), found 1.0"),
        ({"depends_on": ["no-file"]}, r"depends_on\[0\]: found no file"),
        ({"folder": "no-folder"}, "folder: found no folder 'no-folder'"),
        (
            {"environment": {"CUDA_VISIBLE_DEVICES": "0"}},
            "environment: found CUDA_VISIBLE_DEVICES, which",
        ),
        ({"environment": {"A=B": "0"}}, "environment: expected names and values of variables"),
        ({"timeout": 0}, "timeout: expected greater than 0, found 0"),
        ({"attempts": 0}, "attempts: expected"),
        ({"argument": {}}, r"found an unknown key \(did you mean 'arguments'\?\)"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_sentence(given, sentence, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    editor = {"name": "a", "type": "command", "command": "python edit.py", "version": "1"}
    data = {
        "benchmark": {"path": "README.md", "format": "re-edit"},
        "editors": [{**editor, **given}],
        "judge": {"type": "qwen3_vl", "model": "Qwen/Qwen3-VL-8B-Instruct"},
    }
    with pytest.raises(ConfigError, match=rf"c.yaml: editors\[0\]\.?.*{sentence}") as raised:
        load_config(data, "c.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("program", "folder"), [("./own", "."), ("bin/../own", "."), ("./own", "..")]
)
def test_a_program_in_the_folder_where_it_runs_is_found(
    settings, tmp_path, monkeypatch, program, folder
):
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path if folder == "." else tmp_path / "bin")
    (tmp_path / "own").write_text("#!/bin/sh\n")
    given = settings(command=(program,), folder=folder)
    assert [own.field for own in given.missing([])] == ["command"]
    (tmp_path / "own").chmod(0o755)
    assert not list(given.missing([]))


def test_a_command_is_a_list_or_as_a_shell_reads_it(settings):
    given = settings(command="conda run -n 'my env' python edit.py")
    assert given.command == ("conda", "run", "-n", "my env", "python", "edit.py")
