"""Configuration: one clear sentence for each mistake, and generated files in step."""

import copy
import json
import os
import re

import pytest
import yaml
from pydantic import ValidationError

from lockstep.config.load import load_comparison, load_config, of_job
from lockstep.config.section import Section
from lockstep.errors import ConfigError
from tests import config_docs
from tests.conftest import ROOT

BASE = {
    "benchmark": {"path": "README.md", "format": "re-edit"},
    "editors": [{"name": "control", "type": "identity"}],
    "judge": {"type": "qwen3_vl", "model": "Qwen/Qwen3-VL-8B-Instruct"},
}
SERVED = {"type": "openai", "url": "http://localhost:8000/v1"}
IMAGES = {"name": "a", "type": "openai_images", "model": "m"}


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def load(**sections):
    data = copy.deepcopy(BASE)
    for key, value in sections.items():
        if isinstance(value, dict):
            data[key] = {**data.get(key, {}), **value}
        else:
            data[key] = value
    return load_config(data, "c.yaml")


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"benchmrk": 1}, "c.yaml: benchmrk: found an unknown key (did you mean 'benchmark'?)"),
        (
            {"benchmark": {"lmit": 1}},
            "benchmark.lmit: found an unknown key (did you mean 'limit'?)",
        ),
        ({"results": ""}, "c.yaml: results: expected at least 1 item"),
        (
            {"editors": [{"name": "a" * 65, "type": "identity"}]},
            "expected at most 64 characters",
        ),
        ({"benchmark": {"limit": "x"}}, 'benchmark.limit: expected a whole number, found "x"'),
        ({"benchmark": {"limit": 0}}, "benchmark.limit: expected greater than 0, found 0"),
        (
            {"benchmark": {"strict": "maybe"}},
            'benchmark.strict: expected true or false, found "maybe"',
        ),
        ({"benchmark": {"language": "fr"}}, "expected 'en' or 'zh', found"),
        (
            {"benchmark": {"background": "whitte"}},
            "benchmark.background: expected '#rrggbb' or a CSS colour name, found 'whitte' "
            "(did you mean 'white'?)",
        ),
        (
            {"editors": [{"name": "a", "type": "identity", "size": "original"}]},
            "editors[0].size: expected 'native' or 'source', found \"original\"",
        ),
        (
            {"editors": [{"name": "a", "type": "identity", "resize_filter": "sinc"}]},
            "editors[0].resize_filter: expected 'lanczos', 'bicubic'",
        ),
        (
            {"benchmark": {"categories": ["phsical"]}},
            "found category 'phsical' (did you mean 'physical'?); expected one of physical (物理)",
        ),
        (
            {"benchmark": {"categories": ["物理", "physical"]}},
            "expected each category once, found ['physical', 'physical']",
        ),
        ({"cluster": {}}, "c.yaml: cluster.shards: expected a value, found nothing"),
        ({"cluster": {"shards": 2, "gpus": 1}}, "cluster.gpus: found an unknown key"),
        (
            {"cluster": {"shards": 2}, "devices": {"device_ids": [0, 1]}},
            "devices.device_ids: expected auto, found [0, 1] beside cluster",
        ),
        (
            {"cluster": {"shards": 2, "partition": "gpu; rm -r x"}},
            "cluster.partition: expected letters, digits",
        ),
        ({"benchmark": {"path": "no.json"}}, "benchmark.path: found no file 'no.json'"),
        (
            {"benchmark": {"path": "no.csv", "format": "auto", "categories": ["cats"]}},
            "benchmark.path: found no file 'no.csv'",
        ),
        (
            {"benchmark": {"path": "no.csv", "format": "table"}},
            "benchmark.path: found no file 'no.csv'",
        ),
        ({"judge": {"gpus_per_judge": 0}}, "judge.gpus_per_judge: expected greater"),
        (
            {"judge": {"gpus_per_judge": 2, "device_map": {"model": 0, "lm_head": 2}}},
            "judge: expected a device_map to all of [0, 1] (gpus_per_judge: 2), found one to [0, 2",
        ),
        (
            {"editors": BASE["editors"] * 2},
            "editors: expected each name once, found 'control' twice",
        ),
        ({"editors": []}, "editors: expected at least one editor, found an empty list"),
        ({"editors": [{"name": "a"}]}, "editors[0].type: found nothing; expected one of diffusers"),
        ({"editors": [{"name": "a", "type": "difusers"}]}, "(did you mean 'diffusers'?)"),
        (
            {"editors": [{"name": "a/b", "type": "identity"}]},
            'beginning with a letter or digit, found "a/b"',
        ),
        ({"editors": [{"name": "report", "type": "identity"}]}, "'report', which the workflow"),
        ({"editors": [{"name": "physical", "type": "identity"}]}, "'physical', which the workflow"),
        (
            {"editors": [{"name": "a", "preset": "qwen-image-edt"}]},
            "found preset 'qwen-image-edt' (did you mean 'qwen-image-edit'?)",
        ),
        (
            {"editors": [{"name": "a", "preset": "qwen-image-edit", "num_inference_step": 4}]},
            "editors[0].num_inference_step: found an unknown key "
            "(did you mean 'num_inference_steps'?)",
        ),
        (
            {"editors": [{"name": "a", "type": "diffusers", "model": "./no"}]},
            "editors[0].model: found no file 'no/model_index.json'",
        ),
        (
            {"editors": [{"name": "a", "type": "precomputed", "folder": "no"}]},
            "editors[0].folder: found no file 'no'",
        ),
        ({"judge": {"model": "./no"}}, "judge.model: found no file 'no/config.json'"),
        ({"metrics": {"clp": "no"}}, "metrics.clp: found an unknown key (did you mean 'clip'?)"),
        ({"metrics": {"dino": "no"}}, "metrics.dino: expected a folder with the model's files"),
        (
            {"judge": {"rubrics": "no"}},
            "judge.rubrics: found no file 'no/physical.yaml', the rubric of 'physical'; expected "
            "a file for each category, or the path of one .yaml file for all",
        ),
        ({"judge": {"repeats": 10**9}}, "judge.repeats: expected less than"),
        (
            {"judge": {"max_reasoning_tokens": 10**9}},
            "judge.max_reasoning_tokens: expected less than",
        ),
        ({"judge": SERVED | {"attempts": 10**9}}, "judge.attempts: expected less than"),
        (
            {"judge": SERVED | {"concurrency": 10**9}},
            "judge.concurrency: expected less than or equal to 10000, found",
        ),
        (
            {"judge": SERVED | {"timeout": 1e300}},
            "judge.timeout: expected less than or equal to 1000000000, found",
        ),
        ({"devices": {"join_timeout": 1e300}}, "devices.join_timeout: expected less than"),
        ({"cluster": {"shards": 10**9}}, "cluster.shards: expected less than"),
        (
            {"judge": {"batch_size": 0}},
            "judge.batch_size: expected greater than 0 or 'auto', found 0",
        ),
        (
            {"judge": {"type": "opnai"}},
            "judge.type: found 'opnai' (did you mean 'openai'?); expected one of",
        ),
        ({"judge": SERVED | {"urll": 1}}, "judge.urll: found an unknown key (did you mean 'url'?)"),
        (
            {"judge": SERVED | {"url": "a.b:80"}},
            "judge.url: expected an address such as http://localhost:8000/v1, found 'a.b:80'",
        ),
        (
            {"judge": SERVED | {"url": "http://a.b:80o0/v1"}},
            "judge.url: expected an address such as http://localhost:8000/v1, found 'http://a.b:80o",
        ),
        (
            {"judge": SERVED | {"url": "http://a.b/v1/chat/completions/"}},
            "judge.url: expected the server's address without /chat/completions, found 'http://a.b",
        ),
        (
            {"editors": [IMAGES | {"url": "http://a.b/v1/images/edits"}]},
            "editors[0].url: expected the server's address without /images/edits, found 'http://a",
        ),
        (
            {"judge": SERVED | {"max_failed_share": 2}},
            "judge.max_failed_share: expected less than or equal to 1, found 2",
        ),
        (
            {"devices": {"device_ids": [0, 1, 0]}},
            "expected each device once, found 0 twice",
        ),
        (
            {"devices": {"device_ids": [0, "0"]}},
            "expected each device once, found 0 twice",
        ),
        (
            {"devices": {"join_timeout": float("inf")}},
            "devices.join_timeout: expected a finite number, found",
        ),
        ({"results": "a{b}"}, 'results: expected a path without braces, found "a{b}"'),
        ({"results": ""}, 'results: expected at least 1 item, found ""'),
        ({"identity": 1}, "c.yaml: identity: found an unknown key"),
        ({"benchmark": {"path": "docs"}}, "benchmark.path: expected a file, found a folder 'docs'"),
        (
            {"devices": {"device_ids": []}},
            "expected at least one device, or auto",
        ),
        ({"devices": {"device_ids": "all"}}, "expected 'auto' or a list, found \"all\""),
        ({"devices": {"device_ids": [1.5]}}, "expected a whole number or a text (in quotes)"),
        (
            {"devices": {"schedule": "queue", "enable_batch_sync": False}},
            "c.yaml: devices: expected one schedule, found schedule: queue beside "
            "enable_batch_sync: false, the older spelling of schedule: free; leave one out",
        ),
        (
            {"devices": {"schedule": "lockstep", "enable_batch_sync": "false"}},
            "found schedule: lockstep beside enable_batch_sync: false",
        ),
        (
            {"devices": {"schedule": "free", "enable_batch_sync": True}},
            "found schedule: free beside enable_batch_sync: true",
        ),
        (
            {"devices": {"schedule": "locksteps"}},
            "devices.schedule: expected 'lockstep', 'free' or 'queue', found \"locksteps\"",
        ),
        (
            {"devices": {"schedule": "queue", "max_wave_lead": 2}},
            "devices: expected max_wave_lead: 0 beside schedule: queue, where no device waits",
        ),
        (
            {"devices": {"enable_batch_sync": False, "max_wave_lead": 1}},
            "beside schedule: free, where no device waits for a wave, found 1",
        ),
        ({"devices": {"enable_batch_sync": "maybe"}}, 'found "maybe"'),
        (
            {"benchmark": {"max_rejected_share": True}},
            "benchmark.max_rejected_share: expected a number, found true",
        ),
        ({"seeds_per_sample": True}, "seeds_per_sample: expected a whole number, found true"),
        (
            {"judge": {"min_schema_mass": False}},
            "judge.min_schema_mass: expected a number, found false",
        ),
        (
            {"report": {"threshold": 99}},
            "report.threshold: expected a score from 0 to 10, found 99",
        ),
        ({"rating": {"mode": "pairs"}}, "rating.mode: expected criteria with one editor, found p"),
        ({"judge": {"pairs": True}}, "judge.pairs: expected false with one editor, found true"),
        (
            {"report": {"human_scales": {"score": {"scale": [0, 100]}}}},
            "report.human_scales: expected a file in report.human_scores beside it, found none",
        ),
        (
            {"editors": [{"name": name, "type": "identity"} for name in ("own", "Own")]},
            "expected names that differ in more than capital letters, found 'own' and 'Own'",
        ),
        (
            {"editors": [{"name": "Manifest", "type": "identity"}]},
            "editors: found name 'Manifest', which the workflow uses itself; expected another one",
        ),
    ],
)
def test_a_mistake_is_one_clear_sentence(sections, sentence):
    with pytest.raises(ConfigError) as error:
        load(**sections)
    text = str(error.value)
    assert sentence in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key_variable", "sk-secret0123"),
        ("api_key_variable", "secret0123"),
        ("url", "https://user:secret0123@example.org/v1"),
        ("url", "https://secret0123@example.org/v1"),
        ("url", "https://example.org/v1?key=secret0123"),
        ("api_key", "secret0123"),
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_shown(key, value):
    with pytest.raises(ConfigError) as error:
        load(judge=SERVED | {key: value})
    assert f"judge.{key}: " in str(error.value)
    assert "secret0123" not in str(error.value)


