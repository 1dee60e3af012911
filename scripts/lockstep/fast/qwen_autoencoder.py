"""The autoencoder of Qwen-Image, made for videos, on single images."""

from types import MethodType

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    QwenImageCausalConv3d,
    QwenImageResidualBlock,
    QwenImageRMS_norm,
)
from diffusers.models.autoencoders.vae import DecoderOutput

from lockstep.fast.qwen_types import Autoencoder, Convolution


def optimize(vae: Autoencoder) -> None:
    """Let an autoencoder take its first frame as the image that it is, in place.

    Raises:
        ValueError: at a later call, for more than one frame.
    """
    vae._encode = MethodType(_encode_frame, vae)
    vae._decode = MethodType(_decode_frame, vae)
    for module in vae.modules():
        if isinstance(module, QwenImageCausalConv3d):
            # before the first frame there is nothing: only the last tap meets the frame
            frame = module.weight.detach()[:, :, -1]
            module.frame_weight = frame.contiguous(memory_format=torch.channels_last)
            module.forward = MethodType(_frame_convolution, module)  # type: ignore[method-assign]
    heads = [vae.encoder, vae.decoder]
    for block in [m for m in vae.modules() if isinstance(m, QwenImageResidualBlock)] + heads:
        block.nonlinearity = torch.nn.Identity()
        norms = [block.norm_out] if block in heads else [block.norm1, block.norm2]
        for norm in norms:
            norm.forward = MethodType(_norm_silu, norm)


def _encode_frame(self: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """`AutoencoderKLQwenImage._encode` of one frame, which needs no cache of earlier ones."""
    _check_one_frame(x)
    return self.quant_conv(self.encoder(x))


def _decode_frame(
    self: Autoencoder, z: torch.Tensor, return_dict: bool = True
) -> DecoderOutput | tuple[torch.Tensor]:
    """`AutoencoderKLQwenImage._decode` of one frame, which needs no cache of earlier ones."""
    _check_one_frame(z)
    frame = torch.clamp(self.decoder(self.post_quant_conv(z)), -1.0, 1.0)
    return DecoderOutput(sample=frame) if return_dict else (frame,)


def _check_one_frame(x: torch.Tensor) -> None:
    if x.shape[2] != 1:
        raise ValueError(f"the fast path takes one frame, found {x.shape[2]}")


def _frame_convolution(self: Convolution, x: torch.Tensor, cache_x: None = None) -> torch.Tensor:
    """A causal convolution in time on the first frame: a convolution in the plane."""
    frame = x.squeeze(2).contiguous(memory_format=torch.channels_last)
    padding = (self._padding[2], self._padding[0])
    out = F.conv2d(frame, self.frame_weight, self.bias, self.stride[1:], padding)
    return out.unsqueeze(2)


def _norm_silu(self: QwenImageRMS_norm, x: torch.Tensor) -> torch.Tensor:
    """A norm over channels and the activation that follows each of them."""
    if x.is_cuda:
        from lockstep.fast import kernels

        return kernels.norm_silu(x, self.gamma)
    return F.silu(type(self).forward(self, x))
