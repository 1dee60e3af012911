"""Templates of others: what they may do, what they may not, and where they end."""

import time

import jinja2
import pytest

from lockstep.errors import RubricError, TemplateError
from lockstep.foreign import sandbox
from lockstep.rubrics.questions import VARIABLES
from lockstep.rubrics.rubric import read_rubric
from tests.conftest import ROOT, make_sample

RUBRICS = [p for p in sorted((ROOT / "config" / "rubrics").rglob("*.yaml")) if p.stem != "protocol"]
RUBRIC = read_rubric(ROOT / "config" / "rubrics" / "physical.yaml")

VALUES = {
    "instruction": "x" * 20_000,
    "description": "A ball.",
    "rationale": "",
    "expected": "",
    "criteria": RUBRIC.criteria,
    "reply": RUBRIC.example,
    "reasoned": True,
}


def render(source):
    return sandbox.Template(source, VARIABLES).render(**VALUES)


ATTACKS = {
    "code by a global": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "code by a class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "code by a subscript": "{{ criteria[0]['__class__'] }}",
    "code by a filter": "{{ instruction|attr('__class__') }}",
    "code by the attribute of a filter": "{{ criteria|map(attribute='__class__')|join }}",
    "code by a function": "{{ criteria[0].question.strip.__self__.__class__ }}",
    "code by a loop": "{% for c in criteria %}{{ loop.cycle.__func__.__globals__ }}{% endfor %}",
    "a method of the rubric": "{{ criteria[0].model_dump_json() }}",
    "a private name": "{{ self._TemplateReference__context }}",
    "another file": "{% include '/etc/passwd' %}",
    "a module": "{% import 'os' as os %}",
    "a change of the rubric": "{{ criteria[0].anchors.update({1: 'x'}) }}",
    "a long range": "{% for i in range(10**12) %}x{% endfor %}",
    "loops in loops": "{% for a in reply %}{% for b in instruction %}{% endfor %}{% endfor %}",
    "a loop that recurs": "{% for c in criteria recursive %}{{ loop(criteria) }}{% endfor %}",
    "a macro that recurs": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a text many times": "{{ 'a' * 10**10 }}",
    "a high power": "{{ 10**10**10 }}",
    "a product of products": "{% set x = 9999999 %}" + "{% set x = x * x %}" * 60 + "{{ x }}",
    "a wide format": "{{ '%999999999d' % 1 }}",
    "a wide format by method": "{{ '{:999999999}'.format(1) }}",
    "a wide filter": "{{ instruction|center(10**10) }}",
    "a wide method": "{{ instruction.center(10**10) }}",
    "a wide filter by name": "{{ instruction|map('center', 10**9)|list }}",
    "a text that doubles": "{% set x = instruction %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
    "a sum that doubles": "{% set x = instruction %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
    "a list that doubles": "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "a replacement": "{{ instruction" + "|replace('', instruction)" * 3 + " }}",
    "a join": "{{ instruction|join(instruction) }}",
    "output in a loop": "{% for c in instruction %}{{ instruction }}{% endfor %}",
    "deep parentheses": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "deep operators": "{{ " + "not " * 5_000 + "1 }}",
    "deep blocks": "{% if 1 %}" * 200 + "{% endif %}" * 200,
    "a long number": "{{ " + "9" * 5_000 + " }}",
    "a long chain": "{{ instruction" + ".b" * 5_000 + " }}",
    "a long template": "x" * 60_000,
    "a division by zero": "{{ 1 / 0 }}",
    "a wrong kind": "{% for x in 5 %}{% endfor %}",
    "the rubric itself": "{{ criteria }}",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_template_that_reaches_out_or_runs_away_is_one_sentence(name):
    began = time.thread_time()
    with pytest.raises(TemplateError) as told:
        render(ATTACKS[name])
    assert "\n" not in str(told.value)
    assert time.thread_time() - began < 2 * sandbox.MAX_SECONDS + 5


def test_a_step_that_takes_long_ends_in_time(monkeypatch):
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.0)
    with pytest.raises(TemplateError, match="at most 0 s"):
        render("{{ instruction.upper() }}")


def test_a_rubric_that_runs_code_is_an_error_before_anything_runs(tmp_path):
    made = tmp_path / "made"
    text = (ROOT / "config" / "rubrics" / "physical.yaml").read_text(encoding="utf-8")
    attack = f"{{{{ cycler.__init__.__globals__.os.mkdir('{made}') }}}}"
    path = tmp_path / "physical.yaml"
    path.write_text(text.replace("Do not explain.", attack), encoding="utf-8")
    with pytest.raises(RubricError, match="template: found the variable 'cycler'"):
        read_rubric(path)
    assert not made.exists()


@pytest.mark.parametrize("path", RUBRICS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_our_rubrics_ask_what_plain_jinja_would(path, tmp_path):
    rubric = read_rubric(path)
    plain = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(rubric.template)
    sample = make_sample(tmp_path, instruction="<b>&'\"</b> {{ 1 }}\n名", expected="x")
    for reasoned in (True, False):
        given = {name: getattr(sample, name) for name in VARIABLES[:4]}
        told = plain.render(
            **given, criteria=rubric.criteria, reply=rubric.example, reasoned=reasoned
        )
        assert rubric.prompt(sample, reasoned) == told.strip()


def test_what_rubrics_need_they_may_do():
    assert render("{% set n = 1 + 2 * 3 %}{{ n }} {{ description|upper }}") == "7 A BALL."
    assert render("{{ description ~ '!' ~ 1 }}") == "A ball.!1"
    assert render("{{ criteria|map(attribute='name')|join(', ') }}").endswith("quality")
    assert render("{{ 'a' if 'ball' in description else 'b' }}") == "a"
    assert render("{{ description.split()[0].lower() }}") == "a"
    assert render("{% for c in criteria %}{{ loop.index }}/{{ loop.length }} {% endfor %}") == (
        "1/4 2/4 3/4 4/4 "
    )
    assert render("{% if description in ['A ball.', 'x'] %}y{% endif %}") == "y"
    for text in ("a\nb", "a\n\nb\n", ""):
        plain = jinja2.Environment().from_string(f"{{{{ {text!r}|indent(2, true) }}}}").render()
        assert render(f"{{{{ {text!r}|indent(2, true) }}}}") == plain
