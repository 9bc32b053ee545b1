"""FLOPs at real sizes: what is counted, what a stopped generation saves, and what the looks cost."""

from __future__ import annotations

import pytest

from unsafe_video_dataset.defenses.flops import CATEGORIES, Cost, count, measure, sizes, table
from unsafe_video_dataset.errors import FilterError, InputError

pytest.importorskip("diffusers")

COST = Cost("a model", "a video", 50, denoise_step=100, decode=1000, small_decode=10, videomae=2, latent_detector=1)


def test_a_linear_layer_is_counted_as_two_operations_a_weight() -> None:
    import torch

    x = torch.empty(3, 8, device="meta")
    assert count(lambda: torch.nn.Linear(8, 5, bias=False), x) == 2 * 3 * 8 * 5


def test_what_a_stopped_generation_saves_is_full_by_paid() -> None:
    assert COST.full == 50 * 100 + 1000
    assert COST.look("latent") == 1
    assert COST.look("small decoder") == 10 + CATEGORIES * 2
    assert COST.look("decoder") == 1000 + CATEGORIES * 2
    assert COST.saving(5, "latent") == 6000 / (5 * 101)
    assert COST.overhead(5, "decoder") == 5 * 1010 / 6000


def test_the_most_steps_are_the_last_that_save_so_much() -> None:
    for how in ("latent", "small decoder", "decoder"):
        most = COST.most_steps(10, how)
        assert most == max([eta for eta in range(1, 51) if COST.saving(eta, how) >= 10], default=0)
    assert COST.most_steps(1000, "decoder") == 0
    assert COST.most_steps(0.5, "latent") == 50


@pytest.mark.parametrize("eta", [0, 51])
def test_a_step_outside_of_the_sampling_is_refused(eta: int) -> None:
    with pytest.raises(InputError, match="50 steps"):
        COST.saving(eta, "latent")


def test_an_unknown_look_is_refused() -> None:
    with pytest.raises(FilterError, match="latent"):
        COST.look("eye")  # type: ignore[arg-type]


def test_the_table_has_a_row_for_each_way_to_look() -> None:
    rows = table([COST], etas=(1, 60))
    assert [row["look"] for row in rows] == ["decoder", "small decoder", "latent"]
    assert set(rows[0]["saving"]) == {1}  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_real_sizes_are_those_of_the_published_models() -> None:
    import torch

    parameters = {}
    for name, size in sizes().items():
        with torch.device("meta"):
            parameters[name] = sum(weight.numel() for weight in size.denoiser().parameters()) / 1e9
    expected = {"SD 1.5 + AnimateDiff": 1.28, "CogVideoX-2b": 1.69, "Wan 2.1 1.3B": 1.42, "Wan 2.1 14B": 14.3}
    assert parameters == pytest.approx(expected, rel=0.01)
    cost = measure(sizes()["SD 1.5 + AnimateDiff"])
    assert cost.latent_detector == 0
    # a decode of 16 frames costs more than a step with guidance: looking through the VAE at each step doubles the price
    assert cost.decode > cost.denoise_step > 10 * cost.small_decode