DIFFUSERS = {"name": "a", "type": "diffusers", "model": "some/model"}


def with_path(where, path):
    """Return sections of a configuration with a path in one place."""
    editors = {
        "model": DIFFUSERS | {"model": path},
        "adapter": DIFFUSERS | {"adapters": [{"path": path}]},
        "weight_name": DIFFUSERS | {"adapters": [{"path": "some/a", "weight_name": path}]},
        "preset": {"name": "a", "preset": path},
        "folder": {"name": "a", "type": "precomputed", "folder": path},
    }
    if where in editors:
        return {"editors": [editors[where]]}
    section, _, key = where.partition(".")
    found = {"judge.folder": {"type": "precomputed"}, "judge.scores": {"type": "precomputed"}}
    return {section: {**found.get(where, {}), key: path} if key else path}


@pytest.mark.parametrize("path", ["a/" + "x" * 5000, "y/" * 3000 + "z", "a/\0b"])
@pytest.mark.parametrize(
    "where",
    [
        *("model", "adapter", "weight_name", "preset", "folder", "results", "benchmark.path"),
        *("benchmark.images", "judge.model", "judge.rubrics", "judge.anchors", "judge.folder"),
        *("judge.scores", "report.human_scores", "devices.compile_cache"),
    ],
)
def test_a_path_that_no_file_can_have_is_a_sentence(where, path):
    sections = with_path(where, path)
    if where in ("judge.folder", "judge.scores"):
        data = {**copy.deepcopy(BASE), **sections}
        with pytest.raises(ConfigError):
            load_config(data, "c.yaml")
        return
    with pytest.raises(ConfigError) as error:
        load(**sections)
    assert "\n" not in str(error.value)


