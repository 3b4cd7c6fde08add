"""The character models of lessons 6 and 7, trained by the plain `fit`: `python -m examples.char_models`.

From three letters to a stateful LSTM: each model predicts the next character of a play, a little better than the one
before. All are plain `nn.Module`s that end in a log-softmax; nothing here needs a `Learner`. The arithmetic of the
Elman cell, the GRU and the LSTM is written out at the end.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn, optim

from learnkit import CosAnneal, LayerOptimizer, fit, seed_everything, to_np
from learnkit.datasets import shakespeare_files
from learnkit.tabular import ColumnarModelData
from learnkit.text import Field, LanguageModelData

PATH = "runs/char_models"
CS = 8  # characters the models without a state look at
N_FAC, N_HIDDEN = 32, 128

# ---------------------------------------------------------------- a fixed number of characters: model(c1, c2, ...)


class Char3Model(nn.Module):
    """Three characters in, the fourth out: the same two layers for each of the three."""

    def __init__(self, vocab_size: int, n_fac: int = N_FAC, n_hidden: int = N_HIDDEN) -> None:
        super().__init__()
        self.e = nn.Embedding(vocab_size, n_fac)
        self.l_in = nn.Linear(n_fac, n_hidden)
        self.l_hidden = nn.Linear(n_hidden, n_hidden)
        self.l_out = nn.Linear(n_hidden, vocab_size)

    def forward(self, c1: Tensor, c2: Tensor, c3: Tensor) -> Tensor:
        in1 = F.relu(self.l_in(self.e(c1)))
        in2 = F.relu(self.l_in(self.e(c2)))
        in3 = F.relu(self.l_in(self.e(c3)))
        h = torch.zeros_like(in1)
        h = torch.tanh(self.l_hidden(h + in1))
        h = torch.tanh(self.l_hidden(h + in2))
        h = torch.tanh(self.l_hidden(h + in3))
        return F.log_softmax(self.l_out(h), dim=-1)


class CharLoopModel(Char3Model):
    """The same as a loop: any number of characters. That makes it a recurrent network."""

    def forward(self, *cs: Tensor) -> Tensor:
        h = torch.zeros(len(cs[0]), self.l_hidden.in_features, device=cs[0].device)
        for c in cs:
            h = torch.tanh(self.l_hidden(h + F.relu(self.l_in(self.e(c)))))
        return F.log_softmax(self.l_out(h), dim=-1)


class CharLoopConcatModel(nn.Module):
    """Character and state side by side instead of added up: they are different kinds of things."""

    def __init__(self, vocab_size: int, n_fac: int = N_FAC, n_hidden: int = N_HIDDEN) -> None:
        super().__init__()
        self.e = nn.Embedding(vocab_size, n_fac)
        self.l_in = nn.Linear(n_fac + n_hidden, n_hidden)
        self.l_hidden = nn.Linear(n_hidden, n_hidden)
        self.l_out = nn.Linear(n_hidden, vocab_size)

    def forward(self, *cs: Tensor) -> Tensor:
        h = torch.zeros(len(cs[0]), self.l_hidden.in_features, device=cs[0].device)
        for c in cs:
            h = torch.tanh(self.l_hidden(F.relu(self.l_in(torch.cat([h, self.e(c)], dim=1)))))
        return F.log_softmax(self.l_out(h), dim=-1)


class CharRNN(nn.Module):
    """PyTorch's `nn.RNN` does the loop."""

    def __init__(self, vocab_size: int, n_fac: int = N_FAC, n_hidden: int = N_HIDDEN) -> None:
        super().__init__()
        self.e = nn.Embedding(vocab_size, n_fac)
        self.rnn = nn.RNN(n_fac, n_hidden)
        self.l_out = nn.Linear(n_hidden, vocab_size)

    def forward(self, *cs: Tensor) -> Tensor:
        outp, _ = self.rnn(self.e(torch.stack(cs)))
        return F.log_softmax(self.l_out(outp[-1]), dim=-1)


