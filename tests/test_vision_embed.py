"""Embedders: the default is the probe's descriptor; checkpoints are local folders, here tiny random ones made offline."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from unsafe_video_dataset.builders.vision.embed import ShapeDescriptor, TransformersEmbedder, load_embedder
from unsafe_video_dataset.builders.vision.measure import measure
from unsafe_video_dataset.builders.vision.synthetic import scene
from unsafe_video_dataset.errors import InputError, MissingDependency


def make_checkpoint(folder: Path, kind: str) -> Path:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if kind == "videomae":
        model = transformers.VideoMAEModel(transformers.VideoMAEConfig(image_size=32, patch_size=8, num_frames=8, **small))
    elif kind == "clip":
        text = {**small, "vocab_size": 40, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
        config = transformers.CLIPConfig(
            vision_config={**small, "image_size": 32, "patch_size": 8}, text_config=text, projection_dim=12
        )
        model = transformers.CLIPModel(config)
    else:
        model = transformers.BertModel(transformers.BertConfig(vocab_size=20, **small))
    model.save_pretrained(str(folder))
    return folder


def test_the_default_is_what_the_probe_measured() -> None:
    embedder = load_embedder(None)
    assert isinstance(embedder, ShapeDescriptor)
    vector = embedder.embed(scene(1))
    assert vector.shape == (embedder.dim,)
    assert vector.tolist() == np.array(measure(scene(1), hash="phash")["descriptor"], np.float32).tolist()


@pytest.mark.parametrize(("kind", "dim"), [("videomae", 16), ("clip", 12)])
@pytest.mark.parametrize("frames", [1, 5, 16, 40])
def test_a_checkpoint_gives_one_vector_a_video(tmp_path: Path, kind: str, dim: int, frames: int) -> None:
    embedder = TransformersEmbedder(make_checkpoint(tmp_path / kind, kind))
    vector = embedder.embed(scene(1, frames=frames))
    assert (vector.shape, vector.dtype, embedder.dim) == ((dim,), np.float32, dim)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)
    assert (embedder.embed(scene(1, frames=frames)) == vector).all()
    assert not (embedder.embed(scene(2, frames=frames)) == vector).all()
    assert embedder.name == f"{kind}:{kind}"


def test_the_version_is_that_of_the_weights(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "clip", "clip")
    before = TransformersEmbedder(folder).version
    assert TransformersEmbedder(folder).version == before
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    assert TransformersEmbedder(folder).version != before


def test_what_is_no_such_checkpoint_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"it has no config\.json"):
        TransformersEmbedder(tmp_path / "empty")
    with pytest.raises(InputError, match="holds a bert model"):
        TransformersEmbedder(make_checkpoint(tmp_path / "bert", "bert"))


def test_without_transformers_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependency, match="pip install transformers torch"):
        TransformersEmbedder(tmp_path)
