"""Where the parts of an editor go that takes several GPUs."""

from unittest import mock

import accelerate
import diffusers
import pytest
import torch

from lockstep.editors.diffusers import DiffusersSettings, editor, reading, spreading
from lockstep.errors import ConfigError

GB = 10**9


@pytest.fixture
def folder(tmp_path):
    """A pipeline of the size of Qwen-Image-Edit: files that take no room on the disk."""
    for part, size in {"transformer": 41, "text_encoder": 17, "vae": 0.3}.items():
        (tmp_path / part).mkdir()
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        with open(tmp_path / part / f"{name}.safetensors", "wb") as file:
            file.truncate(int(size * GB))
    return tmp_path


@pytest.fixture(scope="module")
def denoiser():
    with accelerate.init_empty_weights():
        return diffusers.QwenImageTransformer2DModel()


def places(folder, denoiser, gpus, free):
    settings = DiffusersSettings(
        name="a", type="diffusers", model=str(folder), gpus_per_editor=gpus, dtype="bfloat16"
    )
    room = (free * GB + spreading.BESIDE, 0)
    with mock.patch.object(torch.cuda, "mem_get_info", lambda device: room):
        return spreading.places(settings, folder, denoiser)


def test_a_denoiser_that_fits_one_gpu_lies_whole_on_one_of_its_own(folder, denoiser):
    assert places(folder, denoiser, gpus=2, free=48) == {"": 1}
    assert places(folder, denoiser, gpus=3, free=48) == {"": 1}


def test_a_larger_one_is_laid_over_all_layer_by_layer(folder, denoiser):
    found = places(folder, denoiser, gpus=3, free=24)
    blocks = [place for name, place in found.items() if name.startswith("transformer_blocks.")]
    # the first GPU has the rest beside it
    assert blocks == sorted(blocks) and len(blocks) == 60
    assert blocks.count(0) < blocks.count(1) and set(blocks) == {0, 1, 2}
    assert all(isinstance(place, int) for place in found.values())


@pytest.mark.parametrize(
    ("gpus", "free", "sentence"),
    [
        (2, 10, "editors: a: gpus_per_editor: found 17 GB beside the denoiser, and too little"),
        (2, 20, "found a denoiser of 41 GB, and too little memory for it on 2 GPUs; expected more"),
    ],
)
def test_what_does_not_fit_is_refused_and_goes_to_no_host(folder, denoiser, gpus, free, sentence):
    with pytest.raises(ConfigError, match=sentence):
        places(folder, denoiser, gpus, free)


def test_weights_that_wait_in_the_host_are_on_one_gpu():
    with pytest.raises(ValueError, match="expected gpus_per_editor 1 with offload: model, found 2"):
        DiffusersSettings(
            name="a", type="diffusers", model="m/m", gpus_per_editor=2, offload="model"
        )


@pytest.mark.parametrize(
    ("given", "read_to"),
    [({}, "cuda"), ({"gpus_per_editor": 2}, "cpu"), ({"offload": "model"}, "cpu")],
)
def test_weights_are_read_ahead_to_a_gpu_that_takes_them_all(given, read_to):
    settings = DiffusersSettings(name="a", type="diffusers", model="m/m", **given)
    with (
        mock.patch.object(reading, "ahead") as ahead,
        mock.patch.object(editor, "DiffusersEditor"),
    ):
        settings.load("cuda")
    assert ahead.call_args.args[2] == read_to
