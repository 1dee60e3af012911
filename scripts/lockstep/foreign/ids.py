"""Ids of samples: texts of a benchmark that become file names."""

import hashlib
import re
import unicodedata

MAX_ID_BYTES = 150
"""Leaves room for suffixes under the 255 bytes that file systems allow."""

DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices."""


def safe_id(name: str) -> str:
    """Return an id that is safe as a file name on any system.

    Letters and digits of all scripts, `.`, `_` and `-` stay; an id that had to be changed ends
    in a hash of the original, so that two of them stay apart.
    """
    normal = unicodedata.normalize("NFC", name)
    safe = re.sub(r"[^\w.-]", "_", normal).lstrip(".").rstrip(".")
    if len(safe.encode()) > MAX_ID_BYTES:
        safe = safe.encode()[:MAX_ID_BYTES].decode(errors="ignore")
    if DEVICE_NAMES.match(safe):
        safe = f"_{safe}"
    # half of a surrogate pair, which JSON may hold, is no text that UTF-8 has
    data = normal.encode(errors="surrogatepass")
    return safe if safe == normal else f"{safe}-{hashlib.sha256(data).hexdigest()[:8]}"


def same_id(name: str) -> str:
    """Return what is equal of ids that a file system or an editor of texts may mix up.

    The one rule by which ids are compared: safe as file names, in Unicode's compatible form
    (NFKC), and without case.
    """
    return unicodedata.normalize("NFKC", safe_id(name)).casefold()
