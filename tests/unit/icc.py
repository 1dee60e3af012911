"""ICC profiles to test with, made by hand after ICC.1:2010 (version 4.3)."""

import struct

import numpy as np

DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
"""Columns: XYZ of red, green and blue, adapted to D50 (Apple's Display P3.icc)."""

SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
"""Columns: XYZ of red, green and blue, adapted to D50 (IEC 61966-2-1)."""


def s15(*values):
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def gamma_curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def srgb_curve():
    # type 3: (aX + b)^g for X ≥ d, else cX
    values = s15(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + values


def xyz(values):
    return b"XYZ \0\0\0\0" + s15(*values)


def text(value):
    data = value.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def profile(space, kind, connection, tags):
    """Return a profile of the given tags."""
    tags = {"desc": text("made for a test"), "cprt": text("none"), **tags}
    tags = {"wtpt": xyz((0.9642, 1.0, 0.8249)), **tags}
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name.encode(), offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x04300000, kind, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += s15(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + body


def rgb_profile(primaries, curve):
    columns = {f"{c}XYZ": xyz(primaries[:, i]) for i, c in enumerate("rgb")}
    curves = {f"{c}TRC": curve for c in "rgb"}
    return profile(b"RGB ", b"mntr", b"XYZ ", columns | curves)


def grey_profile(gamma):
    return profile(b"GRAY", b"mntr", b"XYZ ", {"kTRC": gamma_curve(gamma)})


def cmyk_profile(lightness):
    """Return a profile of a press whose colours are all grey.

    Args:
        lightness: L* (0 to 100) of full and no ink: function of c, m, y, k, each 0 or 1.
    """
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    grid = b"".join(struct.pack(">3H", round(lightness(*i) * 652.8), 32768, 32768) for i in corners)
    line = struct.pack(">2H", 0, 65535)
    lut = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + s15(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += struct.pack(">2H", 2, 2) + line * 4 + grid + line * 3
    return profile(b"CMYK", b"prtr", b"Lab ", {"A2B0": lut})


def to_srgb(colours, primaries):
    """Convert colours by the formula: sRGB curve, matrix, clip, sRGB curve.

    Args:
        colours: of shape (…, 3), 0 to 255.
    """
    encoded = np.asarray(colours) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = linear @ (np.linalg.inv(SRGB) @ primaries).T
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 255
