"""What edits kept of their sources: made differences are measured for what they are."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import fourier_shift
from skimage import data
from skimage.color import rgb2gray, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.registration import phase_cross_correlation
from skimage.transform import AffineTransform, warp

from lockstep import layout, records
from lockstep.figures import measuring, preservation, registration
from lockstep.records import EditRecord, PreservationRecord
from tests.conftest import make_sample

MARGIN = 24


def photograph(name="astronaut") -> np.ndarray:
    """Return a photograph, height × width × 3, from 0 to 1."""
    return getattr(data, name)()[..., :3].astype(float) / 255


def image(pixels) -> Image.Image:
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def shifted(pixels, x, y):
    """Return source and edit of a photograph whose content lies further right and down by so much.

    A shift of phases is exact; what it brings in at the edges is cut off.
    """
    moved = np.dstack(
        [
            np.fft.ifft2(fourier_shift(np.fft.fft2(c), (y, x))).real
            for c in np.moveaxis(pixels, 2, 0)
        ]
    )
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    return image(pixels[inner]), image(moved[inner])


def zoomed(pixels, percent, x=0.0, y=0.0):
    """Return source and edit of a photograph that is larger about its centre, and then moved."""
    height, width = pixels.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    scale = 1 + percent / 100
    forth = AffineTransform(scale=scale, translation=centre * (1 - scale) + [x, y])
    return image(pixels), image(warp(pixels, forth.inverse, order=5, mode="reflect"))


def with_a_new_part(edited: Image.Image, share: float) -> Image.Image:
    """Return an image with another photograph in its middle."""
    size = [round(length * share**0.5) for length in edited.size]
    left, top = ((length - own) // 3 for length, own in zip(edited.size, size, strict=True))
    changed = edited.copy()
    changed.paste(image(photograph("coffee")).resize(size), (left, top))
    return changed


def as_jpeg(edited: Image.Image, quality=75) -> Image.Image:
    buffer = io.BytesIO()
    edited.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def with_noise(edited: Image.Image, sigma: float) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, sigma, (edited.height, edited.width, 3))
    return image(np.asarray(edited) / 255 + noise)


SHIFTS = [(0.25, 0), (0, -0.25), (0.5, 0.75), (-1.3, 2.6), (7.5, -3.3), (-7.5, 7.5)]
PHOTOGRAPHS = ("coffee", "chelsea")


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize(("x", "y"), SHIFTS)
def test_a_shift_is_told_within_five_percent(name, x, y):
    source, edited = shifted(photograph(name), x, y)
    found = measuring.measure(source, edited)
    assert found["shift_x"] == pytest.approx(x, rel=0.05, abs=0.0125)
    assert found["shift_y"] == pytest.approx(y, rel=0.05, abs=0.0125)
    assert found["zoom_percent"] == pytest.approx(0, abs=0.025)
    assert found["matched_share"] > 0.9


def test_a_shift_is_that_of_phase_correlation_over_the_whole_image():
    source, edited = shifted(photograph(), -2.4, 1.7)
    grey = [rgb2gray(np.asarray(own)) for own in (source, edited)]
    window = np.outer(*(np.hanning(length) for length in grey[0].shape))
    told, _, _ = phase_cross_correlation(*(own * window for own in grey), upsample_factor=100)
    found = measuring.measure(source, edited)
    assert [found["shift_y"], found["shift_x"]] == pytest.approx(list(-told), rel=0.05)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("percent", [0.5, -0.5, 2, -3])
def test_a_zoom_is_told_within_five_percent(name, percent):
    found = measuring.measure(*zoomed(photograph(name), percent))
    assert found["zoom_percent"] == pytest.approx(percent, rel=0.02)
    assert abs(found["shift_x"]) < 0.05 and abs(found["shift_y"]) < 0.05


@pytest.mark.parametrize("side", [256, 300])
@pytest.mark.parametrize("name", ["camera", "chelsea", "coins"])
@pytest.mark.parametrize("percent", [0.5, -1, 3])
def test_a_zoom_of_a_small_photograph_is_told_within_five_percent(name, side, percent):
    """Blocks alone draw a small zoom to 0: by 9% of it at 300 pixels, by 11% at 256."""
    pixels = np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB"))
    factor = side / min(pixels.shape[:2])
    size = [round(length * factor) for length in pixels.shape[1::-1]]
    small = Image.fromarray(pixels).resize(tuple(size), Image.Resampling.LANCZOS)
    source, edited = zoomed(np.asarray(small).astype(float) / 255, percent)
    for made in (edited, as_jpeg(edited), with_noise(edited, 0.03)):
        found = measuring.measure(source, made)
        assert found["zoom_percent"] == pytest.approx(percent, rel=0.05)
        assert abs(found["shift_x"]) < 0.05 and abs(found["shift_y"]) < 0.05


def test_pixels_that_lead_elsewhere_refine_nothing():
    grey = rgb2gray(photograph())[:256, :256].astype(np.float32)
    still, centres = registration._still(), np.array([[100.0, 100.0]])
    away = np.roll(grey, 5, axis=1)
    assert registration._refined(grey, away, still, centres) is still
    nothing = np.zeros_like(grey)
    assert np.allclose(registration._refined(nothing, nothing, still, centres).params, np.eye(3))


@pytest.mark.parametrize(
    ("share", "percent", "x", "y"),
    [(0.05, 1, 1.5, -2), (0.4, 0, 3, -2), (0.4, 1, 1.5, -2), (0.4, -3, -4, 6)],
)
def test_a_new_part_of_the_image_does_not_hide_shift_and_zoom(share, percent, x, y):
    source, edited = zoomed(photograph(), percent, x, y)
    found = measuring.measure(source, as_jpeg(with_a_new_part(edited, share)))
    assert found["shift_x"] == pytest.approx(x, rel=0.05, abs=0.05)
    assert found["shift_y"] == pytest.approx(y, rel=0.05, abs=0.05)
    assert found["zoom_percent"] == pytest.approx(percent, rel=0.05, abs=0.03)
    assert found["matched_share"] < 1


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_a_new_part_alone_moves_nothing(share):
    source = image(photograph())
    found = measuring.measure(source, with_a_new_part(source, share))
    assert abs(found["shift_x"]) < 0.05 and abs(found["shift_y"]) < 0.05
    assert abs(found["zoom_percent"]) < 0.03
    assert found["copy_of_source"] == "no"


def test_another_image_has_no_shift_and_no_zoom():
    source = image(photograph())
    other = image(photograph("coffee")).resize(source.size)
    found = measuring.measure(source, other)
    for name in ("shift_x", "shift_y", "zoom_percent", "matched_share"):
        assert found[name] is None


def test_a_shift_of_a_large_image_is_in_its_own_pixels():
    large = image(photograph()).resize((2048, 1536), Image.Resampling.BICUBIC)
    edited = Image.new("RGB", large.size)
    edited.paste(large, (6, -4))
    found = measuring.measure(large, edited)
    assert [found["shift_x"], found["shift_y"]] == pytest.approx([6, -4], rel=0.05)


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_noise_has_the_psnr_and_ssim_of_scikit_image(sigma):
    source = image(photograph() * 0.6 + 0.2)
    edited = with_noise(source, sigma)
    found = measuring.measure(source, edited)
    assert found["psnr"] == pytest.approx(-20 * np.log10(sigma), rel=0.05)
    one, other = np.asarray(source), np.asarray(edited)
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(one, other), abs=1e-4)
    ssim = structural_similarity(
        *(rgb2gray(own) for own in (one, other)),
        **{"data_range": 1, "gaussian_weights": True, "sigma": 1.5},
        use_sample_covariance=False,
    )
    assert found["ssim"] == pytest.approx(ssim, abs=1e-3)
    assert abs(found["shift_x"]) < 0.02 and abs(found["shift_y"]) < 0.02


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_the_share_of_changed_pixels_is_that_of_the_new_part(share):
    source = image(photograph() * 0.5)
    side = round(512 * share**0.5)
    edited = source.copy()
    edited.paste("#ffffff", (10, 20, 10 + side, 20 + side))
    found = measuring.measure(source, edited)
    assert found["changed_share"] == pytest.approx(side**2 / 512**2, abs=1e-5)


@pytest.mark.parametrize("cast", [(0, 12, 0), (0, 0, -9), (5, -4, 3)])
def test_a_colour_cast_is_told_in_cielab(cast):
    from skimage.color import lab2rgb

    lab = rgb2lab(photograph() * 0.4 + 0.3)
    found = measuring.measure(image(lab2rgb(lab)), image(lab2rgb(lab + cast)))
    told = [found["colour_l"], found["colour_a"], found["colour_b"]]
    assert told == pytest.approx(cast, rel=0.05, abs=0.2)
    assert found["colour_cast"] == pytest.approx(np.linalg.norm(cast), rel=0.05)


def test_copies_are_told_exact_and_near():
    source = image(photograph())
    exact = measuring.measure(source, source.copy())
    assert exact["copy_of_source"] == "exact" and exact["psnr"] is None
    assert (exact["ssim"], exact["changed_share"], exact["colour_cast"]) == (1, 0, 0)
    assert (exact["shift_x"], exact["shift_y"], exact["zoom_percent"]) == (0, 0, 0)
    for near in (as_jpeg(source), with_noise(source, 0.02)):
        assert measuring.measure(source, near)["copy_of_source"] == "near"
    small = source.copy()
    small.paste("#ff0000", (100, 100, 112, 112))
    assert measuring.measure(source, small)["copy_of_source"] == "no"


@pytest.mark.parametrize("size", [(513, 512), (512, 511), (1024, 1024), (256, 300)])
def test_an_edit_of_another_size_is_compared_in_the_sources(size):
    source = image(photograph())
    found = measuring.measure(source, source.resize(size, Image.Resampling.LANCZOS))
    assert (found["source_width"], found["source_height"]) == (512, 512)
    assert (found["edited_width"], found["edited_height"]) == size
    assert found["size_ratio"] == pytest.approx(size[0] * size[1] / 512**2, abs=1e-4)
    assert found["copy_of_source"] != "exact"
    assert abs(found["shift_x"]) < 0.05 and abs(found["zoom_percent"]) < 0.03


def test_the_size_that_an_editor_returned_counts():
    source = image(photograph())
    found = measuring.measure(source, source, (1024, 768))
    assert (found["edited_width"], found["edited_height"]) == (1024, 768)


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (10, 100), (4000, 40), (1600, 16)])
def test_small_and_narrow_images_have_what_can_be_told(size):
    source = image(photograph()).resize(size)
    edited = with_noise(source, 0.1)
    found = measuring.measure(source, edited)
    assert found["psnr"] is None or found["psnr"] > 10
    assert (found["ssim"] is None) == (min(size) < measuring.WINDOW)
    if min(size) < 32:
        assert found["shift_x"] is None and found["zoom_percent"] is None


@pytest.mark.parametrize("colour", ["#808080", "#000000"])
def test_a_flat_image_has_no_shift(colour):
    flat = Image.new("RGB", (200, 100), colour)
    for edited in (flat, with_noise(flat, 0.1), Image.new("RGB", (200, 100), "#ff0000")):
        found = measuring.measure(flat, edited)
        assert found["shift_x"] is None and found["matched_share"] is None
        assert np.isfinite(found["colour_cast"])


@settings(max_examples=6)
@given(x=st.integers(-30, 30), y=st.integers(-30, 30), light=st.floats(0.6, 1.4))
def test_any_whole_shift_is_found_whatever_the_light(x, y, light):
    pixels = photograph("coffee")[:352, :352]
    moved = np.roll(pixels, (y, x), (0, 1)) * light
    inner = (slice(32, -32), slice(32, -32))
    found = measuring.measure(image(pixels[inner]), image(moved[inner]))
    assert [found["shift_x"], found["shift_y"]] == pytest.approx([x, y], abs=0.1)


@settings(max_examples=15)
@given(
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    edited=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    seed=st.integers(0, 99),
)
def test_every_pair_of_images_has_numbers_that_a_record_takes(source, edited, seed):
    rng = np.random.default_rng(seed)
    pair = [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        for width, height in (source, edited)
    ]
    record = PreservationRecord(id="a", key="k", **measuring.measure(*pair))
    assert 0 <= record.changed_share <= 1


def edit(folder: Path, sample, pixels, name="a") -> EditRecord:
    path = layout.edited(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels.save(path)
    return EditRecord(
        **{"id": name, "category": "physical", "key": "k", "status": "ok", "seed": 0, "wave": 0},
        **{"shard": 0, "device": "cpu:0", "image": layout.below_folder(path)},
        pixels_sha256=records.pixels_sha256(pixels),
    )


@pytest.fixture
def place(tmp_path):
    """Return a manifest of three samples, the first shard's records and the category's folder."""
    samples = [make_sample(tmp_path, name, index=n) for n, name in enumerate("abc")]
    folder = tmp_path / "results" / "editor" / "physical"
    edits = [
        edit(folder, sample, Image.open(sample.image).rotate(5 * n), sample.id)
        for n, sample in enumerate(samples)
    ]
    manifest, shard = tmp_path / "physical.jsonl", layout.shard(folder, "edits", 0, 1)
    records.write_records(manifest, samples)
    records.write_records(shard, edits)
    return manifest, shard, folder


def measured(monkeypatch) -> list[str]:
    """Return the ids of what is measured from here on."""
    seen: list[str] = []
    measure_all = measuring.measure_all

    def watched(wanted):
        seen.extend(own.id for own in wanted)
        return measure_all(wanted)

    monkeypatch.setattr(measuring, "measure_all", watched)
    return seen


def test_only_new_edits_are_measured(place, monkeypatch):
    manifest, shard, folder = place
    first = measuring.preserved(manifest, [shard], folder, 1)
    assert list(first) == ["a", "b", "c"] and first["a"].copy_of_source == "exact"
    seen = measured(monkeypatch)
    # in other shards
    edits = records.read_records(shard, EditRecord)
    shards = [layout.shard(folder, "edits", k, 2) for k in range(2)]
    for k, path in enumerate(shards):
        records.write_records(path, edits[k::2])
    assert measuring.preserved(manifest, shards, folder, 1) == first
    assert seen == []
    (sample,) = [own for own in records.read_manifest(manifest) if own.id == "b"]
    edits[1] = edit(folder, sample, Image.new("RGB", (96, 64)), "b")
    records.write_records(shard, edits)
    again = measuring.preserved(manifest, [shard], folder, 1)
    assert seen == ["b"] and again["b"] != first["b"] and again["c"] == first["c"]


def test_processes_measure_what_one_does(place):
    manifest, shard, folder = place
    one = measuring.preserved(manifest, [shard], folder, 1)
    layout.preservation(folder).unlink()
    assert measuring.preserved(manifest, [shard], folder, 2) == one


def test_an_edit_whose_image_is_gone_has_no_numbers(place):
    manifest, shard, folder = place
    layout.edited(folder, "b").write_bytes(b"")
    assert sorted(measuring.preserved(manifest, [shard], folder, 1)) == ["a", "c"]


def test_a_change_of_what_is_measured_measures_all_again(place, monkeypatch):
    manifest, shard, folder = place
    measuring.preserved(manifest, [shard], folder, 1)
    monkeypatch.setattr(preservation, "SEMANTICS", preservation.SEMANTICS + 1)
    seen = measured(monkeypatch)
    measuring.preserved(manifest, [shard], folder, 1)
    assert sorted(seen) == ["a", "b", "c"]


def test_transparent_pixels_are_compared_on_their_background(place):
    manifest, shard, folder = place
    (sample, *_) = records.read_manifest(manifest)
    picture = Image.linear_gradient("L").resize((96, 64)).convert("RGBA")
    picture.putalpha(128)
    picture.save(sample.image)
    on_green = Image.alpha_composite(Image.new("RGBA", picture.size, "#00ff00"), picture)
    records.write_records(shard, [edit(folder, sample, on_green.convert("RGB"))])
    for colour, copy in (("#00ff00", "exact"), ("#ff0000", "no")):
        changed = {"background": colour, "transparent": True}
        records.write_records(manifest, [sample.model_copy(update=changed)])
        assert measuring.preserved(manifest, [shard], folder, 1)["a"].copy_of_source == copy
