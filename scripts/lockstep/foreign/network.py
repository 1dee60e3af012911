"""What the environment says of the way to a server: its key, proxies and certificates."""

import ipaddress
import os
import re
import ssl
import urllib.request
from urllib.parse import urlsplit

import httpx

from lockstep.errors import ConfigError, one_sentence

NUMBER = re.compile(r"(^|\.)(0x[0-9a-f]*|[0-9]+)\.?$", re.IGNORECASE)
"""End of a host that is no name: no domain ends in a number."""


def read_key(variable: str | None, option: str) -> str | None:
    """Return a server's key from the environment; None where no variable is configured.

    Args:
        option: of the configuration, which names the variable.

    Raises:
        ConfigError: if there is no key, or if it cannot be one. It is not shown.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"{option}: expected a variable of the environment that holds the server's key, found "
            f"no key in {variable}; set it, or leave {option} out if the server needs none"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"{option}: expected a key of letters, digits and signs, "
            f"found a key in {variable} with other characters"
        )
    return key


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address; None if there is none.

    This machine is never asked through a proxy.

    Raises:
        ConfigError: if it names one that cannot be. It is not shown, as it may hold a password.
    """
    parts, proxies = urlsplit(url), urllib.request.getproxies_environment()
    host = parts.hostname or ""
    kinds = (parts.scheme, "all")
    kind = next((kind for kind in kinds if proxies.get(kind, "").strip()), None)
    if kind is None or _loopback(host):
        return None
    # as `urllib.request.proxy_bypass` does, but for what systems say beside the environment
    bypasses = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
    if any(bypasses(name, proxies) for name in (parts.netloc, host)):
        return None
    given = proxies[kind].strip()
    proxy = given if "://" in given else f"http://{given}"
    try:
        # httpx looks at it only here
        httpx.AsyncClient(proxy=proxy, trust_env=False, verify=_nobody())
        found = urlsplit(proxy)
        fault = "an address without a host" if not found.hostname or found.port == 0 else None
    except ImportError:
        fault = f"a proxy of the kind {urlsplit(proxy).scheme}, which needs the package socksio"
    except (ValueError, httpx.InvalidURL):
        fault = "something else (not shown, as it may hold a password)"
    if fault is not None:
        raise ConfigError(
            f"{kind}_proxy: expected the address of a proxy such as http://proxy:3128, "
            f"found {fault} in the environment; mend or unset it, "
            f"or name {host} in no_proxy"
        )
    return proxy


def _loopback(host: str) -> bool:
    """Tell whether a host's name or address is that of this machine for itself."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def origin(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def check_named(address: str, server: str) -> str | None:
    """Return why an address that a server names is not to be asked; None if it may be.

    A server may name its own host. Others must be public and have certificates: a server must not
    have this machine look into the network that it stands in.
    """
    try:
        parts, sent = urlsplit(address), httpx.URL(address)
        port, host = parts.port, parts.hostname
        # what sends it may read another host in it
        same = sent.host == (host or "")
    except (ValueError, httpx.InvalidURL):
        same = False
    if not same:
        return "an address that cannot be one"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "no address of http or https"
    if parts.username is not None:
        return "an address with a user"
    own = urlsplit(server).hostname or ""
    if host == own or (_loopback(host) and _loopback(own)):
        return None
    if parts.scheme != "https":
        return f"another host without https ({host:.100})"
    try:
        found = ipaddress.ip_address(host)
        public = (getattr(found, "ipv4_mapped", None) or found).is_global
    except ValueError:
        # systems take 127.1, 0x7f.1 and 2130706433 for addresses, too
        public = not _loopback(host) and not NUMBER.search(host)
    return None if public else f"an address that is not public ({host:.100})"


def certificates(url: str, proxy: str | None) -> ssl.SSLContext:
    """Return whose certificates are trusted.

    Raises:
        ConfigError: if the environment names files of certificates that cannot be read.
    """
    if "https" not in (urlsplit(url).scheme, urlsplit(proxy or "").scheme):
        return _nobody()
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    try:
        folders = given.get("SSL_CERT_DIR", "").split(os.pathsep)
        if next(iter(given), None) == "SSL_CERT_DIR" and not any(map(os.path.isdir, folders)):
            raise NotADirectoryError(f"no folder at {given['SSL_CERT_DIR']}")
        return httpx.create_ssl_context()
    # ssl.SSLError is one
    except OSError as error:
        found = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ConfigError(
            "expected environment variables that name readable certificates, "
            f"found {found} ({one_sentence(error)}); mend or unset them"
        ) from None


def _nobody() -> ssl.SSLContext:
    """Return that nobody's certificates are trusted, where none is asked for."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
