"""Text that a model of the next token makes up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.core.errors import DataError, NonFiniteError, check_positive
from learnkit.core.layers import model_device
from learnkit.core.preserve import evaluating
from learnkit.text.field import Field
from learnkit.text.language_model import LanguageModel
from learnkit.text.vocab import Vocab
from learnkit.train.learner import Learner

__all__ = ["generate"]

Inputs = Callable[[Tensor], Any]
"""From the token numbers so far, `(T, 1)`, to what a model is called with: a tensor, or several."""

SMALLEST = 1e-300  # temperature; below it lie numbers that some processors take for zero


@torch.no_grad()
def generate(
    learner: Learner | nn.Module,
    prompt: str,
    n: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    seed: int | None = None,
    field: Field | None = None,
    inputs: Inputs | None = None,
) -> str:
    """Go on from a prompt, a token at a time.

    Any model that scores the next token will do. One with `reset()` is told to forget, then given the prompt and each new
    token as it comes, like the library's own and the course's; so is one that carries a state without saying so, if
    it drops the state when the batch size changes. Any other is given the text so far, its last `bptt` tokens where the
    data have a `bptt`.

    Parameters
    ----------
    learner : Learner or nn.Module
        A `LanguageLearner`, or another learner or model of the next token with `field=`.
    prompt : str
        How the text begins; may be empty.
    n : int
        How many tokens to add.
    temperature : float, default 1.0
        Below one the likely becomes likelier, above one less so; close to zero only the most probable is left.
    top_k : int, optional
        Choose among so many of the most probable tokens only.
    top_p : float, optional
        Choose among the most probable tokens that together have this probability only (Holtzman et al. 2020).
    seed : int, optional
        Of the choices; torch's global generator by default.
    field : Field, optional
        With the vocabulary of the model; that of the learner's data by default.
    inputs : callable, optional
        For a model that is called with something else than numbers of shape `(T, 1)`: from these to a tensor, or a tuple
        of them. `lambda x: F.one_hot(x, nt).float()` for one-hot input, `lambda x: tuple(x[-3:])` for a model of three
        characters. Given all of the text so far, unless the model carries a state.

    Returns
    -------
    str
        Prompt, prepared as the training texts were, and continuation. Unknown words and padding are never chosen.

    Raises
    ------
    DataError
        If there is no field, the scores are not one per token of its vocabulary, or the model reads backwards.

    Examples
    --------
    Of any model, one of one-hot characters here:

    >>> import torch
    >>> import torch.nn.functional as F
    >>> from learnkit.text import Field, generate
    >>> TEXT = Field(tokenize=list)
    >>> TEXT.build_vocab(["to be or not to be"])
    >>> nt = len(TEXT.vocab)
    >>> text = generate(torch.nn.Linear(nt, nt), "to", 5, field=TEXT, inputs=lambda x: F.one_hot(x, nt).float())
    >>> text[:2], len(text)
    ('to', 7)
    """
    if not isinstance(prompt, str):
        raise TypeError(f"`prompt` must be a text; got {type(prompt).__name__}.")
    check_positive("n", n, integer=True)
    check_positive("temperature", temperature)
    if top_k is not None:
        check_positive("top_k", top_k, integer=True)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must be in (0, 1]; got {top_p!r}.")
    data = learner.data if isinstance(learner, Learner) else None
    model = learner.model if isinstance(learner, Learner) else learner
    if not isinstance(model, nn.Module):
        raise TypeError(f"`generate` takes a learner or a model; got {type(learner).__name__}.")
    field = field or getattr(data, "field", None)
    if field is None:
        raise DataError(
            "it is not known which token is which number: pass the field of the training texts as `field=`."
        )
    if getattr(data, "backwards", False):
        raise DataError("this model reads backwards: it can only be asked what came before.")
    text = field.preprocess(prompt)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    given = field.numericalize([text or [field.eos]]).to(model_device(model))
    with evaluating(model):
        read = _reader(model, given, len(field.vocab), inputs, getattr(data, "bptt", None))
        for _ in range(int(n)):
            chosen = _choose(read(given).float().cpu(), temperature, top_k, top_p, generator)
            text.append(field.vocab.itos[chosen])
            given = torch.tensor([[chosen]], device=given.device)
    return field.join(text)


def _reader(
    model: nn.Module, prompt: Tensor, n_tokens: int, inputs: Inputs | None, window: int | None
) -> Callable[[Tensor], Tensor]:
    """Return a function that reads some more tokens `(T, 1)` and gives the scores of what follows, `(n_tokens,)`."""
    if isinstance(model, LanguageModel):
        state = None

        def read_on(x: Tensor) -> Tensor:
            nonlocal state
            scores, state = model.next_scores(x, state)  # the model's own state is left alone
            return scores[0]

        return read_on

    def score(x: Tensor) -> Tensor:
        try:
            given = x if inputs is None else inputs(x)
            output = model(*given) if isinstance(given, tuple | list) else model(given)
        except (TypeError, ValueError, RuntimeError, IndexError) as exc:
            raise DataError(
                f"{type(model).__name__} could not read {len(x)} token(s): {exc}. If it is called with something else than "
                "numbers of shape (T, 1), say so with `inputs=`; a model of n tokens needs a prompt of n."
            ) from exc
        return _last(output, n_tokens, model)

    forget = getattr(model, "reset", None)
    if callable(forget):
        forget()
        return score
    score(prompt.repeat(1, 2))  # a batch of another size, at which a state that is carried along is dropped
    if not torch.equal(score(prompt), score(prompt)):
        score(prompt.repeat(1, 2))
        return score
    seen = prompt[:0]

    def read_all(x: Tensor) -> Tensor:
        nonlocal seen
        seen = torch.cat([seen, x])
        return score(seen if window is None else seen[-window:])

    return read_all


def _last(output: Any, n_tokens: int, model: nn.Module) -> Tensor:
    """Return the scores at the end of the text, of a model that gives them for each place or for the last."""
    scores = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(scores, Tensor) or scores.ndim == 0 or scores.shape[-1] != n_tokens:
        found = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise DataError(
            f"{type(model).__name__} must score each of the {n_tokens} tokens of the vocabulary along its last axis; it gave "
            f"{found}."
        )
    return scores.reshape(-1, n_tokens)[-1]


def _choose(
    scores: Tensor, temperature: float, top_k: int | None, top_p: float | None, generator: torch.Generator | None
) -> int:
    # In double precision and below zero, so that a tiny temperature leaves the most probable token and no infinity.
    scores = scores.double()
    scores[[Vocab.unk, Vocab.pad]] = -torch.inf
    best = scores.max()
    if not best.isfinite():
        raise NonFiniteError(f"the model scores the most probable token with {best:g}; has its training diverged?")
    scores = (scores - best) / max(temperature, SMALLEST)
    ranked, tokens = scores.sort(descending=True)
    proba = ranked.softmax(0)
    if top_k is not None:
        proba[int(top_k) :] = 0
    if top_p is not None:
        proba[(proba.cumsum(0) - proba) >= top_p * proba.sum()] = 0  # the one that crosses the line is kept
    return int(tokens[torch.multinomial(proba, 1, generator=generator)])
