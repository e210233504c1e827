"""The families of models that girih is tested on, by kind."""

from __future__ import annotations

from tests.models.families import (
    captioning,
    idefics,
    mixed,
    qwen_vl,
    resolutions,
    text,
    vision_language,
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
)
