"""Where the tiny models and the small benchmark of the tests of a machine lie."""

TINY = "results/tiny"
TINY_BENCHMARK = f"{TINY}/benchmark.json"
TINY_EDITOR = [
    f"{TINY}/qwen-image-edit/{name}"
    for name in (
        "model_index.json",
        "processor/chat_template.jinja",
        "processor/processor_config.json",
        "processor/tokenizer.json",
        "processor/tokenizer_config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/generation_config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    )
]
TINY_JUDGE = [
    f"{TINY}/qwen3-vl/{name}"
    for name in (
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    )
]
TINY_FILES = [TINY_BENCHMARK, *TINY_EDITOR, *TINY_JUDGE]
"""What `tiny` makes for a workflow; only a configuration that names them needs them."""
