"""The fast path of Qwen-Image-Edit computes what diffusers computes."""

import copy

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from lockstep.editors.diffusers import qwen_image
from lockstep.editors.diffusers.editor import add_token_types

EXACT = 1e-5
"""Relative error that rounding in another order may bring, in float32."""

MODELS = ["editor", "plus", "2511"]

SMALL = {"height": 64, "width": 96}
"""What is drawn; sources are read at one megapixel all the same."""


@pytest.fixture(scope="module", params=MODELS)
def pair(request, models):
    """A pipeline as diffusers loads it, and the same made fast."""
    pipelines = [diffusers.DiffusionPipeline.from_pretrained(models / request.param)]
    pipelines.append(copy.deepcopy(pipelines[0]))
    for pipeline in pipelines:
        pipeline.set_progress_bar_config(disable=True)
        add_token_types(pipeline.text_encoder)
    qwen_image.optimize(pipelines[1])
    return pipelines


def source(width=256, height=192):
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@torch.inference_mode()
def test_the_transformer_predicts_the_same_for_every_step_and_prompt(pair):
    theirs, ours = pair
    seen = []

    def keep(_, args, given, result):
        seen.append((given, result[0]))

    hook = theirs.transformer.register_forward_hook(keep, with_kwargs=True)
    theirs(
        image=source(),
        prompt="Let go.",
        negative_prompt=" ",
        true_cfg_scale=4.0,
        num_inference_steps=2,
        **SMALL,
        generator=torch.Generator().manual_seed(1),
    )
    hook.remove()
    assert len(seen) == 4
    scheduler, ours.transformer.scheduler = ours.transformer.scheduler, theirs.scheduler
    for given, expected in seen:
        found = ours.transformer(**given)[0]
        assert relative(found, expected[:, : found.shape[1]]) <= EXACT
        assert found.shape[1] == 2 * 3
    ours.transformer.scheduler = scheduler


@torch.inference_mode()
def test_prompts_are_encoded_as_the_pipeline_encodes_them(pair):
    theirs, ours = pair
    prompts = ["Let the ball go.", " "]
    seen = []

    def keep(_, args, given):
        seen.append(given["encoder_hidden_states"])

    hook = theirs.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    call = {"num_inference_steps": 2, "true_cfg_scale": 4.0, "output_type": "latent", **SMALL}
    theirs(image=source(), prompt=prompts[0], negative_prompt=prompts[1], **call)
    hook.remove()
    encoded = qwen_image.encode(ours, qwen_image.prepare(ours, [source()], prompts))
    assert relative(encoded["prompt_embeds"], seen[0]) <= EXACT
    assert relative(encoded["negative_prompt_embeds"], seen[1]) <= EXACT
    assert encoded["prompt_embeds"].shape == seen[0].shape


def test_an_image_is_looked_at_once_for_both_prompts(pair):
    _, ours = pair
    looks = []
    visual = ours.text_encoder.model.visual
    hook = visual.register_forward_hook(lambda *_: looks.append(1))
    qwen_image.encode(ours, qwen_image.prepare(ours, [source()], ["Let go.", " "]))
    qwen_image.encode(ours, qwen_image.prepare(ours, [source()], ["Let go."]))
    hook.remove()
    assert len(looks) == 2


@torch.inference_mode()
@pytest.mark.parametrize("seed", [0, 1])
def test_the_autoencoder_gives_the_same_latents_and_pixels(pair, seed):
    theirs, ours = pair
    pixels = torch.randn(1, 3, 1, 64, 96, generator=torch.Generator().manual_seed(seed))
    expected = theirs.vae.encode(pixels).latent_dist.mode()
    latents = ours.vae.encode(pixels).latent_dist.mode()
    assert relative(latents, expected) <= EXACT
    assert relative(ours.vae.decode(expected).sample, theirs.vae.decode(expected).sample) <= EXACT


@pytest.mark.parametrize("size", [(256, 192), (97, 61), (3000, 40), (40, 3000)])
def test_the_image_and_its_size_are_those_of_the_pipeline(pair, size):
    """The pipeline computes a size from what it is given; ours is resized before."""
    theirs, ours = pair
    results = []
    for pipeline, image in ((theirs, source(*size)), (ours, None)):
        if image is None:
            image = qwen_image.prepare(ours, [source(*size)], [" "]).images
        seen = []
        pipeline.vae.encode = lambda x, seen=seen: seen.append(x) or exit_here()
        with pytest.raises(Stop):
            pipeline(image=image, prompt=" ", true_cfg_scale=1.0, num_inference_steps=1)
        del pipeline.vae.encode
        results.append(seen[0])
    assert torch.equal(*results)


@torch.inference_mode()
def test_several_sources_are_edited_as_the_pipeline_edits_them(pair):
    theirs, ours = pair
    if not isinstance(theirs, diffusers.QwenImageEditPlusPipeline):
        return
    sources = [source(256, 192), source(120, 200), source(90, 90)]
    call = {"num_inference_steps": 2, "true_cfg_scale": 4.0, "output_type": "latent", **SMALL}
    expected = theirs(
        image=sources,
        prompt="Put the first into the second.",
        negative_prompt=" ",
        generator=torch.Generator().manual_seed(1),
        **call,
    ).images
    prepared = qwen_image.prepare(ours, sources, ["Put the first into the second.", " "])
    assert prepared.size == prepared.images[-1].size
    found = ours(
        image=prepared.images,
        generator=torch.Generator().manual_seed(1),
        **qwen_image.encode(ours, prepared),
        **call,
    ).images
    assert relative(found, expected) <= 10 * EXACT


class Stop(Exception):
    pass


def exit_here():
    raise Stop


@torch.inference_mode()
def test_a_time_that_is_no_step_gives_no_numbers(pair):
    _, ours = pair
    ours.scheduler.set_timesteps(sigmas=np.array([1.0, 0.5]), mu=0.5)
    embeds = torch.randn(1, 5, 32)
    call = {
        "hidden_states": torch.randn(1, 8, 16),
        "encoder_hidden_states": embeds,
        "img_shapes": [[(1, 2, 2), (1, 2, 2)]],
    }
    step = ours.scheduler.timesteps[1:2] / 1000
    assert ours.transformer(timestep=step, **call)[0].isfinite().all()
    assert ours.transformer(timestep=step * 0.9, **call)[0].isnan().all()


def test_what_the_fast_path_cannot_do_is_refused(pair):
    _, ours = pair
    with pytest.raises(ValueError, match="one image, no mask"):
        ours.transformer(
            hidden_states=torch.randn(2, 8, 16),
            encoder_hidden_states=torch.randn(2, 5, 32),
            timestep=torch.ones(2),
            img_shapes=[[(1, 2, 2), (1, 2, 2)]] * 2,
        )
    with pytest.raises(ValueError, match="takes one frame, found 5"):
        ours.vae.encode(torch.zeros(1, 3, 5, 64, 64))


def test_the_parameters_keep_their_names_and_values(pair):
    theirs, ours = pair
    for mine, other in ((ours.transformer, theirs.transformer), (ours.vae, theirs.vae)):
        expected = other.state_dict()
        found = mine.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
