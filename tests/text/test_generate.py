"""Text that a model makes up: the same under a seed, from as many tokens as asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import DataError
from learnkit.text import Field, LanguageLearner, generate
from learnkit.text.generate import _choose
from tests.text.helpers import language_data, language_learner
from tests.train.helpers import World


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> LanguageLearner:
    learner = language_learner(tmp_path_factory.mktemp("lm"))
    learner.fit_one_cycle(3, 2e-2)
    return learner


def test_the_same_seed_makes_up_the_same_text(learn: LanguageLearner) -> None:
    texts = [generate(learn, "the king", 40, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    torch.manual_seed(0)
    unseeded = generate(learn, "the king", 40)
    torch.manual_seed(0)
    assert generate(learn, "the king", 40) == unseeded
    assert generate(learn, "the king", 40) != unseeded


def test_the_learner_is_left_as_it_was(learn: LanguageLearner) -> None:
    model: Any = learn.model
    model.train()
    world = World(learn)
    state = [part.clone() for layer in model.state for part in layer]
    generate(learn, "the king", 5, seed=0)
    world.assert_unchanged(learn)
    assert all(torch.equal(a, b) for a, b in zip(state, [p for layer in model.state for p in layer], strict=True))


def test_each_token_follows_from_the_whole_text_before(learn: LanguageLearner) -> None:
    """The likeliest continuation, a token at a time, is that of reading everything anew."""
    model: Any = learn.model.eval()
    field, tokens = learn.field, ["the", "king"]
    for _ in range(12):
        scores = model.next_scores(field.numericalize([tokens]))[0][0]
        scores[:2] = -torch.inf
        tokens.append(field.vocab.itos[int(scores.argmax())])
    assert generate(learn, "the king", 12, top_k=1) == field.join(tokens)


def test_the_prompt_is_kept_and_nothing_unknown_is_made_up(learn: LanguageLearner) -> None:
    text = generate(learn, "Zebras and the king", 200, temperature=3.0, seed=0)
    assert text.startswith("zebras and the king")
    assert "<unk>" not in text
    assert "<pad>" not in text
    begun = generate(learn, "", 10, seed=0)
    assert not begun.startswith("\n")
    characters = language_learner(learn.data.path, language_data(learn.data.path, Field(tokenize=list, lower=False)))
    assert len(generate(characters, "To be", 30, seed=0)) == 35
    assert len(generate(characters, "", 30, seed=0)) == 30


def shares(scores: list[float], n: int = 2000, **kwargs: float) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    settings = {"temperature": 1.0, "top_k": None, "top_p": None, **kwargs}
    chosen = [_choose(torch.tensor([9.0, 9.0, *scores]), generator=generator, **settings) for _ in range(n)]  # type: ignore[arg-type]
    return np.bincount(chosen, minlength=len(scores) + 2)[2:] / n


def test_tokens_are_chosen_by_their_probability() -> None:
    p = np.array([0.4, 0.3, 0.2, 0.1])
    scores = np.log(p).tolist()
    np.testing.assert_allclose(shares(scores), p, atol=0.04)
    for temperature in (0.5, 2.0):
        expected = p ** (1 / temperature)
        np.testing.assert_allclose(shares(scores, temperature=temperature), expected / expected.sum(), atol=0.04)
    np.testing.assert_allclose(shares(scores, top_k=2), [4 / 7, 3 / 7, 0, 0], atol=0.04)
    np.testing.assert_allclose(shares(scores, top_k=99), p, atol=0.04)
    np.testing.assert_allclose(shares(scores, top_p=0.71), [4 / 9, 3 / 9, 2 / 9, 0], atol=0.04)
    np.testing.assert_allclose(shares(scores, top_p=0.69), [4 / 7, 3 / 7, 0, 0], atol=0.04)
    assert shares(scores, top_p=1e-9).tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(shares(scores, top_k=3, top_p=0.75), [4 / 7, 3 / 7, 0, 0], atol=0.04)
    assert shares(scores, n=50, temperature=1e-6).tolist() == [1, 0, 0, 0]


def test_what_cannot_be_asked(learn: LanguageLearner) -> None:
    for name, wrong in (("n", 0), ("temperature", 0), ("top_k", 0), ("top_p", 0), ("top_p", 1.1)):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            generate(learn, "a", **{"n": 3, name: wrong})  # type: ignore[arg-type]
    back = language_learner(learn.data.path, language_data(learn.data.path, backwards=True))
    with pytest.raises(DataError, match="reads backwards"):
        generate(back, "a", 3)
    nt = learn.data.nt
    own = LanguageLearner(learn.data, nn.Sequential(nn.Embedding(nt, 4), nn.Flatten(0, 1), nn.Linear(4, nt)))
    with pytest.raises(DataError, match="by a LanguageModel; this learner has a Sequential"):
        generate(own, "a", 3)
