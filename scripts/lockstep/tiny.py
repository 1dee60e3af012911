"""Tiny random-weight models and a small benchmark, so that everything runs without a GPU.

The classes and the layout on disk are the real ones: what runs here runs with real weights.
Random weights mean meaningless scores; a marker file in each model's folder says so.
"""

import base64
import io
import json
import math
from pathlib import Path

from PIL import Image, ImageDraw

from lockstep import records

MARKER = "RANDOM_WEIGHTS"
"""File in a model's folder that says its weights are random."""

SPREAD = 0.4
"""Standard deviation of the random weights of language and vision models."""

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

CHAT_TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for part in message['content'] %}{% if part['type'] == 'image' %}\
<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\
{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def make_editor(folder: Path, plus: bool = False, seed: int = 0) -> None:
    """Write a tiny Qwen-Image-Edit as a diffusers folder.

    Args:
        plus: write the Plus pipeline (2509 and 2511) instead.
        seed: seed of the random weights.
    """
    import diffusers
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    text_encoder = transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config=_text_config(tokenizer, mrope_section=[1, 1, 2]),
            vision_config={
                "depth": 2,
                "initializer_range": SPREAD,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [1],
                "window_size": 112,
            },
            **_vision_token_ids(tokenizer),
        )
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
    )
    # 16 instead of 8 pixels per latent: the pipeline works at one megapixel whatever the source
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    processor = transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112},
            patch_size=14,
            temporal_patch_size=2,
            merge_size=2,
        ),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=8192,
        max_shift=0.9,
        shift=1.0,
        shift_terminal=0.02,
        use_dynamic_shifting=True,
    )
    pipeline = diffusers.QwenImageEditPlusPipeline if plus else diffusers.QwenImageEditPipeline
    pipeline(
        scheduler=scheduler,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        processor=processor,
        transformer=transformer,
    ).save_pretrained(folder)
    _mark(folder)


def make_judge(folder: Path, seed: int = 0) -> None:
    """Write a tiny Qwen3-VL as a transformers folder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    transformers.Qwen3VLForConditionalGeneration(
        transformers.Qwen3VLConfig(
            text_config={
                **_text_config(tokenizer, mrope_section=[2, 1, 1], mrope_interleaved=True),
                "head_dim": 8,
            },
            vision_config={
                "depth": 2,
                "initializer_range": SPREAD,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 32,
                "deepstack_visual_indexes": [0, 1],
                "num_position_embeddings": 2304,
            },
            **_vision_token_ids(tokenizer),
        )
    ).save_pretrained(folder)
    transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": 64 * 64, "longest_edge": 128 * 128},
            patch_size=16,
            temporal_patch_size=2,
            merge_size=2,
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen3VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    _mark(folder)


def is_random(folder: str | Path) -> bool:
    """Tell whether a model's folder holds random weights."""
    return Path(folder, MARKER).exists()


def make_benchmark(path: Path, per_category: int = 2) -> None:
    """Write a small benchmark in the RE-Edit style: drawn scenes of all five categories.

    PNG, JPEG and WebP, RGB, RGBA and greyscale, wide and tall, in turn.
    """
    items = []
    for subset, scenes in _SCENES.items():
        for number in range(per_category):
            position = len(items)
            difficulty = ("easy", "medium", "hard")[position % 3]
            item = _item(subset, scenes[number % len(scenes)], position, difficulty)
            items.append(item)
    records.write_text(path, json.dumps(items, ensure_ascii=False))


def _tokenizer():
    import transformers
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return transformers.Qwen2Tokenizer(
        vocab={character: number for number, character in enumerate(alphabet)},
        merges=[],
        additional_special_tokens=SPECIAL_TOKENS,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )


def _text_config(tokenizer, **rope: object) -> dict:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        # large weights, so that replies and pixels depend on every input
        "initializer_range": SPREAD,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, **rope},
    }


def _vision_token_ids(tokenizer) -> dict[str, int]:
    return {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
        for name, token in {
            "image": "<|image_pad|>",
            "video": "<|video_pad|>",
            "vision_start": "<|vision_start|>",
            "vision_end": "<|vision_end|>",
        }.items()
    }


def _mark(folder: Path) -> None:
    records.write_text(Path(folder, MARKER), "These weights are random; they mean nothing.\n")


