"""Fine-tune VideoMAE with the Trainer of transformers, several labels a video.

    python examples/videomae_trainer.py --release sample --epochs 3                     # a tiny model from a config, offline
    python examples/videomae_trainer.py --release DIR --checkpoint FOLDER --epochs 10   # your checkpoint (save_pretrained)
    torchrun --nproc-per-node 2 examples/videomae_trainer.py --release DIR --checkpoint FOLDER --bf16

Needs: pip install transformers accelerate
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unsafe_video_dataset import Release, UniformFrames, UnsafeVideoDataset, evaluate, write_predictions
from unsafe_video_dataset._console import run
from unsafe_video_dataset.errors import InputError, MissingDependency
from unsafe_video_dataset.taxonomy import CATEGORIES

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # what VideoMAE was trained with


def normalise(frames: torch.Tensor) -> torch.Tensor:
    """uint8 [T, 3, H, W] -> float32, as VideoMAE expects."""
    return (frames.float() / 255 - MEAN[:, None, None]) / STD[:, None, None]


def batch(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Samples -> the arguments of the model."""
    return {
        "pixel_values": torch.stack([sample["video"] for sample in samples]),
        "labels": torch.stack([sample["target"] for sample in samples]),
    }


def build_model(checkpoint: Path | None, *, size: int, num_frames: int) -> Any:
    """A VideoMAE with a new head for five categories: from a local checkpoint, or tiny and untrained."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    head: dict[str, Any] = {
        "id2label": dict(enumerate(CATEGORIES)),
        "label2id": {name: number for number, name in enumerate(CATEGORIES)},
        "problem_type": "multi_label_classification",  # a sigmoid a category, not one softmax over all
    }
    if checkpoint is not None:
        if not (checkpoint / "config.json").is_file():
            raise InputError(
                f"{checkpoint.name} is no checkpoint folder: it has no config.json. Save one with `save_pretrained`."
            )
        return VideoMAEForVideoClassification.from_pretrained(
            str(checkpoint), local_files_only=True, ignore_mismatched_sizes=True, **head
        )
    shape = {"image_size": size, "patch_size": 16, "num_frames": num_frames, "tubelet_size": 2}
    width = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    return VideoMAEForVideoClassification(VideoMAEConfig(**shape, **width, **head))


def main(argv: Sequence[str] | None = None) -> int:
    """Train, choose nothing, score test once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", default="sample")
    parser.add_argument("--checkpoint", type=Path, help="folder of a VideoMAE model; without it a tiny one is made")
    parser.add_argument("--out", type=Path, default=Path("out/videomae"))
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=8, help="videos a process and step")
    parser.add_argument("--size", type=int, default=64, help="for the tiny model; a checkpoint has its own")
    parser.add_argument("--num-frames", type=int, default=16, help="for the tiny model")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    parser.add_argument("--bootstrap", type=int, default=1000)
    arguments = parser.parse_args(argv)
    try:
        import accelerate  # noqa: F401
        from transformers import Trainer, TrainingArguments, set_seed
    except ModuleNotFoundError as error:
        raise MissingDependency(f"This example needs {error.name}: pip install transformers accelerate") from error

    set_seed(arguments.seed)
    model = build_model(arguments.checkpoint, size=arguments.size, num_frames=arguments.num_frames)
    release = Release.open(arguments.release, config="unsafe")

    def load(split: str) -> UnsafeVideoDataset:
        clip = UniformFrames(model.config.num_frames)
        return UnsafeVideoDataset(release, split=split, clip=clip, size=model.config.image_size, transform=normalise)

    settings = TrainingArguments(
        output_dir=str(arguments.out),
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=arguments.batch_size,
        per_device_eval_batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        bf16=arguments.bf16,
        use_cpu=arguments.cpu,
        seed=arguments.seed,
        remove_unused_columns=False,  # or the Trainer drops `video`, which is no argument of the model
        report_to=[],
        save_strategy="no",
        eval_strategy="epoch",
        logging_strategy="epoch",
    )
    trainer = Trainer(
        model=model, args=settings, train_dataset=load("train"), eval_dataset=load("validation"), data_collator=batch
    )
    trainer.train()
    test = load("test")
    scores = torch.sigmoid(torch.from_numpy(trainer.predict(test).predictions)).tolist()
    if not trainer.is_world_process_zero():
        return 0
    trainer.save_model(str(arguments.out / "model"))
    records = [
        {"video_id": video_id, "scores": dict(zip(CATEGORIES, row, strict=True)), "model": "videomae"}
        for video_id, row in zip(test.video_ids, scores, strict=True)
    ]
    write_predictions(arguments.out / "predictions.jsonl", records)
    kind = arguments.checkpoint.name if arguments.checkpoint else "a tiny untrained config: expect chance"
    print(f"\nVideoMAE ({kind}), {sum(weights.numel() for weights in model.parameters()):,} weights\n")
    print(evaluate(records, release, bootstrap=arguments.bootstrap).to_text())
    print(f"\nWritten to {arguments.out}: model, predictions.jsonl")
    print(
        "Next: --checkpoint with a VideoMAE of your own; compare with examples/linear_probe.py --checkpoint on the same folder."
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda _: main(), argparse.Namespace()))  # a mistake in a flag is a sentence, not a traceback
