"""Text that a model makes up: the same under a seed, from as many tokens as asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples import char_models as lesson
from learnkit import DataError, NonFiniteError
from learnkit.text import Field, LanguageLearner, generate
from learnkit.text.sampling import _choose
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
    with pytest.raises(DataError, match="pass the field of the training texts as `field=`"):
        generate(nn.Linear(3, 3), "a", 3)
    with pytest.raises(TypeError, match="takes a learner or a model; got str"):
        generate("model", "a", 3, field=learn.field)  # type: ignore[arg-type]


# ---------------------------------------------------------------- models of one's own


class Bigrams(nn.Module):
    """Sees the last token only."""

    def __init__(self, nt: int) -> None:
        super().__init__()
        self.table = nn.Embedding(nt, nt)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x).flatten(0, 1)


class OneHotRNN(nn.Module):
    """Reads one-hot characters, `(T, B, nt)` or the batch first, and scores every place."""

    def __init__(self, nt: int, batch_first: bool = False) -> None:
        super().__init__()
        self.rnn = nn.GRU(nt, 16, batch_first=batch_first)
        self.out = nn.Linear(16, nt)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, state = self.rnn(x)
        return self.out(output), state


class Stateful(nn.Module):
    """Carries its state along until `reset()`, whatever the batch."""

    def __init__(self, nt: int) -> None:
        super().__init__()
        self.e, self.rnn, self.out = nn.Embedding(nt, 8), nn.LSTM(8, 16), nn.Linear(16, nt)
        self.state: Any = None

    def reset(self) -> None:
        self.state = None

    def forward(self, x: Tensor) -> Tensor:
        output, self.state = self.rnn(self.e(x), self.state)
        return self.out(output).flatten(0, 1)


def characters() -> Field:
    field = Field(tokenize=list)
    field.build_vocab(["to be or not to be, that is the question"])
    return field


def likeliest(score: Callable[[Tensor], Tensor], field: Field, prompt: str, n: int) -> str:
    """What is most probable, a token at a time, reading everything anew."""
    text = list(prompt)
    for _ in range(n):
        scores = score(field.numericalize([text])).detach().clone()
        scores[:2] = -torch.inf
        text.append(field.vocab.itos[int(scores.argmax())])
    return "".join(text)


def test_any_model_of_the_next_token_goes_on_from_a_prompt() -> None:
    torch.manual_seed(3)
    field = characters()
    nt = len(field.vocab)

    def one_hot(x: Tensor) -> Tensor:
        return F.one_hot(x, nt).float()

    def fresh(model: Any) -> Callable[[Tensor], Tensor]:
        def score(x: Tensor) -> Tensor:
            model.reset() if hasattr(model, "reset") else setattr(model, "h", None)
            return model(x)[-1]

        return score

    bigrams, stateful, hidden = Bigrams(nt), Stateful(nt), lesson.CharSeqStateful(nt, nn.LSTM(lesson.N_FAC, 16))
    three, loop, every = lesson.Char3Model(nt), lesson.CharLoopModel(nt), lesson.CharSeqRNN(nt)
    rnn, batch_first = OneHotRNN(nt), OneHotRNN(nt, batch_first=True)
    cases: list[tuple[nn.Module, Any, Callable[[Tensor], Tensor]]] = [
        (bigrams, None, lambda x: bigrams(x)[-1]),
        (stateful, None, fresh(stateful)),
        (hidden, None, fresh(hidden)),
        (three, lambda x: tuple(x[-3:]), lambda x: three(*x[-3:])[0]),
        (loop, tuple, lambda x: loop(*x)[0]),
        (every, tuple, lambda x: every(*x)[-1, 0]),
        (rnn, one_hot, lambda x: rnn(one_hot(x))[0][-1, 0]),
        (batch_first, lambda x: one_hot(x.T), lambda x: batch_first(one_hot(x.T))[0][0, -1]),
    ]
    for model, inputs, score in cases:
        expected = likeliest(score, field, "to be", 9)
        if model is hidden:
            hidden(field.numericalize(["or"]))
        for _ in range(2):  # nothing is carried from one text to the next
            assert generate(model, "to be", 9, top_k=1, field=field, inputs=inputs) == expected, type(model)


def test_a_learner_of_ones_own_model_is_left_as_it_was(learn: LanguageLearner) -> None:
    nt = learn.data.nt
    model = Stateful(nt)
    own = LanguageLearner(learn.data, model)
    model(torch.zeros(4, 3, dtype=torch.long))
    before = [part.clone() for part in model.state]
    text = generate(own, "the king", 6, seed=1)
    assert len(learn.field.preprocess(text)) >= 2
    assert all(torch.equal(a, b) for a, b in zip(before, model.state, strict=True))
    assert model.training


def test_what_a_model_of_ones_own_must_give() -> None:
    field = characters()
    with pytest.raises(DataError, match=r"Embedding must score each of the \d+ tokens .* it gave shape \(2, \d, 3\)"):
        generate(nn.Embedding(99, 3), "to", 3, field=field)
    with pytest.raises(DataError, match="Linear could not read 2 token.*`inputs=`"):
        generate(nn.Linear(5, len(field.vocab)), "to", 3, field=field)
    with pytest.raises(DataError, match="Char3Model could not read 2 token.*a prompt of n"):
        generate(lesson.Char3Model(len(field.vocab)), "to", 3, field=field, inputs=lambda x: tuple(x[-3:]))
    diverged = Bigrams(len(field.vocab))
    nn.init.constant_(diverged.table.weight, torch.nan)
    with pytest.raises(NonFiniteError, match="has its training diverged"):
        generate(diverged, "to", 3, field=field)


@pytest.mark.parametrize("temperature", [1e-3, 1e-40, 1e-320])
def test_close_to_zero_only_the_most_probable_token_is_left(learn: LanguageLearner, temperature: float) -> None:
    assert generate(learn, "the king", 12, temperature=temperature) == generate(learn, "the king", 12, top_k=1)
    assert shares([3.0, 3.0 - 1e-6, -torch.inf], n=20, temperature=1e-40).tolist() == [1, 0, 0]
