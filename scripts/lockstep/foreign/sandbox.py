"""Templates of others: Jinja2 that fills in texts, can call no code, and comes to an end.

Rubrics are shared between groups, so a template is treated as what it is: a program of somebody
else. It may branch, loop over what it is given, and change texts. It reaches nothing but its
variables, and its size, its steps and its time are bounded.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any

import jinja2
import jinja2.filters
import jinja2.meta
from jinja2 import nodes
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from pydantic import BaseModel

from lockstep.errors import TemplateError

MAX_SOURCE = 50_000
"""Characters of a template."""

MAX_TEXT = 200_000
"""Characters of a text that a template makes, and of each one on the way to it."""

MAX_NUMBER = 10**15
"""Highest number that a template computes."""

MAX_STEPS = 100_000
"""Rounds of loops, calls and filters."""

MAX_SECONDS = 5.0
"""Processor time of compiling or filling in a template."""

NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.CondExpr, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Filter),
    *(nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos),
)
"""What a template may consist of: neither macros nor other files, nothing that recurs."""

FILTERS = (
    *("capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "int", "items"),
    *("last", "length", "list", "lower", "map", "reject", "rejectattr", "reverse", "select"),
    *("selectattr", "sort", "title", "trim", "truncate", "unique", "upper", "wordcount"),
)
"""Jinja's filters whose result is no larger than what they get, times a small number."""