_SCENES = {
    "物理": [
        (
            "Let go of the red ball above the table.",
            "松开桌子上方的红球。",
            "A red ball held above a table.",
            "桌子上方悬着一个红球。",
            "It falls, rests on the table and casts a shadow where it touches.",
            "红球会落到桌面上，并在接触处投下影子。",
        ),
        (
            "Heat the ice cube on the plate for an hour.",
            "把盘子里的冰块加热一小时。",
            "An ice cube on a plate.",
            "盘子里有一块冰。",
            "The ice melts and leaves a puddle.",
            "冰会融化，留下一滩水。",
        ),
    ],
    "环境": [
        (
            "Make it a winter morning.",
            "改成冬天的早晨。",
            "A house and a tree in summer.",
            "夏天的房子和树。",
            "Snow lies on the roof, the tree is bare, the light is low and cold.",
            "屋顶有雪，树叶落尽，光线低而冷。",
        ),
        (
            "Show the same place after heavy rain.",
            "展示大雨之后的同一个地方。",
            "A dry road under a grey sky.",
            "灰色天空下干燥的路。",
            "The road is wet and reflects the sky.",
            "路面是湿的，映出天空。",
        ),
    ],
    "社会": [
        (
            "Dress the person for a wedding as the groom.",
            "给这个人穿上新郎的礼服。",
            "A person in a plain shirt.",
            "一个穿普通衬衫的人。",
            "Custom asks for a suit and a flower, the person stays the same.",
            "按习俗应穿西装戴花，人物保持不变。",
        ),
        (
            "Set the table for a guest of honour.",
            "为贵宾布置餐桌。",
            "An empty table with one chair.",
            "一张空桌和一把椅子。",
            "A place of honour has cutlery, a glass and a napkin.",
            "贵宾席应有餐具、杯子和餐巾。",
        ),
    ],
    "因果": [
        (
            "The dog has just run through the flower bed; show it.",
            "狗刚刚跑过花坛，请画出来。",
            "A flower bed in order.",
            "整齐的花坛。",
            "Flowers are bent, and paw prints lie in the soil.",
            "花被压弯，土里有爪印。",
        ),
        (
            "The candle has burnt all night.",
            "蜡烛燃烧了一整夜。",
            "A tall new candle.",
            "一支高高的新蜡烛。",
            "Only a stub and a pool of wax are left.",
            "只剩下一小段和一滩蜡。",
        ),
    ],
    "指代": [
        (
            "Paint the smaller of the two boxes blue.",
            "把两个盒子中较小的那个涂成蓝色。",
            "A large and a small box.",
            "一大一小两个盒子。",
            "Only the small box changes.",
            "只有小盒子改变。",
        ),
        (
            "Remove what stands left of the lamp.",
            "移除台灯左边的东西。",
            "A book, a lamp and a cup in a row.",
            "一本书、一盏灯和一个杯子排成一行。",
            "The book goes, the cup stays.",
            "书被移走，杯子保留。",
        ),
    ],
}

_LOOKS = [
    # format, mode, size: the hard cases are among them
    ("PNG", "RGB", (96, 64)),
    ("JPEG", "RGB", (80, 80)),
    ("WEBP", "RGB", (64, 96)),
    ("PNG", "RGBA", (72, 72)),
    ("PNG", "L", (64, 64)),
    ("JPEG", "RGB", (160, 48)),
]


def _item(subset: str, scene: tuple[str, ...], position: int, difficulty: str) -> dict:
    instruction, instruction_zh, description, description_zh, rationale, rationale_zh = scene
    form, mode, size = _LOOKS[position % len(_LOOKS)]
    buffer = io.BytesIO()
    _draw(position, mode, size).save(buffer, form)
    return {
        "subset": subset,
        "original_description": description_zh,
        "original_description_en": description,
        "edit_instruction": instruction_zh,
        "edit_instruction_en": instruction,
        "src_img_b64": base64.b64encode(buffer.getvalue()).decode(),
        "rationale_short": rationale_zh,
        "rationale_short_en": rationale,
        "tags": [form.lower(), mode.lower()],
        "difficulty": difficulty,
        "original_image_path": f"drawn/{position:05d}_{subset}_{difficulty}.png",
        "seed": 42,
    }


def _draw(position: int, mode: str, size: tuple[int, int]) -> Image.Image:
    """Draw a scene: sky, ground, and a few shapes that depend on the position."""
    width, height = size
    sky = (150 + 12 * position % 80, 190, 235, 255)
    image = Image.new("RGBA", size, sky)
    draw = ImageDraw.Draw(image)
    horizon = height * 2 // 3
    draw.rectangle((0, horizon, width, height), fill=(120, 150 - 5 * position % 60, 80, 255))
    for shape in range(3):
        angle = 2 * math.pi * (position * 3 + shape) / 17
        x = int(width * (0.5 + 0.35 * math.cos(angle)))
        y = int(horizon * (0.6 + 0.3 * math.sin(angle)))
        radius = max(4, min(size) // (5 + shape))
        colour = tuple(int(127 + 127 * math.sin(angle + phase)) for phase in (0, 2, 4))
        box = (x - radius, y - radius, x + radius, y + radius)
        (draw.ellipse if (position + shape) % 2 else draw.rectangle)(box, fill=(*colour, 255))
    if mode == "RGBA":
        image.putalpha(
            Image.radial_gradient("L").resize(size).point(lambda value: 255 - value // 2)
        )
    return image.convert(mode)