def sections(kind=Section):
    for own in kind.__subclasses__():
        yield own
        yield from sections(own)


def test_true_and_false_are_no_numbers_in_any_section():
    seen = set()
    for own in sections():
        for name, field in own.model_fields.items():
            text = str(field.annotation)
            if not re.search(r"\b(int|float)\b", text) or "bool" in text:
                continue
            value = [True, True] if re.search("tuple|Scale", text) else True
            value = {"a": value} if "dict" in text else value
            with pytest.raises(ValidationError) as error:
                own.model_validate_json(json.dumps({name: value}))
            told = [e for e in error.value.errors() if e["loc"][0] == name]
            assert {"int_type", "float_type"} & {e["type"] for e in told}, (own, name, told)
            seen.add(name)
    assert {"max_rejected_share", "seed", "scale", "num_inference_steps", "temperature"} <= seen


def test_a_threshold_is_on_the_scale_of_what_is_compared():
    data = {"compare": {"sources": {"a": "b"}, "scale": [1, 5]}, "report": {"threshold": 7}}
    with pytest.raises(ConfigError, match=r"report\.threshold: expected a score from 1 to 5, fo"):
        load_comparison(data, "c.yaml")


def test_a_run_in_another_folder_is_told_where_paths_begin(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "b.json").write_text("[]")
    (own / "c.yaml").write_text("")
    with pytest.raises(ConfigError) as error:
        load_config({**BASE, "benchmark": {"path": "b.json"}}, str(own / "c.yaml"))
    assert str(error.value).endswith(
        "benchmark.path: found no file 'b.json' in the working folder, one lies beside the "
        f"configuration; paths begin at the working folder (--directory {own})"
    )


