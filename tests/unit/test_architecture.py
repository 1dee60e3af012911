"""Walls between the parts, read from the syntax trees."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

PACKAGES = ROOT / "scripts"
LIBRARY, MINIATURE = PACKAGES / "lockstep", PACKAGES / "miniature"
WRITE = re.compile(r"\.write_(text|bytes)\(|open\([^)]*\"[wax]")
PATHS = (
    "manifest|edits|scores|waves|judgements|provenance|anchors|anchor_set|compare|agreement.json"
)
PATHS += "|table.csv|summary.json|report.json|report.html|drift.json"
JOINED = re.compile(
    rf"/ f?\"({PATHS})[\"/]|glob\(f?\"[^\"]*({PATHS}|shard-)|\.parents?(\[\d\])?\.name\b"
)
HEAVY = {"torch", "diffusers", "transformers"}


ROOMS = [
    "errors",
    "plan",
    "layout",
    "foreign",
    "records",
    "config.section",
    "benchmark",
    "rubrics",
    "devices",
    "models",
    "fast",
    "editors",
    "judges",
    "config",
    "editing",
    "scoring",
    "jobs",
    "figures",
    "report",
    "demo",
    "workflow",
    "commands",
    "__init__",
    "__main__",
    "miniature",
]
"""From the ground up: each imports only what stands before it. docs/architecture.md shows it."""


def modules():
    return sorted([*LIBRARY.rglob("*.py"), *MINIATURE.rglob("*.py")])


def name_of(path):
    """Return a module's name, without `lockstep`, that of a package without `__init__`."""
    own = LIBRARY if path.is_relative_to(LIBRARY) else PACKAGES
    parts = path.relative_to(own).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in modules()}


def imported(path, everywhere=True):
    """Return the modules that a module imports, whole names for ours and packages for others."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # the version is a constant, and no door to other rooms
            names = [alias.name for alias in node.names if alias.name != "__version__"]
            below = {f"{node.module}.{name}" for name in names}
            ours = {name for name in below if name.removeprefix("lockstep.") in NAMES}
            found |= ours or ({node.module} if names else set())
    return found


def packages(path, everywhere=True):
    """Return the top-level packages that a module imports."""
    return {name.split(".")[0] for name in imported(path, everywhere)}


def of_ours(path):
    return {
        name.removeprefix("lockstep.") if name != "lockstep" else "__init__"
        for name in imported(path)
        if name.split(".")[0] in ("lockstep", "miniature")
    }


def room(name):
    """Return the place in ROOMS of a module."""
    fitting = [r for r in ROOMS if name == r or name.startswith(f"{r}.")]
    assert fitting, f"{name} is in no room"
    return ROOMS.index(max(fitting, key=len))


def test_the_page_on_the_architecture_lists_the_rooms():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z`., ]+`) \|", page.split("## The rooms")[1], re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`([a-z.]+)`", row)]
    assert listed == [name for name in ROOMS[:-1] if not name.startswith("__")]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_room_imports_only_from_rooms_below_it(name):
    above = {other for other in of_ours(NAMES[name]) if room(other) > room(name)}
    assert not above


def unit(name):
    """Return a module's name; a backend's settings load what they configure, so they are one."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("editors", "judges") else name


def test_no_module_imports_itself_by_way_of_others():
    left = {}
    for name, path in NAMES.items():
        left.setdefault(unit(name), set()).update(map(unit, of_ours(path) & NAMES.keys()))
    for name, needed in left.items():
        needed.discard(name)
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    assert not left


def test_the_house_has_few_doors():
    entries = {path.name for path in LIBRARY.iterdir()} - {"__pycache__", "py.typed"}
    assert len(entries) <= 23
    stems = {Path(entry).stem for entry in entries}
    assert not stems & sys.stdlib_module_names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGES)))
def test_no_file_is_too_long_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGES)))
def test_the_library_knows_nothing_of_snakemake(path):
    assert not any(name.startswith("snakemake") for name in packages(path))


def test_torch_is_imported_only_where_models_run():
    backends = {"editors", "fast", "judges"}
    backends |= {f"miniature.{name}" for name in ("drawing", "measure", "passes", "training")}
    backends |= {f"miniature.{name}" for name in ("editor_training", "judge_training")}
    backends |= {"miniature.checkpoints"}
    backends |= {"models.qwen_vl"}
    for name, path in NAMES.items():
        if not {name, name.split(".")[0]} & backends or path.name == "__init__.py":
            assert not packages(path, everywhere=False) & HEAVY, name


