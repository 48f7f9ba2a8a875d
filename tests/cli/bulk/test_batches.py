"""Images in batches: what is asked one by one is answered, in order, with the unreadable among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pinnace.cli.bulk import batches
from pinnace.cli.bulk.model_spec import ModelSpec
from pinnace.models.answer import Answer
from pinnace.models.bundle.bundle import Bundle
from pinnace.models.classifier import Classifier
from pinnace.models.errors import ImageError
from support.tiny_bundle import build_bundle


def test_batches_answer_as_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_MOST", 4)
    images = []
    for number in range(11):
        images.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (9, 9), (20 * number, 250 - 20 * number, 90)).save(images[-1])
    Path(images[5]).write_text("no image")
    with ModelSpec(Bundle.open(build_bundle(tmp_path / "tiny.bundle")), "classify", top_k=2).open() as model:
        assert isinstance(model, Classifier)
        sizes = []
        infer = model.infer
        monkeypatch.setattr(model, "infer", lambda batch: sizes.append(len(batch)) or infer(batch))
        found = list(batches.answer_in_batches(model, images, 2, top_k=2))
        assert [image for image, _ in found] == images
        assert sizes == [4, 3, 3]
        for number, (image, answer) in enumerate(found):
            if number == 5:
                assert isinstance(answer, ImageError)
                continue
            assert isinstance(answer, Answer)
            alone = model.classify(image, 2).predictions
            assert [one.label for one in answer.predictions] == [one.label for one in alone]
            assert answer.predictions[0].probability == pytest.approx(alone[0].probability, rel=1e-5)