def test_several_mistakes_are_a_sentence_each():
    with pytest.raises(ConfigError) as error:
        load(seed=-1, benchmark={"limit": 0})
    assert len(str(error.value).splitlines()) == 2


def test_a_missing_section_is_named():
    data = {key: value for key, value in BASE.items() if key != "judge"}
    with pytest.raises(ConfigError, match="judge: expected a value, found nothing"):
        load_config(data, "c.yaml")


def test_keys_of_an_editor_win_over_its_preset():
    loaded = load(editors=[{"name": "a", "preset": "qwen-image-edit", "num_inference_steps": 4}])
    (editor,) = loaded.editors
    assert (editor.num_inference_steps, editor.true_cfg_scale) == (4, 4.0)
    assert editor.model == "Qwen/Qwen-Image-Edit"


def test_a_colour_is_the_same_however_it_is_written():
    given = [load(benchmark={"background": text}) for text in ("White", "#FFFFFF", "#ffffff")]
    assert {loaded.benchmark.background for loaded in given} == {load().benchmark.background}


def test_a_path_is_the_same_however_it_is_written():
    loaded = load(results="./a//b/", judge={"rubrics": "./config/rubrics/"})
    assert (loaded.results, loaded.judge.rubrics) == ("a/b", "config/rubrics")
    assert load(results="a/../b").results == "a/../b"


def test_chinese_category_names_are_keys():
    assert load(benchmark={"categories": ["因果", "physical"]}).benchmark.categories == (
        "causal",
        "physical",
    )