def test_only_the_device_module_reads_the_visible_devices():
    for path in modules():
        if path != LIBRARY / "devices" / "device.py":
            assert "CUDA_VISIBLE_DEVICES" not in path.read_text(encoding="utf-8"), path


def test_only_one_module_of_rubrics_parses_replies():
    for folder in ("judges", "scoring"):
        for path in (LIBRARY / folder).rglob("*.py"):
            assert "json" not in packages(path), path


def test_only_the_layout_joins_paths_of_results_and_takes_them_apart():
    # the report writes its own files, into the folder that it is given
    own = {"layout.py", "report/write.py", "report/compare.py"}
    for path in [*modules(), *(PACKAGES / "rules").glob("*.py")]:
        if str(path).removeprefix(f"{LIBRARY}/") not in own:
            lines = path.read_text(encoding="utf-8").splitlines()
            assert not [line for line in lines if JOINED.search(line)], path


def test_only_the_records_module_writes_files():
    for path in modules():
        if path not in {LIBRARY / "records" / "files.py", LIBRARY / "jobs" / "joblog.py"}:
            lines = path.read_text(encoding="utf-8").splitlines()
            writes = [line for line in lines if WRITE.search(line) and "records." not in line]
            assert not writes, path


def test_a_dry_run_loads_no_torch():
    code = (
        "import sys; from lockstep import workflow; "
        f"print([name for name in {sorted(HEAVY)} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((PACKAGES / "rules").glob("*.py")), ids=lambda p: p.name)
def test_a_rules_script_is_thin(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.With)]
    assert block.end_lineno - block.lineno < 25


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.smk")), ids=lambda p: p.name)
def test_every_job_claims_what_the_cluster_is_told(path):
    for rule in re.split(r"(?m)^ *rule\b", path.read_text(encoding="utf-8"))[1:]:
        assert re.search(r"_CLAIMS(\[name\])?,", rule), rule.splitlines()[:3]


def test_the_lock_names_no_address_and_the_environments_have_its_pins():
    lock = (ROOT / "envs" / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in lock
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE))
    for kind in ("edit", "score", "metrics", "report"):
        environment = yaml.safe_load((ROOT / "envs" / f"{kind}.yaml").read_text(encoding="utf-8"))
        for package in environment["dependencies"][-1]["pip"]:
            name, _, version = package.partition("==")
            assert pins[name] == version, package


SCRIPTS = {
    "edit": ["edit_shard", "make_tiny_models", "rewrite_instructions"],
    "score": ["score_shard", "judge_anchors", "collect_anchors", "judge_pairs"],
    "metrics": ["tabulate_scores"],
    "report": [
        "prepare_manifests",
        "survey_benchmark",
        "tabulate_scores",
        "write_report",
        "pack_bundle",
        "write_rating",
        "measure_agreement",
        "compare_judges",
        "compare_sources",
        "sum_up_protocol",
        "choose_pairs",
        "rate_editors",
    ],
}
"""Scripts of the rules that name an environment file."""

IMPORT = """
import ast, sys
from importlib.metadata import packages_distributions

allowed, scripts = set(sys.argv[1].split(",")), sys.argv[2:]
owners = packages_distributions()

class Wall:
    def find_spec(self, name, path=None, target=None):
        found = {owner.lower().replace("_", "-") for owner in owners.get(name, ())}
        if found and not found & allowed:
            raise ImportError(f"{name} is not in the environment")

sys.meta_path.insert(0, Wall())
for script in scripts:
    body = ast.parse(open(script, encoding="utf-8").read()).body
    statements = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(statements, []), script, "exec"))
"""


def with_requirements(names):
    """Return packages with all that they require, as installed."""
    found = set()
    while names:
        name = names.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            try:
                required = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            names += [re.match(r"[\w.-]+", line)[0] for line in required if "extra ==" not in line]
    return found


@pytest.mark.parametrize("kind", SCRIPTS)
def test_an_environment_has_what_its_scripts_import(kind):
    rules = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    named = re.findall(rf'envs/{kind}\.yaml".*?scripts/rules/(\w+)\.py', rules, re.DOTALL)
    # one script may be that of several rules
    assert {*named} == {*SCRIPTS[kind]}
    environment = yaml.safe_load((ROOT / "envs" / f"{kind}.yaml").read_text(encoding="utf-8"))
    listed = [line.partition("==")[0] for line in environment["dependencies"][-1]["pip"]]
    allowed = ",".join({*with_requirements(listed), "lockstep"})
    scripts = [str(PACKAGES / "rules" / f"{name}.py") for name in SCRIPTS[kind]]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, allowed, *scripts], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
