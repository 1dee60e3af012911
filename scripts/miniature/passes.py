"""The models' forward passes for batches of equally large pictures, as training needs them.

They give what the models themselves give, which a test compares, but without a loop over pictures,
so that they can be compiled.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from miniature.drawing import SIDE
from miniature.models import OUTER, SEEN

PIPELINE = 1024
"""Pixels of the sides to which the editor's pipeline brings a square picture."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _resizing(to: int) -> torch.Tensor:
    """Return the matrix that brings a picture's lines to the pipeline's size and then to another.

    Args:
        to: pixels; the world's side by means over blocks, as the autoencoder does it; another
            one as the text encoder's processor does it.
    """
    lines = Image.fromarray(np.eye(SIDE, dtype=np.float32))
    large = np.asarray(lines.resize((PIPELINE, SIDE), Image.Resampling.LANCZOS))
    wide = torch.from_numpy(large.copy())
    if to == SIDE:
        matrix = wide.unflatten(1, (SIDE, -1)).mean(-1)
    else:
        matrix = F.interpolate(
            wide[None, None], size=(SIDE, to), mode="bicubic", antialias=True
        ).squeeze((0, 1))
    return matrix.T.contiguous()


# the compiler looks into functions that cache, but not into what is kept
_RESIZING: dict[tuple[int, str], torch.Tensor] = {}


def resize(images: torch.Tensor, to: int) -> torch.Tensor:
    """Return pictures as the editor's parts see them, from 0 to 1."""
    device = str(images.device)
    if (to, device) not in _RESIZING:
        _RESIZING[to, device] = _resizing(to).to(device)
    matrix = _RESIZING[to, device]
    return (matrix @ images @ matrix.T).clamp(0, 1)


def patches(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return what Qwen's image processors make of pictures.

    Args:
        images: pictures × 3 × side × side, 0 to 1.
        size: pixels of a patch's sides.

    Returns:
        pictures × patches × values, four patches that are merged beside each other.
    """
    count, grid = len(images), images.shape[-1] // size // 2
    x = (images * 2 - 1).view(count, 3, grid, 2, size, grid, 2, size)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]
    return x.expand(-1, -1, -1, -1, -1, -1, 2, -1, -1).reshape(count, (2 * grid) ** 2, -1)


class Tower:
    """A vision tower for pictures of one size."""

    def __init__(self, tower: Any, grid: int) -> None:
        self.tower = tower
        weight = next(tower.parameters())
        thw = torch.tensor([[1, grid, grid]], device=weight.device)
        self.turns = tower.rotary_pos_emb(weight, get_vision_position_ids(thw, 2))
        self.places = None
        if hasattr(tower, "pos_embed"):
            self.places = get_vision_interpolation_indices_and_weights(
                thw,
                num_grid_per_side=tower.num_grid_per_side,
                mode=tower.interpolation_mode,
                align_corners=tower.interpolation_align_corners,
                spatial_merge_size=2,
            )

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the merged features of each picture, and those for the first text layers."""
        tower, count = self.tower, len(pixels)
        projection = tower.patch_embed.proj
        x = F.linear(pixels, projection.weight.flatten(1), projection.bias)
        if self.places is not None:
            indices, weights = self.places
            x = x + (tower.pos_embed(indices) * weights[..., None]).sum(1)
        early = []
        for number, block in enumerate(tower.blocks):
            x = x + self._attend(block.attn, block.norm1(x))
            x = x + block.mlp(block.norm2(x))
            if number in getattr(tower, "deepstack_visual_indexes", ()):
                merger = tower.deepstack_merger_list[tower.deepstack_visual_indexes.index(number)]
                early.append(
                    merger(x.flatten(0, 1)).view(count, -1, merger.linear_fc2.out_features)
                )
        merged = tower.merger(x.flatten(0, 1))
        return merged.view(count, -1, merged.shape[-1]), early

    def _attend(self, attention: Any, x: torch.Tensor) -> torch.Tensor:
        query, key, value = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).unbind(-3)
        cos, sin = (each[:, None, :] for each in self.turns)
        query, key = (each * cos + _half_turned(each) * sin for each in (query, key))
        heads = (each.transpose(1, 2).to(value.dtype) for each in (query, key, value))
        attended = F.scaled_dot_product_attention(*heads)
        return attention.proj(attended.transpose(1, 2).flatten(2))