def test_numbers_nested_on_the_command_line_are_numbers():
    """Snakemake hands them on as text."""
    loaded = load(
        benchmark={"limit": "2", "strict": "true"},
        devices={"device_ids": ["0", "1"], "join_timeout": "5"},
    )
    assert (loaded.benchmark.limit, loaded.benchmark.strict) == (2, True)
    assert (loaded.devices.device_ids, loaded.devices.join_timeout) == (("0", "1"), 5.0)


SPELLINGS = {
    "lockstep": [
        {},
        {"schedule": "lockstep"},
        {"enable_batch_sync": True},
        {"enable_batch_sync": "true"},
        {"schedule": "lockstep", "enable_batch_sync": True},
        {"enable_batch_sync": None},
    ],
    "free": [
        {"schedule": "free"},
        {"enable_batch_sync": False},
        {"schedule": "free", "enable_batch_sync": False},
    ],
    "queue": [{"schedule": "queue"}],
}


def test_both_spellings_of_a_schedule_are_the_same_to_what_is_there_already():
    plain = {}
    for schedule, spellings in SPELLINGS.items():
        loaded = [load(devices=given).devices for given in spellings]
        plain[schedule] = [one.model_dump(mode="json") for one in loaded]
        # as jobs are sent to a worker, and as a report's configuration is used again
        loaded += [load(devices=told).devices for told in plain[schedule]]
        assert all(one == loaded[0] for one in loaded)
        assert {one.schedule for one in loaded} == {schedule}
        assert all(told == plain[schedule][0] for told in plain[schedule])
    # what notes of earlier versions were made of
    first = {
        "device_ids": "auto",
        "accelerator": "auto",
        "enable_batch_sync": True,
        "max_wave_lead": 0,
        "join_timeout": 600.0,
        "heartbeat_timeout": 60.0,
        "resident": True,
        "idle_timeout": 600.0,
        "when_busy": "stop",
        "load_concurrency": None,
        "compile_cache": os.path.expanduser("~/.cache/lockstep"),
    }
    assert plain["lockstep"][0] == first
    assert list(plain["lockstep"][0]) == list(first)
    assert plain["free"][0] == {**first, "enable_batch_sync": False}


def test_a_home_folder_is_expanded_everywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "config.json").write_text("{}")
    (tmp_path / "judge" / "chat_template.jinja").touch()
    (tmp_path / "edits").mkdir()
    (tmp_path / "edits" / "a.png").touch()
    loaded = load(
        judge={"model": "~/judge"},
        editors=[{"name": "p", "type": "precomputed", "folder": "~/edits"}],
    )
    assert loaded.judge.model == str(tmp_path / "judge")
    assert loaded.editors[0].folder == str(tmp_path / "edits")


def test_anchors_that_the_run_itself_makes_are_refused(tmp_path):
    for folder in (tmp_path / "anchor_set", tmp_path / "kept"):
        folder.mkdir()
        for name in ("anchors", "recorded"):
            (folder / f"{name}.jsonl").touch()
    assert load(results=str(tmp_path), judge={"anchors": str(tmp_path / "kept")})
    made = f"{tmp_path}/kept/../anchor_set"
    with pytest.raises(ConfigError, match="expected a copy elsewhere, found '"):
        load(results=str(tmp_path), judge={"anchors": made})


def precomputed(folder):
    return [{"name": "control", "type": "precomputed", "folder": folder}]


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"results": "b.json/x/y"}, "results: found a file 'b.json', expected a folder"),
        (
            {"benchmark": {"images": "empty"}},
            "benchmark.images: found no file in 'empty', expected",
        ),
        (
            {"editors": precomputed("empty")},
            "editors[0].folder: found no file ending in .png, .jpg, .jpeg, .webp, .avif in 'empty'",
        ),
        (
            {"editors": precomputed("b.json")},
            "editors[0].folder: found 'b.json', which is no folder that can be read (Not a direct",
        ),
        ({"judge": {"folder": "empty"}}, "judge.folder: found no file 'empty/control'"),
        ({"judge": {"folder": "replies"}}, "judge.folder: found no file ending in .txt in 'repl"),
    ],
)
def test_a_folder_without_what_each_sample_needs_is_told_before_anything_runs(
    tmp_path, monkeypatch, sections, sentence
):
    judge = sections.get("judge", {"scores": "s.csv"})
    rubrics = str(ROOT / "config" / "rubrics")
    data = {
        **sections,
        "benchmark": {"path": "b.json", "format": "re-edit", **sections.get("benchmark", {})},
        "editors": sections.get("editors", BASE["editors"]),
        "judge": {"type": "precomputed", "rubrics": rubrics, **judge},
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "replies" / "control").mkdir(parents=True)
    for name in ("b.json", "s.csv"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError) as error:
        load_config(data, "c")
    assert f"c: {sentence}" in str(error.value)