class CharSeqRNN(CharRNN):
    """A prediction after each character, not only after the last: as many lessons from the same text.

    The recurrent weights begin as the identity (Le, Jaitly & Hinton 2015): at first the state stays as it is.
    """

    def __init__(self, vocab_size: int, n_fac: int = N_FAC, n_hidden: int = N_HIDDEN) -> None:
        super().__init__(vocab_size, n_fac, n_hidden)
        nn.init.eye_(self.rnn.get_parameter("weight_hh_l0"))

    def forward(self, *cs: Tensor) -> Tensor:
        outp, _ = self.rnn(self.e(torch.stack(cs)))
        return F.log_softmax(self.l_out(outp), dim=-1)


def nll_loss_seq(inp: Tensor, targ: Tensor) -> Tensor:
    """The loss of a prediction at each place: `inp` is `(T, B, vocab)`, `targ` is `(B, T)`."""
    return F.nll_loss(inp.flatten(0, 1), targ.T.reshape(-1))


# ---------------------------------------------------------------- a stream: model(window), the state carried along


class CharSeqStateful(nn.Module):
    """A layer that remembers from one window to the next: `nn.RNN`, `nn.GRU` or `nn.LSTM`."""

    def __init__(self, vocab_size: int, rnn: nn.RNNBase, n_fac: int = N_FAC) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.e = nn.Embedding(vocab_size, n_fac)
        self.rnn = rnn
        self.l_out = nn.Linear(rnn.hidden_size, vocab_size)
        self.h: Any = None

    def forward(self, cs: Tensor) -> Tensor:
        if self.h is not None and batch_size(self.h) != cs.shape[1]:  # the validation text has another shape
            self.h = None
        outp, h = self.rnn(self.e(cs), self.h)
        self.h = repackage(h)
        return F.log_softmax(self.l_out(outp), dim=-1).view(-1, self.vocab_size)


def batch_size(h: Any) -> int:
    return int((h[0] if isinstance(h, tuple) else h).shape[1])


def repackage(h: Any) -> Any:
    """Keep the state, forget how it came about: gradients end at the window's beginning."""
    return tuple(repackage(part) for part in h) if isinstance(h, tuple) else h.detach()


# ---------------------------------------------------------------- the arithmetic of the cells


def rnn_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """One step of an Elman network (1990)."""
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


