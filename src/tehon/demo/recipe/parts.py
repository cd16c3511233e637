"""The three networks and the tokenizer of the small model: SD 1.x's topology with few channels.

The U-Net and the VAE normalise over two or four groups only. With SD's 32 groups over this few channels a group is
a channel, and normalising a channel by itself removes the picture's colours.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

Net = Any  # diffusers annotates its networks' methods and configurations in ways that no checker can follow

TEXT_WIDTH = 96
VOCABULARY = 1024


def new_vae() -> Net:
    """A VAE that starts out as plain average pooling of the colours, so that it has only the detail to learn.

    From the usual random start one of this size learns brightness first, and colours only after thousands of steps.
    """
    kind: Any = AutoencoderKL
    vae = kind(
        block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        sample_size=128,
    )
    with torch.no_grad():
        _start_as_pooling(vae)
    return vae


def _start_as_pooling(vae: Net) -> None:
    """Colours travel in channels 0 to 2 and, with the sign turned, in 3 to 5, so that SiLU(x) - SiLU(-x) = x lets them
    pass; channel 6 is constant, so that the group normalisation keeps their scale."""
    module: Net
    for module in vae.modules():
        kind = type(module)
        if kind is ResnetBlock2D:
            module.conv2.weight.mul_(0.1)
            if module.conv_shortcut is not None:
                _copy_channels(module.conv_shortcut, 1.0)
        elif kind is Downsample2D:
            _copy_channels(module.conv, 0.0)
            diagonal = torch.arange(module.conv.out_channels)
            module.conv.weight[diagonal, diagonal, :2, :2] = 0.25
        elif kind is Upsample2D:
            _copy_channels(module.conv, 1.0)
        elif kind is Attention:
            module.to_out[0].weight.mul_(0.1)
    for conv in (vae.encoder.conv_in, vae.decoder.conv_in):
        middle = conv.kernel_size[0] // 2
        conv.weight[:7] = 0
        conv.bias[:7] = torch.tensor([0.0] * 6 + [1.0])
        for colour in range(3):
            conv.weight[colour, colour, middle, middle] = 1
            conv.weight[3 + colour, colour, middle, middle] = -1
    for conv in (vae.encoder.conv_out, vae.decoder.conv_out):
        conv.weight[:3] *= 0.05
        for colour in range(3):
            conv.weight[colour, colour, 1, 1] = 0.5
            conv.weight[colour, 3 + colour, 1, 1] = -0.5
    vae.encoder.conv_out.bias[4:] = -6
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.zero_()
        diagonal = torch.arange(conv.out_channels)
        conv.weight[diagonal, diagonal] = 1
        conv.bias.zero_()


def _copy_channels(conv: Net, value: float) -> None:
    """Makes a convolution copy its first channels (times `value`), with little else."""
    middle = conv.kernel_size[0] // 2
    conv.weight.mul_(0.1)
    diagonal = torch.arange(min(conv.in_channels, conv.out_channels))
    conv.weight[diagonal, diagonal] = 0
    conv.weight[diagonal, diagonal, middle, middle] = value
    conv.bias.zero_()


def new_text_encoder() -> Net:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=12,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=VOCABULARY - 2,
            eos_token_id=VOCABULARY - 1,
            pad_token_id=VOCABULARY - 1,
        )
    )


def new_unet() -> Net:
    kind: Any = UNet2DConditionModel
    return kind(
        sample_size=16,
        block_out_channels=(32, 64, 96, 128),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(2, 4, 4, 4),
        norm_num_groups=4,
    )


def new_schedule() -> Any:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train_tokenizer(captions: Iterable[str], folder: Path) -> Any:
    """A byte-level BPE with CLIP's end-of-word marks and CLIP's file layout, learned from captions."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    room = VOCABULARY - 2 - 2 * len(letters)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    merges = [line for line in (folder / "merges.txt").read_text("utf8").splitlines() if not line.startswith("#")]
    return _write_clip_files(letters, [tuple(line.split(" ")) for line in merges][:room], folder)


def _write_clip_files(letters: list[str], merges: list[tuple[str, ...]], folder: Path) -> Any:
    """CLIP's order of ids: bytes, bytes that end a word, merges, start and end of text."""
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += [f"<unused{i}>" for i in range(VOCABULARY - 2 - len(tokens))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False), "utf8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n", "utf8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def tokens(tokenizer: Any, captions: list[str]) -> torch.Tensor:
    """Token ids (captions, 77)."""
    found = tokenizer(captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    return found.input_ids
