"""The families of models that girih is tested on, by kind."""

from __future__ import annotations

from tests.models.families import (
    audio,
    captioning,
    encoder_decoder,
    idefics,
    mixed,
    qwen_vl,
    resolutions,
    text,
    vision_language,
    vision_text,
)
from tests.models.family import Family

FAMILIES: tuple[Family, ...] = (
    *text.FAMILIES,
    *vision_language.FAMILIES,
    *resolutions.FAMILIES,
    *idefics.FAMILIES,
    *qwen_vl.FAMILIES,
    *captioning.FAMILIES,
    *mixed.FAMILIES,
    *vision_text.FAMILIES,
    *audio.FAMILIES,
    *encoder_decoder.FAMILIES,
)
