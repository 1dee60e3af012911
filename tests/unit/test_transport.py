"""Requests to a server: they end, whatever it sends, and say no secret."""

import gzip
import logging
import os
import subprocess
import sys
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from lockstep.errors import ConfigError
from lockstep.foreign import transport
from lockstep.foreign.network import proxy_of
from lockstep.foreign.transport import Client, Failed, Limits, Passing, retry_after
from tests.fake_server import Endless, answer, problem

KEY = "sk-very/secret+0123456789"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.02)


@pytest.fixture
def plain_environment(monkeypatch):
    """Remove what names proxies and certificates."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def connect():
    clients = []

    def make(server, timeout=10.0, attempts=2, max_wait=120.0, size=2**20):
        url = server if isinstance(server, str) else server.url
        clients.append(Client(url, KEY, Limits(timeout, attempts, max_wait, size)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def text(given):
    return given.text


@pytest.mark.parametrize(
    "endless",
    [
        Endless(b"", b"H", 0.02),
        Endless(OK + b"X-A: ", b"a", 0.02),
        Endless(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.02),
        Endless(OK + b"Content-Length: 9999\r\n\r\n", b" ", 0.02),
        Endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.02),
        Endless(
            OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"a", mtime=0)[:10], b"", 0.02
        ),
    ],
    ids=str,
)
def test_an_answer_in_drips_is_over_after_its_time(serve, connect, endless):
    server = serve(endless)
    client = connect(server, timeout=0.5)
    with pytest.raises(Passing, match=r"found no whole answer at http://.* within 0\.5 s"):
        client.post("x", {}, text)
    assert len(server.requests) == 2, "it counts as any other failed try"


@pytest.mark.parametrize(
    "head",
    [
        OK + b"\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 1000000000000\r\n\r\n",
    ],
    ids=str,
)
def test_an_endless_answer_is_read_no_further_than_the_limit(serve, connect, head):
    part = b"10000\r\n" + b"a" * 2**16 + b"\r\n" if b"chunked" in head else b"a" * 2**16
    server = serve(Endless(head, part))
    with pytest.raises(Failed, match=r"expected an answer of at most 1 MiB .*, found a longer"):
        connect(server).post("x", {}, text)
    assert len(server.requests) == 1


def packed(data, *, name="gzip"):
    return 200, {"Content-Encoding": name}, data


def zeros(count, wbits):
    """Return so many MiB of zeros, packed."""
    packer = zlib.compressobj(9, wbits=wbits)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(count)), packer.flush()])


@pytest.mark.parametrize(("name", "wbits"), [("gzip", 31), ("x-gzip", 31), ("deflate", 15)])
def test_a_bomb_is_unpacked_no_further_than_the_limit(serve, connect, monkeypatch, name, wbits):
    server = serve(packed(zeros(100, wbits), name=name))
    unpacked = []

    class Counting:
        def __init__(self, wbits):
            self.own = unpacker(wbits)

        def decompress(self, *given):
            found = self.own.decompress(*given)
            unpacked.append(len(found))
            return found

    unpacker = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    with pytest.raises(Failed, match="expected an answer of at most 1 MiB"):
        connect(server).post("x", {}, text)
    assert len(server.requests) == 1
    assert sum(unpacked) == 2**20 + 1


@pytest.mark.parametrize("header", ["Content-Encoding", "Retry-After", "Content-Type", "Location"])
def test_a_key_in_a_header_is_not_shown(serve, connect, caplog, header):
    caplog.set_level(logging.DEBUG)

    def read(found):
        raise Passing(found.said)

    server = serve((302, {header: KEY}, "no"))
    with pytest.raises(Failed) as error:
        connect(server).post("x", {}, read)
    assert KEY not in str(error.value) + caplog.text


def test_a_bomb_within_a_bomb_is_not_unpacked(serve, connect):
    server = serve(packed(gzip.compress(zeros(100, 31)), name="gzip, gzip"))
    with pytest.raises(Failed, match="expected an answer that is not packed, or by gzip, found"):
        connect(server).post("x", {}, text)


@pytest.mark.parametrize(
    "given",
    [
        packed(gzip.compress(b"{}", mtime=0)[:-9]),
        packed(b"{}"),
        packed(b""),
        answer(body=b""),
    ],
    ids=str,
)
def test_what_is_cut_off_or_broken_is_tried_again(serve, connect, given):
    def read(found):
        if not found.text:
            raise Passing("nothing")
        return found.text

    server = serve(given, packed(gzip.compress(b"whole", mtime=0)))
    assert connect(server).post("x", {}, read) == "whole"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "kind",
    [
        *("text/html; charset=rot13", "application/json; charset=nonsense", "a; charset=punycode"),
        *("a; charset=undefined", "a; charset=zlib", "é", "", ";;;=", "a/b" * 999),
    ],
)
def test_an_answer_is_utf_8_whatever_it_says(serve, connect, kind):
    server = serve((200, {"Content-Type": kind}, "\ufeffgrün".encode() + b"\xff"))
    assert connect(server).post("x", {}, text) == "grün\ufffd"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        OK + b"Content-Length: x\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        OK + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 99999 " + KEY.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 " + KEY.encode() + b"\0\r\nA\r\n\r\n",
        b"HTTP/1.1 99999 " + b"a" * (500 - 85) + KEY.encode() + b"\r\n\r\n",
    ],
    ids=lambda raw: str(raw[:40]),
)
def test_what_is_no_answer_is_tried_again_and_shows_no_key(serve, connect, raw, caplog):
    caplog.set_level(logging.DEBUG)
    server = serve(Endless(raw, b"", 0.01))
    with pytest.raises(Passing, match=r"found no (whole )?answer at http") as error:
        connect(server, timeout=0.3).post("x", {}, text)
    assert len(server.requests) == 2
    assert "sk-ver" not in str(error.value) + caplog.text


def sent(headers):
    """Return headers as they come, of bytes."""
    return httpx.Headers({name: value.encode() for name, value in headers.items()})


NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 0 "}, 0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "9" * 5000}, float("inf")),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90),
        ({"Retry-After": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0),
        ({"Retry-After": "Fri, 20 Nov 2026 12:01:00 -0000"}, 60),
        *(
            ({"Retry-After": odd}, None)
            for odd in (
                *("²", "٣", "1_0", "1e3", "nan", "inf", "0x10", "+5", "5 s", "\x00", ",", "()"),
                "Fri, 31 Dec 99999 23:59:59 GMT",
                "Fri, 32 Nov 2026 12:00:00 GMT",
                "Fri, 20 Nov 2026 12:00:00 +9999999999",
                f"Fri, 20 Nov {'9' * 5000} 12:00:00 GMT",
                "Fri, 20 Nov 2026 99:99:99 GMT",
                "Fri, 20 Nov",
                f"{'9' * 20} Nov {'9' * 20} 12:00:00",
            )
        ),
        ({"Retry-After": "7", "Date": "Fri, 31 Dec 99999 23:59:59 GMT"}, 7),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}, 251607211139.0),
    ],
)
def test_the_pause_that_a_server_asks_for(headers, seconds):
    date = {"Date": format_datetime(NOW, usegmt=True)}
    assert retry_after(sent({**date, **headers})) == seconds


def test_without_the_servers_clock_ours_counts():
    until = datetime.now(UTC) + timedelta(seconds=60)
    for date in ({}, {"Date": "²"}, {"Date": "Fri, 31 Dec 99999 23:59:59 GMT"}):
        given = {"Retry-After": format_datetime(until, usegmt=True), **date}
        assert 50 < retry_after(sent(given)) <= 60


@pytest.mark.parametrize("after", ["9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_without_end_is_a_failure(serve, connect, after):
    def read(found):
        raise Passing(found.said)

    server = serve(problem(429, after=after))
    with pytest.raises(Failed, match=r"asks for a pause of .* s, expected at most 120 s"):
        connect(server).post("x", {}, read)
    assert len(server.requests) == 1


def test_closing_ends_what_is_under_way(serve, connect):
    server = serve(Endless(OK + b"\r\n", b"a", 0.02))
    code = (
        "import sys, threading, time; from lockstep.foreign.transport import *\n"
        f"client = Client({server.url!r}, None, Limits(600, 9, 1, 2**30))\n"
        "ended = []\n"
        "def ask():\n"
        "    try: client.post('x', {}, str)\n"
        "    except Failed as error: ended.append(error)\n"
        "thread = threading.Thread(target=ask); thread.start(); time.sleep(0.5)\n"
        "client.close(); thread.join(); print(ended)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Passing('found no answer" in done.stdout
    assert done.stderr.count("\n") == 0, done.stderr


PROXY = "http://proxy.example.org:3128"


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_the_environment_names_a_proxy(plain_environment, variable):
    assert proxy_of("https://api.example.org/v1") is None
    plain_environment.setenv(variable, PROXY)
    assert proxy_of("https://api.example.org/v1") == PROXY
    plain_environment.setenv(variable, "proxy.example.org:3128")
    assert proxy_of("https://api.example.org/v1") == PROXY


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost.", "LOCALHOST", "a.localhost", "127.0.0.1", "127.3.2.1"),
        *("[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"),
    ],
)
def test_this_machine_is_never_asked_through_a_proxy(plain_environment, host):
    plain_environment.setenv("ALL_PROXY", PROXY)
    plain_environment.setenv("HTTP_PROXY", "nonsense://")
    assert proxy_of(f"http://{host}:8000/v1") is None


@pytest.mark.parametrize(
    ("given", "direct"),
    [
        ("[::1]", False),
        ("]", False),
        ("[", False),
        ("://", False),
        ("10.0.0.0/8", False),
        (",, ,", False),
        ("other.org", False),
        ("example.org", True),
        (".example.org", True),
        ("a, api.example.org:443", True),
        ("*", True),
    ],
)
def test_no_proxy_may_hold_anything(plain_environment, given, direct):
    plain_environment.setenv("HTTPS_PROXY", PROXY)
    plain_environment.setenv("NO_PROXY", given)
    assert proxy_of("https://api.example.org:443/v1") == (None if direct else PROXY)


@pytest.mark.parametrize("colon", ["fd00::1", "[fd00::1]"])
def test_no_proxy_may_name_an_address_with_colons(plain_environment, colon):
    plain_environment.setenv("HTTP_PROXY", PROXY)
    assert proxy_of("http://[fd00::1]:8000/v1") == PROXY
    plain_environment.setenv("NO_PROXY", colon)
    assert proxy_of("http://[fd00::1]:8000/v1") is None


@pytest.mark.parametrize(
    "given",
    [
        *("socks5://", "socks5h://secret@proxy", "ftp://user:secret@proxy", "http://", "://secret"),
        *("http://secret@[::1", "http://proxy:secret", "http://proxy:0", "http://proxy:99999"),
        *("http://secret\x01", "secret:secret@", "http://:80"),
    ],
)
def test_what_is_no_proxy_is_one_sentence_without_its_password(plain_environment, given):
    plain_environment.setenv("ALL_PROXY", given)
    url = "https://api.example.org/v1"
    for begin in (
        lambda: transport.check(url, KEY, "judge.url", None),
        lambda: Client(url, KEY, 0),
    ):
        with pytest.raises(
            ConfigError, match="all_proxy: expected the address of a proxy"
        ) as error:
            begin()
        assert "secret" not in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
@pytest.mark.parametrize("value", ["missing/file", "empty", "."])
def test_certificates_that_cannot_be_read_are_one_sentence(
    plain_environment, tmp_path, variable, value
):
    plain_environment.chdir(tmp_path)
    (tmp_path / "empty").touch()
    if (variable, value) in {("SSL_CERT_DIR", "."), ("SSLKEYLOGFILE", "empty")}:
        value = "neither/a/file"
    plain_environment.setenv(variable, value)
    with pytest.raises(ConfigError, match=rf"found {variable}={value} \(\w+") as error:
        transport.check("https://api.example.org/v1", KEY, "judge.url", None)
    assert "\n" not in str(error.value)
    # there they are of no use
    transport.check("http://127.0.0.1:9/v1", KEY, "judge.url", None)


def test_a_server_that_is_not_there_is_one_sentence(plain_environment):
    with pytest.raises(ConfigError) as error:
        transport.check("http://127.0.0.1:9/v1", KEY, "judge.url", "models")
    assert str(error.value).startswith(
        "judge.url: expected a server that is running and takes the key, tried GET "
        "http://127.0.0.1:9/v1/models: found no answer at http://127.0.0.1:9/v1 (ConnectError"
    )


def test_a_proxy_that_is_not_there_is_named_without_its_password(plain_environment):
    plain_environment.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    with pytest.raises(
        ConfigError, match=r"/v1/models through the proxy 127\.0\.0\.1:9: "
    ) as error:
        transport.check("http://api.example.org/v1", KEY, "judge.url", "models")
    assert "secret" not in str(error.value)


def test_a_key_that_the_server_does_not_take_is_one_sentence(serve):
    server = serve()
    server.models = problem(401, message=f"no such key: {KEY}")
    with pytest.raises(ConfigError, match=r"the server answered 401 \(.*no such key: \[key\]"):
        transport.check(server.url, KEY, "judge.url", "models")
    # not every server lists its models
    for there in (problem(404), problem(501), answer(), answer(body="")):
        server.models = there
        transport.check(server.url, KEY, "judge.url", "models")


@pytest.mark.parametrize(
    ("given", "expected", "found"),
    [
        (problem(500, message="out of memory"), "a server that is running", r"500 \(.*of memory"),
        (answer(status=503, body="Loading"), "a server that is running", r"503 \(Loading\)"),
        (answer(body="<!doctype html><p>Hi"), "the address up to /v1", "200 .<!doctype html><p>Hi"),
    ],
)
def test_a_server_that_fails_or_shows_a_web_page_is_one_sentence(serve, given, expected, found):
    server = serve()
    server.models = given
    tried = rf"tried GET {server.url}/models: the server answered {found}"
    with pytest.raises(ConfigError, match=rf"^judge\.url: expected {expected}.*, {tried}") as error:
        transport.check(server.url, KEY, "judge.url", "models")
    assert "\n" not in str(error.value)
