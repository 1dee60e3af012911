"""A key is in no text, however it is spelt there."""

import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstep.foreign.redaction import SHOWN, WITHHELD, redact

KEY = "sk-very/secret+0123&45%41\\6789="


def escaped(template):
    return "".join(template.format(ord(character)) for character in KEY)


SPELT = {
    "as it is": KEY,
    "JSON": json.dumps(KEY)[1:-1],
    "JSON, one character": KEY.replace("\\", "\\\\").replace("+", "\\u002B"),
    "JSON, all": escaped("\\u{:04x}"),
    "JSON, escaped twice": json.dumps(json.dumps(escaped("\\u{:04X}"))),
    "JSON, a slash": KEY.replace("\\", "\\\\").replace("/", "\\/"),
    "code points": escaped("\\u{{{:x}}}"),
    "Python": escaped("\\x{:02x}"),
    "octal": escaped("\\{:03o}"),
    "an address": quote(KEY, safe=""),
    "an address, all": escaped("%{:02X}"),
    "an address, twice": quote(quote(KEY, safe="")),
    "JavaScript": escaped("%u{:04x}"),
    "HTML": html.escape(KEY),
    "HTML, decimal": escaped("&#{:d};"),
    "HTML, hexadecimal": escaped("&#x{:x};"),
    "HTML, named": KEY.replace("&", "&amp;").replace("+", "&plus;").replace("/", "&sol;"),
    "HTML in JSON in an address": quote(json.dumps(escaped("&#{:d};"))),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 behind Bearer": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(f"a:{KEY}".encode()).decode(),
    "base64 in lines": base64.encodebytes(f"user:{KEY}".encode()).decode(),
    "base64 in an address": quote(base64.b64encode(KEY.encode()).decode()),
    "hexadecimal": KEY.encode().hex(),
    "hexadecimal, upper case": KEY.encode().hex(" ").upper(),
    "spaces": " ".join(KEY),
    "lines": "\r\n".join(KEY),
    "escaped lines": json.dumps("\n".join(KEY))[1:-1],
    "NUL": "\0".join(KEY),
    "escaped NUL": json.dumps("\0".join(KEY))[1:-1],
    "UTF-16": KEY.encode("utf-16").decode("utf-8", "replace"),
    "spaces of no width": "\u200b".join(KEY),
    "colours": "\x1b[31m".join(KEY),
}


@pytest.mark.parametrize("spelt", SPELT.values(), ids=list(SPELT))
def test_a_key_is_found_however_it_is_spelt(spelt):
    shown = redact(f"Your key ({spelt}) is fine, <{spelt}>.", KEY)
    assert shown.count(SHOWN) == 2
    # beside it stand quotes, and what base64 has of the words before
    assert len(shown) < 80
    assert shown.startswith("Your key (") and ") is fine, <" in shown and shown.endswith(">.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        'It fell. {"physics": 7}',
        "100% of it, 5%20 and &amp; and \\n and \\\\ and \\u0041",
        KEY[:-1],
        KEY.swapcase(),
        " ".join(KEY[:-1]),
    ],
)
def test_what_is_no_key_stays_as_it_is(text):
    assert redact(text, KEY) == text
    assert redact(text, None) == text


@pytest.mark.parametrize("key", ["EMPTY", "none", "7"])
def test_a_short_key_is_not_found_in_words_by_chance(key):
    assert redact("no needle was E M P T Y at se\nven", key) == "no needle was E M P T Y at se\nven"
    assert redact(f"<{key}>", key) == redact(f"<\\u{ord(key[0]):04x}{key[1:]}>", key) == "<[key]>"


def test_what_is_escaped_without_end_is_withheld():
    assert redact("%" + "25" * 20 + "41", KEY) == WITHHELD


def test_parts_that_overlap_are_replaced_once():
    assert redact("abababababab", "abababab") == f"{SHOWN}abab"


@given(st.text(), st.text("sk\\u0&#%x;25", max_size=9), st.text())
def test_a_key_within_any_text_is_gone(before, between, after):
    shown = redact(f"{before}{KEY}{between}{KEY}{after}", KEY)
    assert KEY not in shown


@given(st.text("ab\\u002%&#;x5B ", max_size=60))
def test_any_text_is_decoded_to_its_end(text):
    assert redact(text, KEY) in (text, WITHHELD)
