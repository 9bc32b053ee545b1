"""The proxy's grammar: what prompts mean, disguises, tokens; and the prompt sets."""

from __future__ import annotations

import numpy as np
import pytest

from unsafe_video_dataset.defenses.proxy.language import (
    COLOUR_WORDS,
    DISGUISES,
    KINDS,
    SHAPE_WORDS,
    TEMPLATES,
    UNSEEN,
    Disguise,
    Meaning,
    disguise,
)
from unsafe_video_dataset.defenses.proxy.prompts import SIZES, Prompt, Sizes, Split, prompt_set, strata
from unsafe_video_dataset.defenses.proxy.tokens import corpus, learn_tokens
from unsafe_video_dataset.errors import FilterError, InputError


def test_a_sentence_says_what_it_means() -> None:
    rng = np.random.default_rng(0)
    for template in TEMPLATES:
        meaning = template.meaning("green", "circle", "rises")
        text = template.fill(meaning, rng=rng)
        assert "{" not in text
        if template.kind == "synonym":
            assert not set(text.replace(",", "").split()) & {"green", "circle", "rises", "rising"}
        if template.kind in ("direct", "synonym"):
            assert None not in (meaning.colour, meaning.shape, meaning.motion)
            assert any(word in text for word in COLOUR_WORDS["green"])
            assert any(word in text for word in SHAPE_WORDS["circle"])


def test_code_words_mean_a_blocked_thing_without_naming_it() -> None:
    (template,) = [t for t in TEMPLATES if t.text == "a zorb {f}"]
    meaning = template.meaning("blue", "circle", "rises")
    assert meaning == Meaning("red", "square", "rises")
    assert meaning.blocked_share == 1
    assert template.fill(meaning, rng=np.random.default_rng(0)) == "a zorb rises"


def test_misleading_sentences_name_another_colour() -> None:
    (template,) = [t for t in TEMPLATES if t.text.startswith("not a {x}")]
    meaning = template.meaning("blue", "square", "falls")
    texts = {template.fill(meaning, rng=np.random.default_rng(seed)) for seed in range(20)}
    assert "not a red square but a blue one that falls" in texts
    assert not [text for text in texts if text.startswith("not a blue")]
    assert meaning.blocked_share == 0


def test_the_share_of_blocked_scenes() -> None:
    assert Meaning("red", "square").blocked_share == 1
    assert Meaning("red").blocked_share == 7 / 12
    assert Meaning("green", "triangle").blocked_share == 0
    assert len(Meaning().scenes()) == 60


@pytest.mark.parametrize("how", DISGUISES)
def test_a_disguise_hides_a_word_from_a_filter(how: Disguise) -> None:
    texts = {disguise("a scarlet square that falls", how, rng=np.random.default_rng(seed)) for seed in range(20)}
    assert "a scarlet square that falls" not in texts or how == "swap"  # swapping equal letters changes nothing
    assert len(texts) > 1 or how == "join"
    assert disguise("an object", how, rng=np.random.default_rng(0)) == "an object"


def test_tokens_hold_every_word_whole_and_any_other_in_pieces() -> None:
    vocabulary, merges = learn_tokens(corpus())
    assert (vocabulary, merges) == learn_tokens(corpus())
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert {"crimson</w>", "zorb</w>", "pyramid</w>", "q", "q</w>", "3</w>"} <= set(vocabulary)
    assert len(vocabulary) == len({*vocabulary}) < 600


def test_unseen_words_are_in_no_sentence() -> None:
    words = {word.strip(",") for text in corpus() for word in text.split()}
    assert not words & set(UNSEEN.values())


# -- sets


@pytest.fixture(scope="module")
def sets() -> dict[str, list[Prompt]]:
    return {split: prompt_set(split) for split in ("train", "validation", "test")}


def test_no_text_is_in_two_splits(sets: dict[str, list[Prompt]]) -> None:
    groups = [{p.group for p in rows} for rows in sets.values()]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_the_test_set_is_large_and_has_every_stratum(sets: dict[str, list[Prompt]]) -> None:
    rows = strata(sets["test"])
    assert list(rows) == [*KINDS, "many_seeds", "disguised", "unseen"]
    assert sum(len(rows[kind]) for kind in KINDS) >= 400
    for kind in KINDS:
        share = np.mean([p.meaning.blocked_share for p in rows[kind]])
        assert 0.25 < share < 0.65, f"{kind}: {share}"
    assert len({p.prompt_id for p in sets["test"]}) == len(sets["test"])


def test_many_seeds_of_a_text_share_its_group_only(sets: dict[str, list[Prompt]]) -> None:
    rows = strata(sets["test"])["many_seeds"]
    assert len({p.group for p in rows}) == SIZES["test"].prompts
    assert all(0.3 <= p.meaning.blocked_share <= 0.8 for p in rows)


def test_a_set_is_a_function_of_its_seed() -> None:
    sizes = Sizes(5, 2, 3, 6, 2)
    assert prompt_set("test", sizes=sizes) == prompt_set("test", sizes=sizes)
    assert prompt_set("test", sizes=sizes) != prompt_set("test", sizes=sizes, seed=1)


def test_a_wrong_split_or_size_is_refused() -> None:
    wrong: Split = "dev"  # type: ignore[assignment]
    with pytest.raises(FilterError, match="Choose one of: train, validation, test"):
        prompt_set(wrong)
    with pytest.raises(InputError, match="Sizes are 0 or more"):
        prompt_set("test", sizes=Sizes(per_kind=-1))