METHODS = {
    str: (
        *("capitalize", "count", "endswith", "find", "isdigit", "lower", "lstrip", "removeprefix"),
        *("removesuffix", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"),
    ),
    dict: ("get", "items", "keys", "values"),
    list: ("count", "index"),
    tuple: ("count", "index"),
}
"""Methods that a template may call, by the class of what it has."""

LOOP = (
    *("index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0"),
    *("previtem", "nextitem", "cycle", "changed"),
)
"""What a template may know of a loop."""


class _Budget:
    """What is left to a template."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._ends = time.thread_time() + MAX_SECONDS

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise jinja2.TemplateRuntimeError(
                f"expected at most {MAX_STEPS:,} rounds of loops, calls and filters, found more"
            )
        if time.thread_time() > self._ends:
            raise jinja2.TemplateRuntimeError(
                f"expected it to take at most {MAX_SECONDS:g} s, found it takes longer"
            )


_BUDGET: ContextVar[_Budget] = ContextVar("budget")


class Template:
    """A template that is read and can be filled in.

    Args:
        source: Jinja2; blocks leave no empty lines.
        variables: names that it may use.

    Raises:
        TemplateError: if it is no such template.
    """

    def __init__(self, source: str, variables: Collection[str]) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(
                f"expected at most {MAX_SOURCE:,} characters, found {len(source):,}"
            )
        with _guarded():
            tree = _ENVIRONMENT.parse(source)
            self.unknown = sorted(jinja2.meta.find_undeclared_variables(tree).difference(variables))
            """Names that it uses and nobody gives."""
            code = _ENVIRONMENT.compile(_Bounded().visit(tree))
            self._template = jinja2.Template.from_code(_ENVIRONMENT, code, {})

    def render(self, **values: Any) -> str:
        """Return the text with these values.

        Raises:
            TemplateError: if the template fails or passes a limit with them.
        """
        parts, size = [], 0
        with _guarded():
            for part in self._template.generate(**values):
                size += len(_short(part))
                if size > MAX_TEXT:
                    raise jinja2.TemplateRuntimeError(_TOO_LONG)
                parts.append(part)
        return "".join(parts)


@lru_cache
def template(source: str, variables: tuple[str, ...]) -> Template:
    """Return a template, which takes a hundred times as long to compile as to fill in."""
    return Template(source, variables)


@contextmanager
def _guarded() -> Iterator[None]:
    """Bound what is done in a block, and tell in one sentence what goes wrong in it."""
    token = _BUDGET.set(_Budget())
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from None
    except jinja2.TemplateError as error:
        raise TemplateError(_sentence(error)) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateError("expected fewer nested levels, found too many") from None
    except Exception as error:
        # whatever a template does with a value that is not made for it
        raise TemplateError(f"{type(error).__name__}: {_sentence(error)}") from None
    finally:
        _BUDGET.reset(token)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


_TOO_LONG = f"expected a text of at most {MAX_TEXT:,} characters, found a longer one"


def _short(value: Any) -> Any:
    """Return a value unless it is too large a text or number."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise jinja2.TemplateRuntimeError(_TOO_LONG)
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        raise jinja2.TemplateRuntimeError(
            f"expected numbers up to {MAX_NUMBER:,}, found a higher one"
        )
    return value


def _plain(value: Any) -> Any:
    """Return a value that stands in a text; what holds others would have to be written out."""
    if value is None or isinstance(value, str | int | float | Undefined):
        return _short(value)
    raise jinja2.TemplateRuntimeError(
        f"expected a text or number to write, found {type(value).__name__}"
    )


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a filter of Jinja count as a step."""

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _BUDGET.get().step()
        return _short(function(*args, **kwargs))

    return counted


def _counted(values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values of a loop, each a step."""
    for value in values:
        _BUDGET.get().step()
        yield value


def _joined(values: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        get = jinja2.filters.make_attrgetter(_ENVIRONMENT, attribute)
        values = map(get, values)
    texts = [str(_plain(value)) for value in _counted(values)]
    if sum(map(len, texts)) + len(texts) * len(between) > MAX_TEXT:
        raise jinja2.TemplateRuntimeError(_TOO_LONG)
    return between.join(texts)


def _replaced(text: str, old: str, new: str) -> str:
    text, new = str(_plain(text)), str(_plain(new))
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise jinja2.TemplateRuntimeError(_TOO_LONG)
    return text.replace(old, new)


def _indented(text: str, width: int = 4, first: bool = False) -> str:
    head, *rest = f"{_plain(text)}\n".splitlines()
    before = " " * min(max(width, 0), 100)
    rest = [before + line if line else line for line in rest]
    return _joined([before + head if first else head, *rest], "\n")


class _Bounded(NodeTransformer):
    """Refuse what a template may not consist of, and let its loops be counted."""

    def generic_visit(self, node: nodes.Node) -> nodes.Node:
        if not isinstance(node, NODES):
            what = type(node).__name__.lower()
            raise jinja2.TemplateSyntaxError(
                f"found {what}, which no template may use", node.lineno
            )
        return super().generic_visit(node)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise jinja2.TemplateSyntaxError("found a loop that recurs", node.lineno)
        self.generic_visit(node)
        node.iter = _filter("counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter("join", nodes.List(node.nodes, lineno=node.lineno))

    def visit_List(self, node: nodes.List | nodes.Dict | nodes.Tuple) -> nodes.Node:
        # lists of lists of one list would be small here and huge when written or compared
        if next(node.find_all(nodes.Name), None) is not None:
            raise jinja2.TemplateSyntaxError(
                "expected a list of constants, found one of variables", node.lineno
            )
        return self.generic_visit(node)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self.generic_visit(node) if node.ctx == "store" else self.visit_List(node)


def _filter(name: str, node: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    """An environment whose templates reach data alone."""

    intercepted_binops = frozenset({"+", "*", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, BaseModel):
            return attr in type(obj).model_fields
        if isinstance(obj, LoopContext):
            return attr in LOOP
        return any(isinstance(obj, kind) and attr in names for kind, names in METHODS.items())

    def is_safe_callable(self, obj: Any) -> bool:
        owner = getattr(obj, "__self__", None)
        name = getattr(obj, "__name__", "")
        return isinstance(owner, LoopContext) or any(
            isinstance(owner, kind) and name in names for kind, names in METHODS.items()
        )

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        _BUDGET.get().step()
        return _short(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _BUDGET.get().step()
        texts = operator == "+" and isinstance(left, str) and isinstance(right, str)
        if not texts and not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise jinja2.TemplateRuntimeError(
                f"expected numbers beside {operator!r}, found {type(left).__name__} and "
                f"{type(right).__name__}"
            )
        return _short(super().call_binop(context, operator, left, right))


def _environment() -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
    )
    environment.globals.clear()
    known = {name: _bounded(environment.filters[name]) for name in FILTERS}
    environment.filters = {
        **known,
        "counted": _counted,
        "indent": _bounded(_indented),
        "join": _bounded(_joined),
        "replace": _bounded(_replaced),
    }
    return environment


_ENVIRONMENT = _environment()