def gru_cell(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """One step of a gated recurrent unit (Cho et al. 2014)."""
    r_x, z_x, n_x = (x @ w_ih.T + b_ih).chunk(3, dim=1)
    r_h, z_h, n_h = (h @ w_hh.T + b_hh).chunk(3, dim=1)
    reset = torch.sigmoid(r_x + r_h)  # how much of the old state goes into the new one
    update = torch.sigmoid(z_x + z_h)  # how much of the old state stays
    new = torch.tanh(n_x + reset * n_h)
    return (1 - update) * new + update * h


def lstm_cell(
    x: Tensor, state: tuple[Tensor, Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of a long short-term memory (Hochreiter & Schmidhuber 1997), with a forget gate (Gers et al. 2000)."""
    h, c = state
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # forget some of the old, take in some of the new
    return torch.sigmoid(o) * torch.tanh(c), c


def by_hand(layer: nn.RNNBase, x: Tensor) -> Tensor:
    """Run a layer of PyTorch's over `x`, shape `(T, B, n_in)`, with the cells above; returns `(T, B, n_hidden)`."""
    weights = [getattr(layer, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    h = x.new_zeros(x.shape[1], layer.hidden_size)
    c = torch.zeros_like(h)
    outputs = []
    for step in x:
        if layer.mode == "LSTM":
            h, c = lstm_cell(step, (h, c), *weights)
        else:
            h = (gru_cell if layer.mode == "GRU" else rnn_cell)(step, h, *weights)
        outputs.append(h)
    return torch.stack(outputs)


# ---------------------------------------------------------------- data, training, text


def windows(ids: NDArray[Any], cs: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut `cs` characters every `step`, and what comes after each: both of shape `(n, cs)`."""
    starts = np.arange(0, len(ids) - cs, step)[:, None] + np.arange(cs)
    return ids[starts].astype(np.int64), ids[starts + 1].astype(np.int64)


def window_data(md: LanguageModelData, cs: int, step: int, *, every: bool = False) -> ColumnarModelData:
    """The characters of a window as inputs of their own; the target is the next one, or the next one of `every`."""
    (x, y), (val_x, val_y) = (windows(ds[0].ids, cs, step) for ds in (md.trn_ds, md.val_ds))
    xs, ys = np.concatenate([x, val_x]), np.concatenate([y, val_y])
    val_idxs = np.arange(len(x), len(xs))
    return ColumnarModelData.from_arrays(PATH, val_idxs, xs, ys if every else ys[:, -1], bs=512)


def train(model: nn.Module, data: Any, lr: float, n_cycles: int, crit: Callable[..., Tensor] = F.nll_loss) -> float:
    """Train in cosine cycles of 1, 2, 4, ... epochs, and return the validation loss."""
    lo = LayerOptimizer(optim.Adam, model, lr, 1e-5)
    cb = [CosAnneal(lo, len(data.trn_dl), cycle_mult=2)]
    return fit(model, data, 2**n_cycles - 1, lo.opt, crit, callbacks=cb, progress=False)["val_loss"]


def get_next(model: nn.Module, TEXT: Field, inp: str) -> str:
    """Draw the character after `inp`."""
    idxs = TEXT.numericalize(inp)
    p = model(idxs.transpose(0, 1))
    r = torch.multinomial(p[-1].exp(), 1)
    return TEXT.vocab.itos[int(to_np(r)[0])]


@torch.no_grad()
def sample(model: CharSeqStateful, TEXT: Field, inp: str, n: int) -> str:
    """Go on from `inp` for `n` characters, a stateful model being told only the last one each time."""
    model.eval()
    model.h = None
    text = inp
    for _ in range(n):
        c = get_next(model, TEXT, inp)
        text, inp = text + c, c
    return text


def models(md: LanguageModelData, n_cycles: int) -> Iterator[tuple[str, nn.Module, float]]:
    """Train one model after another; yield its name, itself and its validation loss."""
    nt = md.nt
    three, some, parts = window_data(md, 3, 1), window_data(md, CS, 1), window_data(md, CS, CS, every=True)
    seed_everything(0)
    for name, model, data in (
        ("3 characters", Char3Model(nt), three),
        (f"loop over {CS}", CharLoopModel(nt), some),
        ("  concatenated", CharLoopConcatModel(nt), some),
        ("  nn.RNN", CharRNN(nt), some),
    ):
        yield name, model, train(model, data, 2e-3, 1)
    seq = CharSeqRNN(nt)
    yield f"sequence of {CS}", seq, train(seq, parts, 2e-3, n_cycles, nll_loss_seq)
    for name, rnn in (
        ("stateful RNN", nn.RNN(N_FAC, N_HIDDEN)),
        ("stateful GRU", nn.GRU(N_FAC, N_HIDDEN)),
        ("stateful LSTM", nn.LSTM(N_FAC, N_HIDDEN, 2, dropout=0.1)),
    ):
        stateful = CharSeqStateful(nt, rnn)
        yield name, stateful, train(stateful, md, 5e-3, n_cycles)


def play(name: str) -> str:
    return str(next(file for file in shakespeare_files() if file.name.startswith(name)))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3, help="cosine cycles of the sequence models")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # small models are not worth splitting
    TEXT = Field(lower=True, tokenize=list)
    md = LanguageModelData.from_text_files(
        PATH, TEXT, train=play("hamlet"), validation=play("macbeth"), bs=64, bptt=16, min_freq=3, encoding="latin-1"
    )
    n = len(md.trn_ds[0].text)
    print(f"{n:,} characters of Hamlet, {len(md.val_ds[0].text):,} of Macbeth to validate, {md.nt} different ones\n")
    print("model              parameters   val_loss   seconds")
    start = time.perf_counter()
    for name, model, loss in models(md, args.cycles):
        size = sum(p.numel() for p in model.parameters())
        print(f"{name:<16} {size:>12,} {loss:>10.4f} {time.perf_counter() - start:>9.1f}", flush=True)
        start = time.perf_counter()
    assert isinstance(model, CharSeqStateful)
    print(f"\nThe LSTM goes on:\n\n{sample(model, TEXT, 'to be, or not to be', 400)}")


if __name__ == "__main__":
    main()
