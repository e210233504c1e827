"""Models that look at an image and a text side by side: which text says what the image shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from tests.models.families.vision_language import tower_cell
from tests.models.family import Call, Cell, Family, noise, seeded

END = 98
"""The token that ends a text; its features stand for the whole text."""
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
VISION = {**SMALL, "image_size": 28, "patch_size": 7}
TEXT = {**SMALL, "vocab_size": 99, "max_position_embeddings": 16, "projection_dim": 32}
TOKENS = torch.tensor([[1, 5, 7, 9, END, 0], [1, 4, 8, 6, 3, END]])
"""Two texts, the first padded."""
MASK = (TOKENS != 0).long()
PIXELS = noise(1, 3, 28, 28)


def match_cell(model: hf.PreTrainedModel, *names: str, **inputs: Tensor) -> Cell:
    """What the whole model says of images and texts: its results of some names."""

    def scores(m: Any, *values: Tensor) -> tuple[Tensor, ...]:
        results = m(**dict(zip(inputs, values, strict=True)))
        return tuple(results[name] for name in names or ("logits_per_image",))

    return Cell(Call(model, scores), tuple(inputs.values()))


def pair(model: hf.PreTrainedModel, **texts: Tensor) -> Mapping[str, Cell]:
    """Image features, and the scores of an image with texts."""
    return {
        "tower": tower_cell(model, pixel_values=PIXELS),
        "match": match_cell(model, pixel_values=PIXELS, **texts),
    }


def clip() -> Mapping[str, Cell]:
    config = hf.CLIPConfig(
        text_config={**TEXT, "eos_token_id": END},
        vision_config={**VISION, "projection_dim": 32},
        projection_dim=32,
    )
    model = seeded(hf.CLIPModel, config)
    return pair(model, input_ids=TOKENS, attention_mask=MASK)


def altclip() -> Mapping[str, Cell]:
    config = hf.AltCLIPConfig(
        text_config={**TEXT, "project_dim": 32, "type_vocab_size": 2},
        vision_config=VISION,
        projection_dim=32,
    )
    model = seeded(hf.AltCLIPModel, config)
    # Position 1 is for padding, as in RoBERTa.
    return pair(model, input_ids=TOKENS, attention_mask=MASK)


def owl_vit() -> Mapping[str, Cell]:
    config = hf.OwlViTConfig(
        text_config=TEXT, vision_config={**VISION, "projection_dim": 32}, projection_dim=32
    )
    model = seeded(hf.OwlViTForObjectDetection, config)
    whole = {"pixel_values": PIXELS, "input_ids": TOKENS, "attention_mask": MASK}
    return {
        "tower": Cell(Call(model, lambda m, *values: m.image_embedder(*values)[0]), (PIXELS,)),
        "match": match_cell(model, "logits", "pred_boxes", **whole),
    }


def siglip() -> Mapping[str, Cell]:
    config = hf.SiglipConfig(text_config={**TEXT, "projection_size": 32}, vision_config=VISION)
    return pair(seeded(hf.SiglipModel, config), input_ids=TOKENS)


def siglip2() -> Mapping[str, Cell]:
    """An image of 3 x 4 patches and one of 2 x 5, both padded to 14 patches."""
    config = hf.Siglip2Config(
        text_config={**TEXT, "projection_size": 32},
        vision_config={**SMALL, "patch_size": 4, "num_patches": 16},
    )
    model = seeded(hf.Siglip2Model, config)
    shapes = torch.tensor([[3, 4], [2, 5]])
    vision = {
        "pixel_values": noise(2, 14, 48),
        "pixel_attention_mask": (torch.arange(14) < shapes.prod(-1, keepdim=True)).long(),
        "spatial_shapes": shapes,
    }
    return {
        "tower": tower_cell(model, **vision),
        "match": match_cell(model, input_ids=TOKENS, **vision),
    }


def flava() -> Mapping[str, Cell]:
    small = {**SMALL, "vocab_size": 99}
    config = hf.FlavaConfig(
        image_config={**VISION, "vocab_size": 32},
        text_config={**small, "max_position_embeddings": 16},
        multimodal_config=SMALL,
        image_codebook_config={"hidden_size": 16, "vocab_size": 32},
        hidden_size=32,
        projection_dim=32,
    )
    model = seeded(hf.FlavaModel, config)
    tokens = TOKENS[:1]
    return {
        "tower": match_cell(model, "image_embeddings", pixel_values=PIXELS),
        "match": match_cell(
            model,
            "multimodal_embeddings",
            input_ids=tokens,
            attention_mask=MASK[:1],
            pixel_values=PIXELS,
        ),
    }


def vilt() -> Mapping[str, Cell]:
    """Answers to questions about two images, one of 28 x 28 and one of 28 x 21 pixels."""
    config = hf.ViltConfig(**{**VISION, "vocab_size": 99}, max_position_embeddings=16, num_labels=7)
    model = seeded(hf.ViltForQuestionAnswering, config)
    shown = torch.ones(2, 28, 28, dtype=torch.int64)
    shown[1, :, 21:] = 0
    prompt = {
        "input_ids": TOKENS,
        "token_type_ids": torch.zeros_like(TOKENS),
        "attention_mask": MASK,
        "pixel_values": noise(2, 3, 28, 28) * shown[:, None],
        "pixel_mask": shown,
    }
    return {"tower": match_cell(model, "logits", **prompt)}


def clap() -> Mapping[str, Cell]:
    """Sound in place of an image, through windows of a spectrogram."""
    config = hf.ClapConfig(
        text_config={**TEXT, "max_position_embeddings": 32},
        audio_config={
            "window_size": 4,
            "num_mel_bins": 16,
            "spec_size": 64,
            "patch_size": 4,
            "patch_stride": [4, 4],
            "patch_embeds_hidden_size": 16,
            "hidden_size": 32,
            "depths": [2, 2],
            "num_attention_heads": [2, 4],
            "num_classes": 8,
            "projection_dim": 32,
        },
        projection_dim=32,
    )
    model = seeded(hf.ClapModel, config)
    # Statistics as of a trained model.
    norm = model.audio_model.audio_encoder.batch_norm
    norm.running_mean.copy_(noise(16, seed=2))
    norm.running_var.copy_(noise(16, seed=3).square() + 0.5)
    sound = noise(1, 1, 200, 16)

    def features(m: Any, sound: Tensor) -> Any:
        return m.get_audio_features(input_features=sound).pooler_output

    return {
        "tower": Cell(Call(model, features), (sound,)),
        "match": match_cell(
            model, "logits_per_audio", input_ids=TOKENS, attention_mask=MASK, input_features=sound
        ),
    }


CELLS = ("tower", "match")

FAMILIES = (
    Family("CLIP", clip, cells=CELLS, ci=True, w8a8=True),
    Family("AltCLIP", altclip, cells=CELLS, w8a8=True),
    Family("OWL-ViT", owl_vit, cells=CELLS, w8a8=True),
    Family("SigLIP", siglip, cells=CELLS, w8a8=True),
    Family("SigLIP2", siglip2, cells=CELLS, w8a8=True),
    Family("FLAVA", flava, cells=CELLS, w8a8=True),
    Family("ViLT", vilt, cells=("tower",), w8a8=True),
    Family("CLAP", clap, cells=CELLS, ci=True, w8a8=True),
)
