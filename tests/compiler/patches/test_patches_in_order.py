"""ViLT's patches keep their order; a real draw of lots is refused."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from girih.compiler.exporting import export
from girih.compiler.patches import known_patches
from girih.runtime.errors import ImportingError
from tests.models.families.vision_text import vilt
from tests.models.family import Cell


def cell(longest: int = -1) -> Cell:
    found = vilt()["tower"]
    for module in found.module.modules():
        if isinstance(module, hf.PreTrainedModel):
            module.config.max_image_length = longest
    return found


def test_the_order_of_the_patches_is_that_of_the_image() -> None:
    found = cell()
    exported = export(found.module, found.inputs, known_patches())
    assert "patches-in-order" in exported.patches
    names = [str(node.target) for node in exported.program.graph.nodes]
    assert not any("multinomial" in name for name in names)
    assert torch.multinomial(torch.ones(3), 3).shape == (3,), "torch is as it was"


def test_fewer_patches_than_the_image_has_are_refused() -> None:
    found = cell(longest=9)
    with pytest.raises(ImportingError, match="draws lots for 9 of 16 patches: set config.max_im"):
        export(found.module, found.inputs, known_patches())
