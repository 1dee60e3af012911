"""Sources at the limits of what is accepted go through the models all the same."""

import pytest
import transformers
from PIL import Image

from lockstep.editors.diffusers import DiffusersSettings
from lockstep.editors.diffusers.editor import DiffusersEditor
from lockstep.foreign.images import MAX_RATIO, open_rgb, verify_image
from tests.conftest import make_sample

SIZES = [(1, 1), (8, 8), (3, 1), (50 * MAX_RATIO, 50), (50, 50 * MAX_RATIO), (1, MAX_RATIO)]


@pytest.fixture(scope="module", params=["editor", "plus"])
def editor(models, request):
    settings = DiffusersSettings(
        name="tiny",
        type="diffusers",
        model=str(models / request.param),
        dtype="float32",
        num_inference_steps=2,
    )
    return DiffusersEditor(settings, "cpu")


def source(folder, size):
    path = folder / "source.png"
    Image.new("RGB", size, (200, 100, 50)).save(path)
    assert verify_image(path.read_bytes(), 10**6)[1:3] == size
    return make_sample(folder).model_copy(update={"image": str(path)})


@pytest.mark.parametrize("size", SIZES)
def test_qwen_image_edit_takes_every_shape_that_is_accepted(editor, tmp_path, size):
    sample = source(tmp_path, size)
    image = editor.edit(editor.prepare(sample), sample, 1)
    assert 0.85 < image.width * image.height / 2**20 < 1.15
    # both sides are rounded to 32 pixels
    assert (image.width / image.height) / (size[0] / size[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.filterwarnings("ignore:.*channel dimension is ambiguous")
@pytest.mark.parametrize("size", SIZES)
def test_the_judge_sees_every_shape_that_is_accepted_in_its_colours(models, tmp_path, size):
    processor = transformers.AutoProcessor.from_pretrained(models / "judge").image_processor
    shown = open_rgb(source(tmp_path, size).image)
    pixels = processor(images=[shown], return_tensors="pt")["pixel_values"]
    red, green, blue = pixels.reshape(len(pixels), 3, -1).mean((0, 2)).tolist()
    assert red > green > blue
