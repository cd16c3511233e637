"""`python -m tehon.demo.recipe DIR` makes the small Stable Diffusion: all stages, then its figure and samples.

It saves its progress in DIR and goes on from there when it is cut off. On two slow CPU cores it takes about two hours.
"""

import argparse
from pathlib import Path

import torch

from tehon.demo.recipe.measure import measure
from tehon.demo.recipe.pack import pack
from tehon.demo.recipe.progress import Stage
from tehon.demo.recipe.text import make_tokenizer, train_text_encoder
from tehon.demo.recipe.unet import encode_album, train_unet
from tehon.demo.recipe.vae import train_vae

VAE_STEPS = 1700
TEXT_STEPS = 700
UNET_STEPS = 4400
SCENES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    torch.set_flush_denormal(True)

    def stage(name: str) -> Stage:
        return Stage(folder / "progress", name, folder / "log.jsonl")

    vae = train_vae(stage("vae"), VAE_STEPS)
    tokenizer = make_tokenizer(folder / "model" / "tokenizer")
    tokenizer.save_pretrained(folder / "model" / "tokenizer")
    encoder = train_text_encoder(stage("text"), TEXT_STEPS, tokenizer)
    latents, texts = encode_album(vae, encoder, tokenizer, seed=5, count=SCENES)
    unet = train_unet(stage("unet"), UNET_STEPS, latents, texts)
    pack(folder / "model", vae, encoder, unet)
    print(measure(folder / "model", folder))


if __name__ == "__main__":
    main()
