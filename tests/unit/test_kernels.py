"""The GPU's kernels, interpreted on the CPU, against the same said in PyTorch."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageRMS_norm

from lockstep.fast import float8, kernels, qwen_autoencoder, qwen_transformer

TOKENS, WIDTH = 10, 96


def close(ours, reference):
    torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-6)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("split", [0, 4, TOKENS])
def test_a_norm_is_modulated_by_the_row_of_each_token(split):
    x, both = drawn(TOKENS, WIDTH), drawn(2, 6 * WIDTH, seed=1)
    for modulation in both.chunk(2, dim=-1):
        ours = kernels.norm_modulate(x, modulation, split)
        close(ours, qwen_transformer.norm_modulate(x, modulation, split))


def test_a_single_row_modulates_all_tokens():
    x, modulation = drawn(TOKENS, WIDTH), drawn(1, 3 * WIDTH, seed=1)
    ours = kernels.norm_modulate(x, modulation, TOKENS)
    close(ours, qwen_transformer.norm_modulate(x, modulation, TOKENS))


@pytest.mark.parametrize("split", [4, TOKENS])
def test_what_a_layer_says_is_gated_added_and_normed(split):
    x, y = drawn(2, TOKENS, WIDTH)
    gate, modulation = drawn(2, 6 * WIDTH, seed=1).chunk(2, dim=-1)
    ours = kernels.gate_norm_modulate(x, y, gate, modulation, split)
    for mine, theirs in zip(
        ours, qwen_transformer.gate_norm_modulate(x, y, gate, modulation, split), strict=True
    ):
        close(mine, theirs)
    close(kernels.gate(x, y, gate, split), qwen_transformer._gate(x, y, gate, split))


@pytest.mark.parametrize("heads", [2, 3])
def test_queries_and_keys_are_normed_and_turned_and_values_left_alone(heads):
    qkv, weights = drawn(TOKENS, 3, heads, 32), drawn(4, 32, seed=1)
    cos, sin = drawn(2, TOKENS, 16, seed=2)
    ours, reference = qkv.clone(), qkv.clone()
    kernels.norm_rotate_(ours, weights, cos, sin, 4)
    qwen_transformer._norm_rotate_(reference, weights, cos, sin, 4)
    close(ours, reference)
    assert torch.equal(ours[:, 2], qkv[:, 2])
    assert not torch.equal(ours[:, :2], qkv[:, :2])


def test_channels_are_normed_and_activated():
    norm = QwenImageRMS_norm(24, images=False)
    norm.gamma.data = drawn(24, 1, 1, 1)
    x = drawn(1, 24, 1, 5, 7)
    # a pixel of zeros has no length to divide by
    x[..., 0, 0] = 0
    close(kernels.norm_silu(x, norm.gamma.detach()), qwen_autoencoder._norm_silu(norm, x))


@pytest.fixture
def unrounded(monkeypatch):
    """Let the kernels store what they would round: interpreted, that loses carries."""
    monkeypatch.setattr(
        kernels, "_eight_bits", lambda x: (torch.empty_like(x), torch.empty(len(x), 1))
    )


def close_rounded(ours, reference):
    values, scales = ours
    close(scales, reference.scales)
    # the last bits of a sum may decide to which side a number is rounded
    same = values.to(torch.float8_e4m3fn).float() == reference.values.float()
    assert same.float().mean() > 0.99


@pytest.mark.parametrize("gelu", [False, True])
def test_a_row_is_scaled_to_the_whole_of_eight_bits(unrounded, gelu):
    x = 3 * drawn(TOKENS, WIDTH)
    # of zeros there is no largest number to divide by
    x[3] = 0
    close_rounded(kernels.quantise(x, gelu), float8.quantise(x, gelu))


def test_eight_bits_are_stored_with_a_scale_for_each_row():
    values, scales = kernels.quantise(drawn(TOKENS, WIDTH).bfloat16())
    assert (values.dtype, scales.dtype) == (torch.float8_e4m3fn, torch.float32)
    assert (values.shape, scales.shape) == ((TOKENS, WIDTH), (TOKENS, 1))


@pytest.mark.parametrize("split", [4, TOKENS])
def test_norms_are_rounded_as_they_leave(unrounded, split):
    x, y = drawn(2, TOKENS, WIDTH)
    gate, modulation = drawn(2, 6 * WIDTH, seed=1).chunk(2, dim=-1)
    close_rounded(
        kernels.norm_modulate_quantise(x, modulation, split),
        float8._norm_modulate(x, modulation, split),
    )
    total, *ours = kernels.gate_norm_modulate_quantise(x, y, gate, modulation, split)
    expected, reference = float8._gate_norm_modulate(x, y, gate, modulation, split)
    close(total, expected)
    close_rounded(ours, reference)


def test_half_precision_is_rounded_once():
    x, modulation = drawn(TOKENS, WIDTH).bfloat16(), drawn(1, 3 * WIDTH, seed=1).bfloat16()
    exact = qwen_transformer.norm_modulate(x.float(), modulation.float(), TOKENS)
    ours = kernels.norm_modulate(x, modulation, TOKENS).float()
    # eight bits; the interpreter cuts them off where a GPU rounds
    assert ((ours - exact).abs() <= exact.abs() * 2**-7).all()
