"""Save a tiny model of open_clip, encode with it, and compare with the library's own forward pass.

Run as a program: python open_clip_rows.py FOLDER. The library has to be on the path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from fillgap.encoders import open_encoder
from fillgap.encoders.models import import_open_clip
from fillgap.encoders.torch_models import find_weights

VISION = {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
TEXTS = ["a three", "a large three at the top left and a small seven", "five " * 50]


def save(folder: Path) -> None:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    model = CLIP(embed_dim=12, vision_cfg=CLIPVisionCfg(**VISION), text_cfg=CLIPTextCfg(**TEXT))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT},
        "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def main(folder: Path) -> None:
    library = import_open_clip(torch)
    save(folder)
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (20, 24 + 7 * i, 3), dtype=np.uint8)) for i in range(5)
    ]
    encoder = open_encoder(f"open-clip:{folder}", device="cpu", batch_size=2)
    images, texts = encoder.encode_images(pictures), encoder.encode_texts(TEXTS)

    model, _, transform = library.create_model_and_transforms(f"local-dir:{folder}")
    tokens = library.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.inference_mode():
        expected = [
            model.eval().encode_image(
                torch.stack([transform(p) for p in pictures]), normalize=True
            ),
            model.encode_text(tokens, normalize=True),
        ]
    answer = {
        "name": encoder.name,
        "revision": encoder.revision == find_weights(folder).revision,
        "shapes": [images.shape, texts.shape],
        "differences": [
            float(np.abs(found - rows.numpy()).max())
            for found, rows in zip((images, texts), expected, strict=True)
        ],
        "spread": float(np.abs(images[0] - images[1]).max()),
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
