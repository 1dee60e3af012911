"""What jobs claim, so that no device and no server has more to do than it can.

A workflow engine gives names and amounts of resources; an amount may be a function of a job's
wildcards, and of how often it was tried.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from lockstep.config.run import Config
from lockstep.editors.rewriting import ChatRewriteSettings
from lockstep.editors.settings import ServedEditorSettings
from lockstep.models.served_settings import ServedSettings

MINUTES_OF_A_TABLE = 15

Resources = dict[str, Any]
"""What a job claims, by name; the engine calls what is a function."""


class OfEditor(Protocol):
    """Wildcards of a job for an editor."""

    editor: str


class OfEdit(OfEditor, Protocol):
    """Wildcards of a job that edits, or judges what was edited."""

    shard: str


class Claims(NamedTuple):
    """What the jobs of each kind claim, and the group that they are of."""

    rewrite: Resources
    edit: Resources
    judge: Resources
    anchors: Resources
    pairs: Resources
    table: Resources
    cpu: Resources
    group: str | None = None
    beside: Mapping[str, Resources] = {}
    """What the judges beside the first one claim, by their folder."""


def claimed(settings: Config, devices: int) -> Claims:
    """Return what jobs claim of this machine, or ask a cluster's scheduler for.

    Args:
        devices: number of them all.
    """
    own = _of_machine(settings, devices)
    whole = own if settings.cluster is None else _of_cluster(settings, own)
    return whole._replace(
        edit=_by_editor(settings, devices, whole), rewrite=_by_rewriter(settings, whole)
    )


def _by_rewriter(settings: Config, claims: Claims) -> Resources:
    """Return what a job that rewrites claims: of a server all requests that it may get at a time.

    Jobs of one server then run one after the other, and none asks for what another just asks for.
    """
    limits = _limits_of_servers(settings)
    names = {
        editor.name: _requests(settings, editor.rewrite.url)
        for editor in settings.editors
        if isinstance(editor.rewrite, ChatRewriteSettings)
    }

    def claim(name: str) -> Callable[[OfEditor], int | None]:
        return lambda wildcards: limits[name] if names.get(wildcards.editor) == name else None

    return {**claims.cpu, **{name: claim(name) for name in dict.fromkeys(names.values())}}


def _by_editor(settings: Config, devices: int, claims: Claims) -> Resources:
    """Return what a job that edits claims: a device, or of a server its share of the requests."""
    served = {}
    for editor in _served(settings):
        name = _requests(settings, editor.url)
        served[editor.name] = {**claims.cpu, name: editor.at_once(devices)}
    if not served:
        return claims.edit

    def claim(name: str) -> Callable[[OfEdit, int], Any]:
        def of(wildcards: OfEdit, attempt: int) -> Any:
            asked = served.get(wildcards.editor, claims.edit).get(name)
            if not callable(asked):
                return asked
            # one of a device takes the wildcards alone
            return asked(wildcards) if name.startswith("gpu") else asked(wildcards, attempt)

        return of

    names = dict.fromkeys(name for own in (claims.edit, *served.values()) for name in own)
    return {name: claim(name) for name in names}


def _served(settings: Config) -> list[ServedEditorSettings]:
    return [editor for editor in settings.editors if isinstance(editor, ServedEditorSettings)]


def _asking(settings: Config) -> list[ServedSettings]:
    """Return all editors and rewriters behind servers."""
    rewriters = [editor.rewrite for editor in settings.editors]
    asking = [*settings.editors, *rewriters]
    return [each for each in asking if isinstance(each, ServedSettings)]


def _requests(settings: Config, url: str) -> str:
    """Return the resource of which jobs at an address claim, whatever they ask it for."""
    addresses = list(dict.fromkeys(each.url for each in _asking(settings)))
    return f"requests{addresses.index(url)}"


def _limits_of_servers(settings: Config) -> dict[str, int]:
    """Return the most requests at a time of each address, by its resource."""
    found: dict[str, int] = {}
    for each in _asking(settings):
        name = _requests(settings, each.url)
        found[name] = max(found.get(name, 0), each.concurrency)
    return found


def _of_machine(settings: Config, devices: int) -> Claims:
    """One device runs one job at a time, whatever the stage.

    A judge on the devices claims its own like an editor; one behind a server claims its job's share
    of the requests that the server may get at a time.
    """

    def editing(wildcards: OfEdit) -> range:
        taken = settings.editor(wildcards.editor).together
        return range(int(wildcards.shard) * taken, (int(wildcards.shard) + 1) * taken)

    edit: Resources = {f"gpu{k}": _own(k, editing) for k in range(devices)}
    edit["gpu"] = _taken(settings)
    each = {name: _judging(settings, name, devices) for name in settings.each_judge}
    judge = anchors = pairs = each.pop("")
    if settings.judge.on_device:
        together = settings.judge.together

        def comparing(wildcards: OfEdit) -> range:
            return range(int(wildcards.shard) * together, (int(wildcards.shard) + 1) * together)

        anchors = {**{f"gpu{k}": 1 for k in range(together)}, "gpu": together}
        pairs = {f"gpu{k}": _own(k, comparing) for k in range(devices)}
        pairs["gpu"] = together
    return Claims({}, edit, judge, anchors, pairs, {}, {}, beside=each)


def _judging(settings: Config, name: str, devices: int) -> Resources:
    """Return what a job of a judge claims: devices, or a share of its server's requests.

    Args:
        name: which of `Config.each_judge`.
    """
    judge = settings.each_judge[name]
    if not judge.on_device:
        requests = _requests_of_judges(settings).get(name)
        claimed = judge.claims(devices // judge.together)
        return {requests or resource: amount for resource, amount in claimed.items()}

    def judging(wildcards: OfEdit) -> range:
        apart = settings.editor(wildcards.editor).together * settings.share(wildcards.editor, name)
        return range(int(wildcards.shard) * apart, int(wildcards.shard) * apart + judge.together)

    own: Resources = {f"gpu{k}": _own(k, judging) for k in range(devices)}
    return {**own, "gpu": judge.together}


def _requests_of_judges(settings: Config) -> dict[str, str]:
    """Return the resource of requests of each judge behind a server, which judges of one share."""
    served = {name: own for name, own in settings.each_judge.items() if own.at_a_time is not None}
    addresses = {name: getattr(own, "url", name) for name, own in served.items()}
    order = list(dict.fromkeys(addresses.values()))
    places = {name: order.index(address) for name, address in addresses.items()}
    return {n: f"judge_requests{place}" if place else "requests" for n, place in places.items()}


def _of_cluster(settings: Config, own: Claims) -> Claims:
    """The devices are the scheduler's to give, so no job claims one by its number.

    What the table joins may be one job of the scheduler, whose parts must not name two partitions.
    """
    asked, on_cpu = settings.cluster, settings.devices.accelerator == "cpu"
    assert asked is not None
    account = _named(slurm_account=asked.account)
    cpu = {**account, **_named(slurm_partition=asked.cpu_partition)}
    edit = {
        **account,
        **_named(slurm_partition=asked.partition),
        "cpus_per_task": asked.cpus,
        "mem_mb": _again(1000 * asked.memory),
        "runtime": _again(asked.runtime),
        # a step runs on one node; resources of a group are summed, texts are not
        "slurm_extra": "-N1",
    }
    if not on_cpu:
        edit |= {"gpu": _taken(settings), **_named(gpu_model=asked.gpu_model)}

    def judging(name: str, claimed: Resources) -> Resources:
        judge_settings = settings.each_judge[name]
        if not judge_settings.on_device:
            return {**claimed, **cpu}
        return edit if on_cpu else {**edit, "gpu": judge_settings.together}

    judge = judging("", own.judge)
    beside = {name: judging(name, claimed) for name, claimed in own.beside.items()}
    if asked.allocation == "shard":
        return Claims(cpu, edit, judge, judge, judge, cpu, cpu, beside=beside)
    table = {**account, "runtime": _again(MINUTES_OF_A_TABLE)}
    group = "{editor}-{category}"
    return Claims(cpu, edit, judge, judge, judge, table, cpu, group, beside)


def _own(device: int, places: Callable[[OfEdit], range]) -> Callable[[OfEdit], int | None]:
    """Return what a job claims of a device: all of its own, nothing of the others."""
    return lambda wildcards: 1 if device in places(wildcards) else None


def _taken(settings: Config) -> int | Callable[[OfEdit], int]:
    """Return how many devices a job that edits takes."""
    if all(editor.together == 1 for editor in settings.editors):
        return 1
    return lambda wildcards: settings.editor(wildcards.editor).together


def _again(amount: int) -> Callable[[Any, int], int]:
    """Return a resource of which each retry asks for as much again."""
    return lambda wildcards, attempt: amount * attempt


def _named(**options: str | None) -> Resources:
    return {name: value for name, value in options.items() if value is not None}


def limited(settings: Config, devices: int) -> dict[str, int]:
    """Return limits of resources that hold whatever the command line says.

    Args:
        devices: number of them all.
    """
    found = _limits_of_servers(settings)
    for name, resource in _requests_of_judges(settings).items():
        most = settings.each_judge[name].at_a_time or 0
        found[resource] = max(found.get(resource, 0), most)
    if settings.cluster is None:
        found |= {f"gpu{k}": 1 for k in range(devices)}
    return found
