"""Images as editors and judges see them."""

import io

import numpy as np
import pytest
from PIL import Image

from lockstep.errors import SampleError
from lockstep.images import open_rgb, verify_image


def stored(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("form", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_accepted_formats(form, suffix):
    data = stored(Image.new("RGB", (30, 20)), form)
    assert verify_image(data, 600) == (suffix, 30, 20)


def test_the_limit_holds_before_anything_is_decoded():
    # 40,000 × 40,000 pixels would take 1.6 GB
    data = stored(Image.new("1", (40_000, 40_000)))
    with pytest.raises(SampleError, match="40000×40000 pixels, accepted are up to 64,000,000"):
        verify_image(data, 64_000_000)


@pytest.mark.parametrize("cut", [1, 20, 60, 200])
def test_a_cut_off_image_is_refused(cut):
    rng = np.random.default_rng(0)
    data = stored(Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)))
    with pytest.raises(SampleError):
        verify_image(data[:cut], 10**6)


def test_transparency_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.save(tmp_path / "a.png")
    assert list(open_rgb(tmp_path / "a.png").get_flattened_data()) == [(255, 0, 0), (255,) * 3]


def test_a_camera_s_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (30, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert open_rgb(tmp_path / "a.jpg").size == (20, 30)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert [p[0] for p in open_rgb(tmp_path / "a.png").get_flattened_data()] == [0, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (8, 8), (250, 250, 250)).convert(mode).save(tmp_path / f"a.{suffix}")
    image = open_rgb(tmp_path / f"a.{suffix}")
    assert image.mode == "RGB"
    assert min(image.getpixel((4, 4))) >= 245
