"""Layers in eight bits, as the CPU gives what a GPU would give."""

import copy

import diffusers
import pytest
import torch
import torch.nn.functional as F
from torch.multiprocessing.reductions import StorageWeakRef

from lockstep.fast import float8, qwen_transformer

KINDS = ["editor", "plus", "2511"]
ROUNDED = (1e-3, 5e-2)
"""Relative error of a product of numbers with three bits of precision, between these."""


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def numbers(matrix):
    return matrix.values.float() * matrix.scales


def load(folder):
    transformer = diffusers.QwenImageTransformer2DModel.from_pretrained(
        folder, subfolder="transformer"
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(
        folder, subfolder="scheduler"
    )
    scheduler.set_timesteps(sigmas=[1.0, 0.5], mu=0.5)
    qwen_transformer.optimize(transformer, scheduler)
    return transformer


@pytest.fixture(scope="module", params=KINDS)
def pair(request, models):
    """The fast transformer, and the same in eight bits."""
    exact, ours = load(models / request.param), load(models / request.param)
    float8.quantise_layers(ours)
    return exact, ours


def predict(transformer):
    with torch.inference_mode():
        return transformer(
            hidden_states=drawn(1, 8, 16).to(transformer.dtype),
            encoder_hidden_states=drawn(1, 5, 32, seed=1).to(transformer.dtype),
            timestep=transformer.scheduler.timesteps[:1] / 1000,
            img_shapes=[[(1, 2, 2), (1, 2, 2)]],
        )[0].float()


def test_each_row_fills_the_format():
    x = drawn(6, 96) * torch.tensor([[1e-6, 1e-3, 1, 1e3, 1e6, 0]]).T
    found = float8.quantise(x)
    assert found.values.dtype == torch.float8_e4m3fn
    assert found.values.float().abs().amax(-1).tolist() == [448] * 5 + [0]
    assert torch.isfinite(found.scales).all()
    # four bits with the leading one; small numbers of a row have fewer
    assert ((numbers(found) - x).abs() <= x.abs() / 16 + found.scales / 512).all()


def test_a_row_of_no_numbers_gives_none():
    x = drawn(2, 96)
    x[0, 3] = torch.nan
    found = numbers(float8.quantise(x))
    assert found[0].isnan().any()
    assert torch.equal(found[1], numbers(float8.quantise(x[1:]))[0])


def test_a_layer_multiplies_what_the_rounded_matrices_hold():
    layer, x = torch.nn.Linear(96, 128), drawn(10, 96)
    expected, weight, bias = layer(x), layer.weight.detach(), layer.bias.detach()
    product = float8._replace(layer)
    found = float8._linear(x, product)
    rounded = numbers(float8.quantise(weight))
    by_hand = numbers(float8.quantise(x)) @ rounded.T + bias
    assert relative(found, by_hand) <= 1e-6
    assert ROUNDED[0] < relative(found, expected.detach()) < ROUNDED[1]
    assert torch.equal(numbers(float8.Quantised(layer.weight, layer.weight_scales)), rounded)
    rows = torch.zeros(12, 128)
    product(float8.quantise(x), out=rows[2:])
    assert torch.equal(rows[2:], found)
    assert not rows[:2].any()


def test_a_perceptron_rounds_what_the_activation_gives():
    first, second, x = torch.nn.Linear(32, 128), torch.nn.Linear(128, 32), drawn(10, 32)
    expected = second(F.gelu(first(x), approximate="tanh")).detach()
    given = {"first": float8._replace(first), "second": float8._replace(second)}
    found = float8._perceptron(float8.quantise(x), **given)
    between = F.gelu(float8._linear(x, given["first"]), approximate="tanh")
    assert torch.equal(found, float8._linear(between, given["second"]))
    # twice rounded
    assert ROUNDED[0] < relative(found, expected) < 2 * ROUNDED[1]


def test_a_transformer_in_eight_bits_is_close_to_the_exact_one(pair):
    exact, ours = map(predict, pair)
    assert ROUNDED[0] < relative(ours, exact) < ROUNDED[1]


def test_half_precision_stays_what_goes_in_and_comes_out(pair):
    halves = [copy.deepcopy(pair[0]).bfloat16() for _ in range(2)]
    for half in halves:
        qwen_transformer.optimize(half, half.scheduler)
    float8.quantise_layers(halves[1])
    assert halves[1].dtype == torch.bfloat16
    exact, ours = map(predict, halves)
    assert ROUNDED[0] < relative(ours, exact) < ROUNDED[1]


def test_the_large_layers_of_the_blocks_are_small_and_all_else_is_as_it_was(pair):
    exact, ours = (dict(each.named_parameters()) for each in pair)
    assert ours.keys() == exact.keys()
    eight_bits = {name for name in ours if ours[name].dtype == torch.float8_e4m3fn}
    layers = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    names = [f"attn.{name}" for name in (*layers, "to_out.0")]
    names += [f"{each}_mlp.net.{name}" for each in ("img", "txt") for name in ("0.proj", "2")]
    blocks = range(len(pair[0].transformer_blocks))
    expected = {f"transformer_blocks.{n}.{name}.weight" for n in blocks for name in names}
    assert eight_bits == expected
    assert all(torch.equal(ours[name], exact[name]) for name in ours.keys() - eight_bits)


def test_what_the_layers_were_is_freed(models):
    transformer = load(models / "editor")
    block = transformer.transformer_blocks[0]
    layers = (block.attn.to_q, block.attn.to_out[0], block.img_mlp.net[2])
    watched = [StorageWeakRef(layer.weight.untyped_storage()) for layer in layers]
    assert not any(each.expired() for each in watched)
    float8.quantise_layers(transformer)
    assert all(each.expired() for each in watched)
