"""What replaces parts of Qwen-VL models on a GPU, against those parts, interpreted on the CPU."""

from collections import Counter

import pytest
import torch
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as older
from transformers.models.qwen3_vl import modeling_qwen3_vl as reference

from lockstep.fast import qwen_vl as fast
from lockstep.fast import qwen_vl_kernels, step_attention
from lockstep.models import qwen_vl
from tests import interpreted  # noqa: F401  kernels run in it

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
        qwen_vl.turn_(ours[:, part], cos, sin)
    torch.testing.assert_close(ours, torch.stack([query, key, qkv[:, 2]], dim=1))


def stored(count=1):
    """Return memory of keys and values for some rows of ten slots, of two heads of 32."""
    return torch.zeros(2, count, 2, TOKENS, 32).unbind()


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("rows", [1, 2])
def test_heads_are_normed_and_turned_and_kept(normed, rows):
    each = TOKENS // rows
    qkv = drawn(rows, each, 7 * 32)
    cos, sin = (angle.view(rows, each, 32) for angle in angles(32))
    query, key, value = qkv.view(rows, each, 7, 32).split((3, 2, 2), dim=2)
    weights = drawn(2, 32, seed=1)
    norms = qwen_vl_kernels.HeadNorms(*weights, 1e-6) if normed else None
    if normed:
        for weight, x in zip(weights, (query, key), strict=True):
            norm = reference.Qwen3VLTextRMSNorm(32)
            norm.weight.data = weight
            with torch.no_grad():
                x.copy_(norm(x))
    turned = reference.apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    # a row's tokens need not lie in order
    slots = torch.stack([torch.randperm(TOKENS)[:each] for _ in range(rows)])
    qkv = drawn(rows, each, 7 * 32)
    keys, values = stored(rows)
    ours = torch.full((rows, each, 3, 32), torch.nan)
    qwen_vl_kernels.turn_store(qkv, cos, sin, norms, keys, values, slots, ours)
    torch.testing.assert_close(ours, turned[0])
    for row in range(rows):
        torch.testing.assert_close(keys[row][:, slots[row]].transpose(0, 1), turned[1][row])
        torch.testing.assert_close(values[row][:, slots[row]].transpose(0, 1), value[row])
    free = torch.ones(rows, TOKENS).scatter(1, slots, 0).bool()
    assert not keys.transpose(1, 2)[free].any() and not values.transpose(1, 2)[free].any()


# 48 is no power of two
@pytest.mark.parametrize("width", [32, 48])
def test_residuals_are_added_and_normed(width):
    x, y = drawn(2, 2, 5, width)
    weight, bias = drawn(2, width, seed=1)
    total, ours = qwen_vl_kernels.add_rms_norm(x, y, weight, 1e-6)
    torch.testing.assert_close(total, x + y)
    torch.testing.assert_close(ours, torch.nn.functional.rms_norm(x + y, (width,), weight, 1e-6))
    total, ours = qwen_vl_kernels.add_layer_norm(x, y, weight, bias, 1e-6)
    torch.testing.assert_close(total, x + y)
    expected = torch.nn.functional.layer_norm(x + y, (width,), weight, bias, 1e-6)
    torch.testing.assert_close(ours, expected)


# more than a block, and no multiple of one
@pytest.mark.parametrize("width", [32, 1500])
def test_halves_of_a_perceptron_are_put_together(width):
    x = 4 * drawn(2, 3, 2 * width)
    gate, up = x.chunk(2, dim=-1)
    expected = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(qwen_vl_kernels.silu_mul(x), expected)


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


def language_model(kind=reference, layers=3, **more):
    config = kind.Qwen3VLTextConfig if kind is reference else kind.Qwen2_5_VLTextConfig
    given = config(
        hidden_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_hidden_layers=layers,
        intermediate_size=96,
        vocab_size=16,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        **more,
    )
    given._attn_implementation = "sdpa"
    torch.manual_seed(0)
    model = kind.Qwen3VLTextModel if kind is reference else kind.Qwen2_5_VLTextModel
    text = model(given).eval()
    with torch.no_grad():
        for parameter in text.parameters():
            # norms and biases of a new model say nothing
            parameter.add_(0.3 * torch.randn_like(parameter))
    return text


def memory_of(text, rows, slots):
    attention = text.layers[0].self_attn
    shape = (rows, text.config.num_key_value_heads, slots, attention.head_dim)
    return [[torch.zeros(shape) for _ in text.layers] for _ in range(2)]


TEXTS = {
    "Qwen3-VL": lambda: language_model(head_dim=16),
    "Qwen2.5-VL": lambda: language_model(older),
}


