"""Images as editors and judges see them."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lockstep.errors import SampleError
from lockstep.foreign import image_files, images
from lockstep.foreign.images import open_rgb, verify_image
from tests.unit import icc

ORIENTATION = 0x0112
P3 = icc.rgb_profile(icc.DISPLAY_P3, icc.srgb_curve())
SHOWN = np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8)
"""What a viewer shows of an image in any orientation: 3 pixels wide, 2 high."""

STORED = {
    1: SHOWN,
    2: SHOWN[:, ::-1],
    3: SHOWN[::-1, ::-1],
    4: SHOWN[::-1],
    5: SHOWN.T,
    6: np.rot90(SHOWN),
    7: SHOWN[::-1, ::-1].T,
    8: np.rot90(SHOWN, -1),
}
"""How it is stored in each: the viewer of orientation 6 turns it clockwise."""


def stored(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def opened(data, background=images.WHITE):
    """Return an image as editors see it, after a look whether it is accepted."""
    verify_image(data, 10**6)
    return np.asarray(open_rgb(io.BytesIO(data), background))


def noise(mode="RGB", size=(24, 16), seed=0):
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), np.uint8)
    return Image.frombytes(mode, size, values.tobytes())


def png_chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width, height, depth, colour, rows, transparent=None):
    """Return a PNG that Pillow does not write itself."""
    head = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")]
    if transparent is not None:
        chunks.insert(1, (b"tRNS", transparent))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks)


# --- what is accepted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("AVIF", ".avif")],
)
def test_accepted_formats(form, suffix):
    data = stored(Image.new("RGB", (30, 20)), form)
    assert verify_image(data, 600) == (suffix, 30, 20, False)


UNREAD = {
    "a GIF": b"GIF89a" + bytes(20),
    "a BMP": b"BM\x36\0\0\0\0\0\0\0\x36\0",
    "a TIFF": b"MM\0*\0\0\0\x08",
    "a HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "a JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "a JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "an SVG": b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg/>',
    "an HTML page": b"\n<!DOCTYPE html><html>",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a",
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_format_that_is_known_and_not_read_is_named(name):
    with pytest.raises(SampleError, match=f"expected PNG, JPEG, WebP or AVIF, found {name}"):
        verify_image(UNREAD[name], 10**6)


def test_a_phone_s_jpeg_with_further_pictures_is_its_first_one():
    first, second = noise(seed=1), Image.new("RGB", (24, 16))
    data = stored(first, "MPO", save_all=True, append_images=[second], quality=100)
    assert verify_image(data, 10**6).suffix == ".jpg"
    assert np.array_equal(opened(data), opened(stored(first, "JPEG", quality=100)))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF"])
def test_an_animation_is_refused(form):
    data = stored(noise(seed=1), form, save_all=True, append_images=[noise(seed=2)])
    with pytest.raises(SampleError, match="found an animation of 2 pictures"):
        verify_image(data, 10**6)
    with pytest.raises(SampleError, match="found an animation of 2 pictures"):
        open_rgb(io.BytesIO(data))


def test_a_gif_is_refused_animated_or_not():
    with pytest.raises(SampleError, match="found a GIF, which is not read"):
        verify_image(stored(noise("P"), "GIF"), 10**6)


def test_the_limit_holds_before_anything_is_decoded():
    # 40,000 × 40,000 pixels would take 1.6 GB
    data = stored(Image.new("1", (40_000, 40_000)))
    with pytest.raises(
        SampleError, match=r"expected up to 64,000,000 pixels .* 40000×40000 pixels"
    ):
        verify_image(data, 64_000_000)


@pytest.mark.parametrize("size", [(100, 1), (1, 100), (1, 1), (8, 8), (3, 1)])
def test_tiny_and_long_images_are_accepted(size):
    assert verify_image(stored(Image.new("RGB", size)), 10**6)[1:3] == size


@pytest.mark.parametrize("size", [(101, 1), (1, 101), (1010, 10)])
def test_an_image_that_is_too_long_for_the_models_is_refused(size):
    with pytest.raises(SampleError, match="expected a side up to 100 times the other"):
        verify_image(stored(Image.new("RGB", size)), 10**6)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("cut", [1, 20, 60, 200])
def test_a_cut_off_image_is_refused(cut, form):
    with pytest.raises(SampleError):
        verify_image(stored(noise(), form)[:cut], 10**6)


# --- what is beside the pixels ---------------------------------------------------------------


def with_chunks(data, *chunks):
    """Return a PNG with further chunks before its pixels."""
    place = data.index(b"IDAT") - 4
    return data[:place] + b"".join(png_chunk(*each) for each in chunks) + data[place:]


LONG = zlib.compress(bytes(2**24 + 1))
TEXTS = {
    "packed": (b"zTXt", b"workflow\0\0" + LONG),
    "packed international": (b"iTXt", b"workflow\0\1\0en\0\0" + LONG),
    "not packed": (b"tEXt", b"workflow\0" + bytes(2**24 + 1)),
    "packed in an unknown way": (b"zTXt", b"workflow\0\7" + LONG),
    "packed and broken": (b"zTXt", b"workflow\0\0" + LONG[:40]),
    "without a name": (b"zTXt", b""),
    "a profile packed in an unknown way": (b"iCCP", b"p\0\1" + LONG),
    "a profile without contents": (b"iCCP", b""),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("behind", [False, True])
def test_a_text_that_is_long_or_broken_changes_no_pixel(name, behind):
    plain = stored(noise())
    if behind:
        if TEXTS[name][0] == b"iCCP":
            pytest.skip("a profile stands before the pixels")
        data = plain[:-12] + png_chunk(*TEXTS[name]) + plain[-12:]
    else:
        data = with_chunks(plain, TEXTS[name])
    assert np.array_equal(opened(data), np.asarray(noise()))


def test_what_turns_an_image_is_kept_beside_texts_that_are_too_long():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = with_chunks(stored(noise(), exif=exif), TEXTS["packed"], TEXTS["packed"])
    assert opened(data).shape == (24, 16, 3)
    xmp = b'<x tiff:Orientation="6"/>' + b" " * 2_000_000
    for chunk in (b"\0\0\0\0\0" + xmp, b"\0\1\0\0\0" + zlib.compress(xmp)):
        data = with_chunks(stored(noise()), (b"iTXt", b"XML:com.adobe.xmp" + chunk))
        assert opened(data).shape == (24, 16, 3)


def test_a_profile_of_megabytes_is_applied_and_one_of_more_is_told():
    large = P3 + bytes(2**21)
    data = with_chunks(stored(noise()), (b"iCCP", b"p\0\0" + zlib.compress(large)))
    assert np.array_equal(opened(data), opened(stored(noise(), icc_profile=P3)))
    first, second = ((b"iCCP", b"p\0\0" + zlib.compress(p)) for p in (P3, icc.grey_profile(1.0)))
    assert np.array_equal(opened(with_chunks(stored(noise()), first, second)), opened(data))
    data = with_chunks(stored(noise()), TEXTS["packed"], (b"iCCP", b"p\0\0" + LONG))
    with pytest.raises(SampleError, match="expected a colour profile below 16,777,216 bytes"):
        verify_image(data, 10**6)


def test_a_png_of_endless_chunks_is_refused_before_they_are_read():
    data = with_chunks(stored(noise()), *[(b"prVt", b"")] * image_files.MAX_CHUNKS)
    with pytest.raises(SampleError, match="expected a PNG of up to 100,000 chunks, found more"):
        images.open_rgb(io.BytesIO(data))


def test_a_jpeg_has_a_hundred_scans_and_no_more():
    def scans(count):
        data = stored(Image.new("RGB", (16, 16)), "JPEG", progressive=True)
        start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
        return data[:start] + data[start:end] * (count - data.count(b"\xff\xda") + 1) + data[end:]

    assert verify_image(scans(100), 10**6)
    with pytest.raises(SampleError, match="expected a JPEG of up to 100 scans, found 101"):
        verify_image(scans(101), 10**6)
    # what looks like scans in a preview, in a note, or behind the end, is none
    data = stored(Image.new("RGB", (16, 16)), "JPEG", comment=b"\xff\xda" * 500)
    assert verify_image(data + b"\xff\xda" * 500, 10**6)


# --- AVIF ------------------------------------------------------------------------------------


def avif(image, **options):
    return stored(image, "AVIF", quality=100, subsampling="4:4:4", **options)


def test_an_avif_has_its_pixels_its_transparency_and_its_profile():
    seen = opened(avif(noise())).astype(int)
    assert np.abs(seen - np.asarray(noise())).max() <= 3
    clear = noise().convert("RGBA")
    clear.putalpha(0)
    assert verify_image(avif(clear), 10**6).transparent
    assert (opened(avif(clear), "#00ff00") == [0, 255, 0]).all()
    flat = Image.new("RGB", (16, 16), (200, 100, 50))
    expected = icc.to_srgb((200, 100, 50), icc.DISPLAY_P3)
    assert np.abs(opened(avif(flat, icc_profile=P3)).astype(int) - expected).max() <= 3


def test_an_avif_with_any_part_of_its_header_broken_is_read_or_refused():
    data = stored(noise(), "AVIF")
    refused = 0
    for place in range(300):
        broken = data[:place] + bytes(2) + data[place + 2 :]
        images.has_alpha(broken)
        try:
            verify_image(broken, 10**6)
        except SampleError as error:
            refused += "found a broken image" in str(error)
    assert refused


@pytest.mark.parametrize("codes", [(12, 13), (9, 16), (9, 18), (1, 8)])
def test_an_avif_of_wide_colours_without_a_profile_is_refused(codes):
    data = avif(noise())
    place = data.index(b"colrnclx") + 8
    wide = data[:place] + struct.pack(">HH", *codes) + data[place + 4 :]
    for read in (lambda d: verify_image(d, 10**6), lambda d: open_rgb(io.BytesIO(d))):
        with pytest.raises(SampleError, match=f"H.273 codes {codes[0]} and {codes[1]}"):
            read(wide)


# --- how it is turned ------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG", "AVIF"])
def test_every_orientation_of_a_camera_is_applied(tmp_path, form, orientation):
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    # blocks of 16 pixels keep their values in a JPEG
    image = image.resize((image.width * 16, image.height * 16), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = stored(image, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    seen = opened(data)[8::16, 8::16, 0]
    assert seen.shape == SHOWN.shape
    assert np.abs(seen.astype(int) - SHOWN).max() <= (3 if form in ("JPEG", "AVIF") else 0)
    (tmp_path / "a").write_bytes(data)
    assert images.shown_size(tmp_path / "a") == (48, 32)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "I;16", "RGBA"])
def test_every_mode_is_turned(mode):
    image = Image.new("RGB", (30, 20), (255, 255, 255)).convert(mode if mode != "I;16" else "L")
    image = image.convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    assert opened(stored(image, exif=exif)).shape == (30, 20, 3)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.integers(0, 60), st.binary(min_size=1, max_size=6))
def test_broken_exif_neither_fails_nor_changes_an_image(position, change):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    raw = exif.tobytes()
    broken = raw[:position] + change + raw[position + len(change) :]
    data = stored(noise(), exif=broken)
    with Image.open(io.BytesIO(data)) as image:
        upright = images._orientation(image) == 1
    seen = opened(data)
    assert np.array_equal(seen, np.asarray(noise())) or not upright


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_orientation_that_is_none_leaves_an_image_as_it_is():
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    assert np.array_equal(opened(stored(noise(), exif=exif)), np.asarray(noise()))
    data = stored(noise(), exif=b"Exif\0\0MM\0*broken")
    assert np.array_equal(opened(data), np.asarray(noise()))


# --- transparency ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_transparency_is_laid_on_the_background(form):
    image = Image.new("RGBA", (3, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (9, 9, 9, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    lossless = {"lossless": True, "exact": True} if form == "WEBP" else {}
    data = stored(image, form, **lossless)
    assert verify_image(data, 10**6).transparent
    assert opened(data).tolist() == [[[200, 0, 0], [255] * 3, [127] * 3]]
    assert opened(data, "#0000ff").tolist() == [[[200, 0, 0], [0, 0, 255], [0, 0, 127]]]


def test_grey_with_alpha_is_laid_on_the_background():
    image = Image.new("LA", (2, 1), (100, 255))
    image.putpixel((1, 0), (100, 0))
    assert opened(stored(image), "#102030").tolist() == [[[100] * 3, [16, 32, 48]]]


def test_a_palette_keeps_its_colours_and_its_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.frombytes(bytes([0, 1, 2]))
    colours = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert opened(stored(image)).tolist() == [colours]
    by_index = stored(image, transparency=1)
    by_alpha = stored(image, transparency=bytes([255, 0, 255]))
    for data in (by_index, by_alpha):
        assert verify_image(data, 10**6).transparent
        assert opened(data, "#00ff00").tolist() == [[colours[0], [0, 255, 0], colours[2]]]
    # a transparent colour that no pixel has
    assert not verify_image(stored(image, transparency=3), 10**6).transparent


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_one_transparent_colour_is_transparent(mode):
    image = Image.new(mode, (2, 1))
    white = (255,) * 3 if mode == "RGB" else 255
    image.putpixel((1, 0), white)
    data = stored(image, transparency=white)
    assert opened(data, "#ff0000").tolist() == [[[0, 0, 0], [255, 0, 0]]]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent"),
    [
        (2, 0, b"\x1b", b"\0\1"),
        (4, 0, b"\x5f", b"\0\5"),
        (16, 0, b"\3\xe8\0\0", b"\3\xe8"),
        (16, 2, bytes(12), bytes(6)),
    ],
)
def test_a_transparent_colour_that_would_be_misread_is_refused(depth, colour, row, transparent):
    data = png({2: 4}.get(depth, 2), 1, depth, colour, [row], transparent)
    with pytest.raises(SampleError, match="found one colour marked as transparent"):
        verify_image(data, 10**6)


@given(st.sampled_from(["LA", "RGBA"]), st.integers(0, 2**32))
def test_an_opaque_image_is_the_same_on_every_background(mode, seed):
    image = noise(mode, seed=seed)
    image.putalpha(255)
    data = stored(image)
    assert not verify_image(data, 10**6).transparent
    assert np.array_equal(opened(data, "#123456"), opened(data))
    assert np.array_equal(opened(data), np.asarray(image.convert("RGB")))


# --- depths and modes ------------------------------------------------------------------------


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped():
    grey = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    assert opened(stored(Image.fromarray(grey)))[..., 0].tolist() == [[0, 0, 1, 128, 255]]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_every_mode_of_sixteen_bits_is_scaled(mode):
    values = np.array([0, 255, 256, 32768, 65535])
    kind = {"I;16": "<u2", "I;16B": ">u2", "I": "i4"}[mode]
    image = Image.frombytes(mode, (5, 1), values.astype(kind).tobytes())
    assert list(images._shown(image).getchannel(0).get_flattened_data()) == [0, 0, 1, 128, 255]


def test_sixteen_bits_of_colour_are_scaled():
    data = png(1, 1, 16, 2, [struct.pack(">3H", 0, 32768, 65535)])
    assert opened(data).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_grey_black_and_white_and_colour_keep_their_values(mode):
    image = noise("L").convert("1") if mode == "1" else noise(mode)
    assert np.array_equal(opened(stored(image)), np.asarray(image.convert("RGB")))


def test_a_grey_jpeg_is_grey():
    seen = opened(stored(Image.new("L", (16, 16), 100), "JPEG"))
    assert (seen == 100).all()


INKS = (40, 80, 120, 60)
FROM_INKS = [(255 - ink) * (255 - INKS[3]) / 255 for ink in INKS[:3]]


def test_a_cmyk_jpeg_as_adobe_writes_it_has_the_right_colours():
    data = stored(Image.new("CMYK", (16, 16), INKS), "JPEG", quality=100)
    assert b"Adobe" in data
    assert np.abs(opened(data) - np.array(FROM_INKS)).max() <= 2


def test_a_ycck_jpeg_has_the_right_colours():
    # Adobe stores inks inverted, and of YCCK says by a 2 that YCC stands for the inverse of the
    # first three, so for the inks themselves (libjpeg, jdcolor.c: ycck_cmyk_convert)
    (ycc,) = Image.new("RGB", (1, 1), INKS[:3]).convert("YCbCr").get_flattened_data()
    # Pillow inverts what it writes
    given = (*(255 - value for value in ycc), INKS[3])
    data = stored(Image.new("CMYK", (16, 16), given), "JPEG", quality=100)
    marker = data.index(b"Adobe") + 11
    assert data[marker] == 0
    data = data[:marker] + b"\2" + data[marker + 1 :]
    assert np.abs(opened(data) - np.array(FROM_INKS)).max() <= 2


# --- colour profiles -------------------------------------------------------------------------


@given(st.integers(0, 2**32))
def test_display_p3_becomes_srgb_by_the_formula(seed):
    image = noise(seed=seed)
    seen = opened(stored(image, icc_profile=P3))
    assert np.abs(seen - icc.to_srgb(np.asarray(image), icc.DISPLAY_P3)).max() <= 1


def test_a_profile_is_applied_below_transparency_palette_and_turn():
    image = Image.new("RGB", (16, 32), (200, 100, 50))
    expected = icc.to_srgb((200, 100, 50), icc.DISPLAY_P3)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for kept in (image, image.convert("RGBA"), image.quantize(2)):
        seen = opened(stored(kept, icc_profile=P3, exif=exif))
        assert seen.shape == (16, 32, 3)
        assert np.abs(seen - expected).max() <= 1
    clear = image.convert("RGBA")
    clear.putalpha(0)
    # the background is sRGB already
    assert (opened(stored(clear, icc_profile=P3), "#c86432") == [200, 100, 50]).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize(
    "profile",
    [
        icc.rgb_profile(icc.SRGB, icc.srgb_curve()),
        # the profile that Pillow ships
        images.ImageCms.ImageCmsProfile(images.ImageCms.createProfile("sRGB")).tobytes(),
        b"broken",
        P3[:200],
        b"",
    ],
    ids=["made", "shipped", "broken", "cut", "empty"],
)
def test_srgb_and_what_is_no_profile_change_no_bit(mode, profile):
    image = noise(mode)
    assert np.array_equal(opened(stored(image, icc_profile=profile)), opened(stored(image)))


def test_a_profile_of_another_kind_of_image_is_ignored():
    for profile in (icc.grey_profile(1.0), icc.cmyk_profile(lambda c, m, y, k: 50)):
        seen = opened(stored(noise(), icc_profile=profile))
        assert np.array_equal(seen, np.asarray(noise()))


def test_grey_with_a_profile_of_its_own_or_of_colours_is_converted():
    grey = Image.new("L", (16, 16), 64)
    linear = opened(stored(grey, icc_profile=icc.grey_profile(1.0)))
    assert (linear == round(255 * (1.055 * (64 / 255) ** (1 / 2.4) - 0.055))).all()
    with_alpha = opened(stored(grey.convert("LA"), icc_profile=icc.grey_profile(1.0)))
    assert np.array_equal(with_alpha, linear)
    colours = icc.rgb_profile(icc.SRGB, icc.gamma_curve(1.0))
    assert np.array_equal(opened(stored(grey, "JPEG", icc_profile=colours)), linear)


def test_cmyk_is_converted_by_its_profile():
    def lightness(c, m, y, k):
        return 100 * (1 - k) * (1 - (c + m + y) / 3)

    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    seen = opened(stored(image, "JPEG", icc_profile=icc.cmyk_profile(lightness), quality=100))
    # L* of 66.7 is a luminance of 0.362, sRGB 162; without the profile it would be cyan
    assert np.abs(seen.astype(int) - 162).max() <= 2


# --- colours by name, sizes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "colour"),
    [("white", "#ffffff"), ("#FF8000", "#ff8000"), ("RebeccaPurple", "#663399")],
)
def test_a_colour_is_a_css_name_or_six_digits(text, colour):
    assert images.parse_colour(text) == colour


@pytest.mark.parametrize("text", ["", "whit", "#fff", "#gggggg", "#ffffff80", "rgb(1,2,3)"])
def test_any_other_colour_is_refused(text):
    with pytest.raises(ValueError, match="expected '#rrggbb' or a CSS colour name"):
        images.parse_colour(text)


def test_an_image_of_its_size_stays_as_it_is():
    image = noise()
    assert images.resize(image, image.size, "lanczos") is image
    assert images.resize(image, (7, 5), "box").size == (7, 5)
    sharp = images.resize(image, (48, 32), "nearest")
    assert np.array_equal(np.asarray(sharp)[::2, ::2], np.asarray(image))