def test_a_job_looks_for_no_file_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {
        "benchmark": {"path": "made/later.json"},
        "editors": [{"name": "a", "type": "diffusers", "model": "./made/later"}],
        "judge": {"type": "qwen3_vl", "model": "./made/later", "rubrics": "made"},
    }
    with pytest.raises(ConfigError):
        load_config(data, "c.yaml")
    assert of_job(data).judge.model == "./made/later"
    with pytest.raises(ConfigError, match="seed: expected greater than or equal to 0, found"):
        of_job({**data, "seed": -1})


def test_files_that_the_workflow_makes_need_not_exist_yet():
    data = {**BASE, "benchmark": {"path": "results/b.json"}}
    with pytest.raises(ConfigError):
        load_config(data, "c.yaml")
    assert load_config(data, "c.yaml", produced=["results/b.json"])


@pytest.mark.parametrize("name", ["config", "demo"])
def test_the_shipped_configurations_are_valid(name):
    path = ROOT / "config" / f"{name}.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    produced = ["data/benchmark.json", "results/tiny/benchmark.json"]
    produced += [
        "results/tiny/qwen-image-edit/model_index.json",
        "results/tiny/qwen3-vl/config.json",
    ]
    assert load_config(data, name, produced)
    assert path.read_text(encoding="utf-8").startswith(
        "# yaml-language-server: $schema=config.schema.json\n"
    )


def test_the_schema_is_in_step(pytestconfig):
    path = ROOT / "config" / "config.schema.json"
    if pytestconfig.getoption("--fix"):
        path.write_text(config_docs.json_schema(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == config_docs.json_schema(), "run pytest with --fix"


def test_the_table_of_keys_is_in_step(pytestconfig):
    path = ROOT / "config" / "README.md"
    text = path.read_text(encoding="utf-8")
    table = re.compile(r"(?<=<!-- keys -->\n).*(?=<!-- /keys -->)", re.DOTALL)
    renewed = table.sub(lambda _: config_docs.documentation(), text)
    if pytestconfig.getoption("--fix"):
        path.write_text(renewed, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == renewed, "run pytest with --fix"


def test_the_schema_accepts_what_the_code_accepts():
    import json

    from jsonschema import Draft202012Validator

    schema = Draft202012Validator(json.loads(config_docs.json_schema()))
    for name in ("config", "demo"):
        data = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert not list(schema.iter_errors(data))
    assert list(schema.iter_errors({**BASE, "benchmrk": 1}))


@pytest.mark.parametrize(
    ("compare", "sentence"),
    [
        ({"sources": {}}, "c.yaml: compare.sources: expected a name and a path for each"),
        ({"sources": {"a b": "x"}}, "compare.sources: expected letters, digits"),
        (
            {"sources": {"a": "x"}, "scale": [1, 1]},
            "compare.scale: expected the lowest score before",
        ),
        ({"sources": {"a": "x"}, "combine": "mean"}, "compare.combine: expected "),
        ({"source": {"a": "x"}}, "compare.source: found an unknown key (did you mean 'sources'?)"),
    ],
)
def test_a_mistake_in_a_comparison_is_one_clear_sentence(compare, sentence):
    with pytest.raises(ConfigError) as error:
        load_comparison({"compare": compare}, "c.yaml")
    assert sentence in str(error.value)


def test_a_precomputed_judge_has_replies_or_scores():
    for given, found in (({}, "neither"), ({"folder": "docs", "scores": "README.md"}, "both")):
        data = {**BASE, "judge": {"type": "precomputed", **given}}
        with pytest.raises(ConfigError, match=f"judge: expected folder or scores, found {found}"):
            load_config(data, "c.yaml")
