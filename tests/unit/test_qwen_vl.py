"""What replaces parts of Qwen-VL models on a GPU, against those parts, interpreted on the CPU."""

import pytest
import torch
from transformers.models.qwen3_vl import modeling_qwen3_vl as reference

from lockstep.fast import step_attention
from lockstep.models import qwen_vl

TOKENS = 10


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def angles(dim):
    half = drawn(2, TOKENS, dim // 2, seed=2)
    return torch.cat([half, half], dim=-1)


# 36 is no power of two, as half of a head of the vision tower is none
@pytest.mark.parametrize(("heads", "dim"), [(2, 32), (3, 72)])
def test_heads_are_turned_where_they_lie(heads, dim):
    qkv = drawn(TOKENS, 3, heads, dim)
    cos, sin = angles(dim)
    query, key = reference.apply_rotary_pos_emb_vision(qkv[:, 0], qkv[:, 1], cos, sin)
    ours = qkv.clone()
    for part in (0, 1):
        qwen_vl.norm_turn_(ours[:, part], cos, sin)
    torch.testing.assert_close(ours, torch.stack([query, key, qkv[:, 2]], dim=1))


def test_heads_are_normed_before_they_are_turned():
    x, (cos, sin) = drawn(TOKENS, 3, 32), angles(32)
    norm = reference.Qwen3VLTextRMSNorm(32)
    norm.weight.data = drawn(32, seed=1)
    with torch.no_grad():
        normed = norm(x).transpose(0, 1)[None]
        turned, _ = reference.apply_rotary_pos_emb(normed, normed, cos[None], sin[None])
    qwen_vl.norm_turn_(x, cos, sin, norm.weight.data, norm.variance_epsilon)
    torch.testing.assert_close(x, turned[0].transpose(0, 1))


@pytest.mark.parametrize("sizes", [(4, 4, 4), (6, 2, 4)])
def test_a_vision_tower_sees_what_it_saw(sizes, monkeypatch):
    config = reference.Qwen3VLVisionConfig(
        depth=1, hidden_size=48, num_heads=2, intermediate_size=32, patch_size=4
    )
    config._attn_implementation = "sdpa"
    vision = reference.Qwen3VLVisionModel(config).eval()
    patches = drawn(sum(sizes), 3 * 2 * 4 * 4)
    bounds = torch.tensor([0, *sizes]).cumsum(0)
    block = vision.blocks[0].attn
    where = [torch.cat([each, each], dim=-1) for each in drawn(2, sum(sizes), 12, seed=1)]
    with torch.no_grad():
        embedded = vision.patch_embed(patches)
        attended = block(embedded, cu_seqlens=bounds, position_embeddings=where)
        monkeypatch.setattr(qwen_vl, "_is_fast", lambda model: True)
        monkeypatch.setattr(qwen_vl, "LONG", 4)
        monkeypatch.setattr(qwen_vl, "varlen_attn", _one_by_one)
        qwen_vl.optimize_vision(vision)
        torch.testing.assert_close(vision.patch_embed(patches), embedded)
        ours = block(embedded, cu_seqlens=bounds, position_embeddings=where, max_seqlen=max(sizes))
    torch.testing.assert_close(ours, attended)


def _one_by_one(query, key, value, bounds, *_, scale):
    """PyTorch's kernel for windows of different lengths, which only a GPU has."""
    parts = zip(*(each.split(bounds.diff().tolist()) for each in (query, key, value)), strict=True)
    attend = torch.nn.functional.scaled_dot_product_attention
    return torch.cat(
        [attend(*(x.transpose(0, 1) for x in part), scale=scale).transpose(0, 1) for part in parts]
    )


def test_a_language_model_attends_as_it_did(monkeypatch):
    config = reference.Qwen3VLTextConfig(
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=1,
        head_dim=16,
        intermediate_size=32,
        vocab_size=16,
    )
    config._attn_implementation = "sdpa"
    text = reference.Qwen3VLTextModel(config).eval()
    hidden, where = drawn(2, 5, 32), [each[:, :5].expand(2, -1, -1) for each in angles(16)[:, None]]
    attention = text.layers[0].self_attn
    attention.q_norm.weight.data = drawn(16, seed=3)
    with torch.no_grad():
        attended, _ = attention(hidden, where, None)
        monkeypatch.setattr(qwen_vl, "_is_fast", lambda model: True)
        qwen_vl.optimize_text(text)
        ours, _ = attention(hidden, where, None)
    torch.testing.assert_close(ours, attended)


@pytest.mark.parametrize("chunk", [64, 512])
def test_a_step_attends_to_all_slots_that_are_not_masked(chunk, monkeypatch):
    monkeypatch.setattr(step_attention, "CHUNK", chunk)
    # two query heads share a key; the last row has nothing in its second chunk
    query, slots = drawn(3, 4, 32), 150
    key, value = drawn(2, 3, 2, slots, 32, seed=1)
    seen = torch.rand(3, slots, generator=torch.Generator().manual_seed(2)) < 0.5
    seen[2, 64:128] = False
    bias = torch.zeros(3, slots).masked_fill(~seen, -torch.inf)
    ours = step_attention.attend(query, key, value, bias, 0.3)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query[:, :, None], key, value, bias[:, None, None], scale=0.3, enable_gqa=True
    )
    torch.testing.assert_close(ours, expected[:, :, 0])