@pytest.fixture(params=TEXTS)
def text(request):
    return TEXTS[request.param]()


def read(text, memory, tokens, positions, begin, wanted):
    end = begin + tokens.shape[1]
    where = fast.Memory(*memory, torch.arange(begin, end)[None], end)
    return fast.forward(text, tokens, positions, where, wanted=wanted)


def close(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_prompt_in_two_parts_is_read_as_transformers_reads_it_in_one(text):
    tokens = torch.arange(12)[None]
    # as behind an image, where rows and columns are counted apart
    positions = torch.stack([torch.arange(12), torch.arange(12) // 2, torch.arange(12) // 3])
    positions = positions[:, None]
    expected = text(tokens, position_ids=positions, use_cache=True)
    fast.join_weights(text)
    # its own forward still finds its weights
    close(text(tokens, position_ids=positions).last_hidden_state, expected.last_hidden_state)
    memory = memory_of(text, 1, 16)
    assert read(text, memory, tokens[:, :5], positions[:, :, :5], 0, None) is None
    ours = read(text, memory, tokens[:, 5:], positions[:, :, 5:], 5, slice(-3, None))
    close(ours, expected.last_hidden_state[:, -3:])
    for number, layer in enumerate(expected.past_key_values.layers):
        close(memory[0][number][:, :, :12], layer.keys)
        close(memory[1][number][:, :, :12], layer.values)
        assert not memory[0][number][:, :, 12:].any()


@torch.no_grad()
def test_steps_of_rows_read_on_behind_their_own_prompts(text):
    fast.join_weights(text)
    memory, lengths = memory_of(text, 2, 16), torch.tensor([5, 7])
    given = torch.arange(14).reshape(2, 7)
    for row, length in enumerate(lengths.tolist()):
        own = [[layer[row : row + 1] for layer in layers] for layers in memory]
        positions = torch.arange(length).expand(3, 1, -1)
        read(text, own, given[row : row + 1, :length], positions, 0, None)
    tokens, wanted = torch.tensor([[3, 1, 2], [9, 8, 7]]), torch.tensor([[0, 2], [1, 1]])
    now = lengths[:, None] + torch.arange(3)
    ours = fast.forward(
        text, tokens, now.expand(3, -1, -1), fast.Memory(*memory, now), wanted=wanted
    )
    for row, length in enumerate(lengths.tolist()):
        whole = torch.cat([given[row, :length], tokens[row]])[None]
        expected = text(whole, position_ids=torch.arange(length + 3).expand(3, 1, -1))
        close(ours[row], expected.last_hidden_state[0, length + wanted[row]])


@torch.no_grad()
def test_images_stand_in_for_their_tokens_and_are_added_again_in_the_first_layers():
    text = language_model(head_dim=16)
    tokens, positions = torch.arange(8)[None], torch.arange(8).expand(3, 1, -1)
    seen, *deeper = drawn(3, 3, 64)
    embedded = text.embed_tokens(tokens)
    embedded[0, 2:5] = seen
    expected = text(
        inputs_embeds=embedded,
        position_ids=positions,
        visual_pos_masks=torch.tensor([[2 <= number < 5 for number in range(8)]]),
        deepstack_visual_embeds=deeper,
    )
    fast.join_weights(text)
    memory = memory_of(text, 1, 8)
    where = fast.Memory(*memory, torch.arange(8)[None], 8)
    image = fast.Image(slice(2, 5), seen, deeper)
    close(
        fast.forward(text, tokens, positions, where, [image], slice(None)),
        expected.last_hidden_state,
    )


@torch.no_grad()
def test_joined_weights_are_there_once():
    text = language_model(head_dim=16)
    fast.join_weights(text)
    for layer in text.layers:
        for joined, parts in (
            (layer.self_attn.joined, ("q_proj", "k_proj", "v_proj")),
            (layer.mlp.joined, ("gate_proj", "up_proj")),
        ):
            owner = layer.mlp if len(parts) == 2 else layer.self_attn
            storages = {getattr(owner, part).weight.untyped_storage().data_ptr() for part in parts}
            assert storages == {joined.weight.untyped_storage().data_ptr()}


@torch.no_grad()
def test_a_gpu_takes_its_kernels_and_says_the_same(text, monkeypatch):
    tokens, positions = torch.arange(12)[None], torch.arange(12).expand(3, 1, -1)
    fast.join_weights(text)
    monkeypatch.setattr(fast, "LENGTHS", 16)
    called, kept = Counter(), {}
    for module, name in (
        (qwen_vl_kernels, "add_rms_norm"),
        (qwen_vl_kernels, "silu_mul"),
        (qwen_vl_kernels, "turn_store"),
        (step_attention, "attend"),
        (fast, "_attend_square"),
    ):
        counted(monkeypatch, module, name, called)
    for is_fast in (False, True):
        monkeypatch.setattr(fast, "_is_fast", lambda _, is_fast=is_fast: is_fast)
        memory = memory_of(text, 1, 64)
        read(text, memory, tokens[:, :5], positions[:, :, :5], 0, None)
        prompt = read(text, memory, tokens[:, 5:], positions[:, :, 5:], 5, slice(-1, None))
        now = torch.tensor([[12, 13]])
        step = fast.forward(
            text,
            tokens[:, :2],
            now.expand(3, -1, -1),
            fast.Memory(*memory, now),
            wanted=torch.tensor([[1]]),
        )
        kept[is_fast] = [prompt, step, *memory[0], *memory[1]]
        # three layers, of which the last one of a prompt's first part does nothing but keep
        passes = {"add_rms_norm": 16, "silu_mul": 8, "turn_store": 9, "_attend_square": 4}
        assert called == ({**passes, "attend": 4} if is_fast else {})
    for ours, expected in zip(kept[True], kept[False], strict=True):
        close(ours, expected)


def counted(monkeypatch, module, name, called):
    function = getattr(module, name)

    def count(*given):
        called[name] += 1
        return function(*given)

    monkeypatch.setattr(module, name, count)


@torch.no_grad()
def test_a_vision_tower_perceives_what_it_did(monkeypatch):
    config = reference.Qwen3VLVisionConfig(
        depth=1, hidden_size=48, num_heads=2, intermediate_size=32, patch_size=4
    )
    config._attn_implementation = "sdpa"
    vision = reference.Qwen3VLVisionModel(config).eval()
    x, bounds = drawn(6, 48), torch.tensor([0, 6])
    where = [torch.cat([each, each], dim=-1) for each in drawn(2, 6, 12, seed=1)]
    given = {"cu_seqlens": bounds, "position_embeddings": where}
    expected = vision.blocks[0](x, **given)
    monkeypatch.setattr(fast, "_is_fast", lambda _: True)
    # a CPU has the exact form alone
    monkeypatch.setattr(torch, "_addmm_activation", _tanh_form)
    fast.optimize_perceptrons(vision)
    close(vision.blocks[0](x, **given), expected)
    assert vision.blocks[0].forward.__func__ is fast._look


def _tanh_form(bias, x, weight, use_gelu):
    assert use_gelu
    return torch.nn.functional.gelu(x @ weight + bias, approximate="tanh")


@pytest.mark.parametrize("chunk", [64, 512])
def test_a_step_attends_to_all_slots_up_to_its_own(chunk, monkeypatch):
    monkeypatch.setattr(step_attention, "CHUNK", chunk)
    # two query heads share a key; the second row has nothing in its second chunk
    query, slots = drawn(3, 1, 4, 32), 150
    attends(query, slots, torch.tensor([[149], [40], [0]]))


# more queries than are attended for at a time, and tokens that are asked for in any order
@pytest.mark.parametrize("tokens", [3, 40])
def test_several_tokens_attend_each_up_to_its_own_slot(tokens):
    last = torch.randint(0, 150, (3, tokens), generator=torch.Generator().manual_seed(3))
    attends(drawn(3, tokens, 4, 32), 150, last)


def attends(query, slots, last):
    key, value = drawn(2, 3, 2, slots, 32, seed=1)
    # what is not seen may be anything that is a number
    ours = step_attention.attend(query, key, value, last, 0.3)
    seen = torch.arange(slots) <= last[:, :, None]
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), key, value, seen[:, None], scale=0.3, enable_gqa=True
    )
    torch.testing.assert_close(ours, expected.transpose(1, 2))


def test_a_row_s_attention_depends_on_neither_other_rows_nor_free_memory():
    query, last = drawn(3, 1, 4, 32), torch.tensor([[140], [70], [0]])
    key, value = drawn(2, 3, 2, 256, 32, seed=1)
    together = step_attention.attend(query, key, value, last, 0.3)
    for row in range(3):
        own = (each[row : row + 1] for each in (query, key, value, last))
        assert torch.equal(step_attention.attend(*own, 0.3), together[row : row + 1])
    more = (torch.nn.functional.pad(each, (0, 0, 0, 512)) for each in (key, value))
    assert torch.equal(step_attention.attend(query, *more, last, 0.3), together)