def _half_turned(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], -1)


class Reader:
    """A Qwen-VL model for prompts that begin alike and hold pictures of one size.

    Args:
        model: with its vision tower.
        before: tokens before the first picture.
        pictures: number of pictures, which stand one after the other.
        grid: patches of a picture's sides.
    """

    def __init__(self, model: Any, before: list[int], pictures: int, grid: int) -> None:
        self.text = model.model.language_model
        # training puts a compiled one in its place
        self.tower: Any = Tower(model.model.visual, grid)
        config, device = model.config, model.device
        self.pictures, self.tokens = pictures, (grid // 2) ** 2
        image = [config.image_token_id] * self.tokens
        picture = [config.vision_start_token_id, *image, config.vision_end_token_id]
        self.first = len(before) + 1
        self.head = torch.tensor([*before, *picture * pictures], device=device)
        self.model, self.length = model, 0
        self.turns: tuple[torch.Tensor, torch.Tensor] | None = None

    def _turns_for(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.turns is None or self.length != length:
            device, config = self.head.device, self.model.config
            tokens = F.pad(self.head, (0, length - len(self.head)))[None]
            grid = 2 * int(self.tokens**0.5)
            positions, _ = self.model.model.get_rope_index(
                tokens,
                mm_token_type_ids=(tokens == config.image_token_id).int(),
                image_grid_thw=torch.tensor([[1, grid, grid]] * self.pictures, device=device),
            )
            weight = torch.zeros(1, device=device)
            self.length, self.turns = length, self.text.rotary_emb(weight, positions)
        return self.turns

    def __call__(self, tokens: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Return the last hidden states.

        Args:
            tokens: rows × tokens after the pictures, filled up on the right.
            pixels: rows · pictures × patches × values.
        """
        rows = len(tokens)
        features, early = self.tower(pixels)
        head = self.head.expand(rows, -1)
        x = self.text.embed_tokens(torch.cat([head, tokens], 1))
        x = self._replaced(x, features, keep=0.0)
        turns = self._turns_for(x.shape[1])
        for number, layer in enumerate(self.text.layers):
            x = layer(x, attention_mask=None, position_embeddings=turns)
            if number < len(early):
                x = self._replaced(x, early[number], keep=1.0)
        return self.text.norm(x)

    def _replaced(self, x: torch.Tensor, features: torch.Tensor, keep: float) -> torch.Tensor:
        """Put features in the pictures' places, or add them to what is there."""
        features = features.view(len(x), self.pictures, self.tokens, -1).to(x.dtype)
        step = self.tokens + 2
        parts, last = [], 0
        for number in range(self.pictures):
            start = self.first + number * step
            old = x[:, start : start + self.tokens]
            parts += [x[:, last:start], features[:, number] + old * keep]
            last = start + self.tokens
        return torch.cat([*parts, x[:, last:]], 1)


class Attend:
    """Attention of a Qwen-Image block, with positions as real numbers."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
        attention_mask: None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        words, dim = encoder_hidden_states.shape[1], attn.inner_dim // attn.heads
        cos, sin = image_rotary_emb

        def heads(text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([text, image], 1).unflatten(-1, (-1, dim))

        def normed(x: torch.Tensor, text_norm: Any, image_norm: Any) -> torch.Tensor:
            x = torch.cat([text_norm(x[:, :words]), image_norm(x[:, words:])], 1).float()
            a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
            return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)

        text, image = encoder_hidden_states, hidden_states
        query = normed(
            heads(attn.add_q_proj(text), attn.to_q(image)), attn.norm_added_q, attn.norm_q
        )
        key = normed(heads(attn.add_k_proj(text), attn.to_k(image)), attn.norm_added_k, attn.norm_k)
        value = heads(attn.add_v_proj(text), attn.to_v(image))
        attended = F.scaled_dot_product_attention(
            query.to(value.dtype).transpose(1, 2),
            key.to(value.dtype).transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=encoder_hidden_states_mask,
        )
        attended = attended.transpose(1, 2).flatten(2)
        return attn.to_out[0](attended[:, words:]), attn.to_add_out(attended[:, :words])


class Velocity:
    """A Qwen-Image transformer for pictures of one size and texts of several lengths."""

    def __init__(self, transformer: Any, side: int, words: int) -> None:
        self.transformer = transformer
        device = next(transformer.parameters()).device
        shapes = [[(1, side, side), (1, side, side)]]
        image, text = transformer.pos_embed(shapes, max_txt_seq_len=words, device=device)
        turns = torch.cat([text, image])[:, None]
        self.turns = (turns.real.contiguous(), turns.imag.contiguous())
        for block in transformer.transformer_blocks:
            block.attn.set_processor(Attend())

    def __call__(
        self,
        noisy: torch.Tensor,
        source: torch.Tensor,
        text: torch.Tensor,
        mask: torch.Tensor,
        sigma: torch.Tensor,
    ) -> torch.Tensor:
        """Return noise less picture.

        Args:
            noisy: rows × tokens × channels.
            source: likewise.
            text: rows × words × channels.
            mask: rows × words; where there is a word.
            sigma: share of noise, of each row.
        """
        t, seen = self.transformer, noisy.shape[1]
        image = t.img_in(torch.cat([noisy, source], 1))
        words = t.txt_in(t.txt_norm(text))
        embedding = t.time_text_embed(sigma.to(image.dtype), image)
        whole = F.pad(mask, (0, image.shape[1]), value=True)[:, None, None]
        for block in t.transformer_blocks:
            words, image = block(
                hidden_states=image,
                encoder_hidden_states=words,
                encoder_hidden_states_mask=whole,
                temb=embedding,
                image_rotary_emb=self.turns,
            )
        return t.proj_out(t.norm_out(image[:, :seen], embedding))


class Autoencoder:
    """The inner levels of the autoencoder, on the world's own pixels."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        for module in vae.modules():
            if type(module).__name__ == "QwenImageCausalConv3d":
                module.forward = _Plane(module)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return latents as the model gives them.

        Args:
            images: pictures × 3 × side × side, -1 to 1.
        """
        encoder = self.vae.encoder
        x = F.pad(images, (0, 0, 0, 0, 0, 5))[:, :, None]
        for layer in encoder.down_blocks[2 * OUTER :]:
            x = layer(x)
        x = encoder.conv_out(F.silu(encoder.norm_out(encoder.mid_block(x))))
        return self.vae.quant_conv(x).chunk(2, 1)[0].squeeze(2)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return pictures, -1 to 1, from latents as the model gives them."""
        decoder = self.vae.decoder
        x = decoder.mid_block(decoder.conv_in(self.vae.post_quant_conv(latents[:, :, None])))
        for block in decoder.up_blocks[: OUTER - 1]:
            x = block(x)
        last = decoder.up_blocks[OUTER - 1]
        for resnet in last.resnets:
            x = resnet(x)
        convolution = last.upsamplers[0].resample[1]
        return F.conv2d(x.squeeze(2), convolution.weight[:3, :, 1:2, 1:2], convolution.bias[:3])


class _Plane:
    """A causal convolution of a single frame: its last tap."""

    def __init__(self, convolution: Any) -> None:
        self.convolution = convolution

    def __call__(self, x: torch.Tensor, cache_x: None = None) -> torch.Tensor:
        own = self.convolution
        padding = (own._padding[2], own._padding[0])
        return F.conv2d(
            x.squeeze(2), own.weight[:, :, -1], own.bias, own.stride[1:], padding
        ).unsqueeze(2)


def packed(latents: torch.Tensor) -> torch.Tensor:
    """Return latents as tokens of 2 by 2, as the pipeline packs them."""
    count, channels, high, wide = latents.shape
    x = latents.view(count, channels, high // 2, 2, wide // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(count, high * wide // 4, channels * 4)


def unpacked(tokens: torch.Tensor) -> torch.Tensor:
    """Return what `packed` was given."""
    side = int(tokens.shape[1] ** 0.5)
    x = tokens.view(len(tokens), side, side, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(len(tokens), -1, 2 * side, 2 * side)


SEEN_GRID = SEEN // 14
JUDGED_GRID = SIDE // 8
