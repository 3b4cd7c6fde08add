"""Language models and classifiers of text learn as a loop by hand would, hand on what they know, and predict raw texts."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from learnkit import CheckpointError, DataError, Learner, seed_everything
from learnkit.text import (
    NTASGD,
    Field,
    LanguageLearner,
    LanguageModelData,
    TextData,
    TextEnsemble,
    TextLearner,
    seq2seq_reg,
)
from tests.text.helpers import (
    language_data,
    language_learner,
    review_data,
    scenes,
    sentences,
    text_learner,
    words,
)
from tests.train.helpers import World, assert_same, differs, snapshot
from tests.train.test_resume import resumed_like

# Vocabularies of a few hundred words, for tests to be quick, leave many words of other texts unknown.
pytestmark = pytest.mark.filterwarnings("ignore:.*are not in the vocabulary")

REG = partial(seq2seq_reg, alpha=2, beta=1)


# ---------------------------------------------------------------- the loop


def by_hand(learn: LanguageLearner, lr: float, n_epochs: int, clip: float | None, reg: Any) -> None:
    """What one would write for a language model without a library."""
    model: Any = learn.model
    opt = learn.opt_fn(model.parameters(), lr=lr)
    for _ in range(n_epochs):
        model.train()
        model.reset()
        model.undecoded = True
        for x, y in learn.data.trn_dl:
            scores, *extra = model(x)
            loss = scores.loss(F.cross_entropy, y)
            if reg is not None:
                loss = reg(scores, tuple(extra), loss)
            opt.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            for group in opt.param_groups:
                group["lr"] = lr * (len(x) / learn.data.bptt)
            opt.step()
        model.eval()
        model.reset()
        model.undecoded = False
        with torch.no_grad():
            for x, _ in learn.data.val_dl or ():
                model(x)


@pytest.mark.parametrize("arch", ["lstm", "gru", "transformer"])
@pytest.mark.parametrize("whole", [False, True])
def test_training_a_language_model_is_the_loop_by_hand(arch: str, whole: bool, tmp_path: Path) -> None:
    """Bit for bit, with the length of the windows, the penalties and the clipping."""
    data = language_data(tmp_path)
    models = []
    for hand in (False, True):
        seed_everything(1)
        learn = data.get_model(None, 12, 24, 2, arch=arch)
        learn.no_progress()
        if whole:
            learn.reg_fn, learn.clip = REG, 0.3
        if hand:
            by_hand(learn, 1e-2, 2, learn.clip, learn.reg_fn)
        else:
            learn.fit(1e-2, 2)
        models.append(learn.model)
    assert_same(*models)


def test_a_classifier_too(tmp_path: Path) -> None:
    data = review_data(tmp_path)
    models = []
    for hand in (False, True):
        seed_everything(1)
        learn = text_learner(tmp_path, data)
        learn.reg_fn = REG
        if not hand:
            learn.fit(1e-2, 2)
        else:
            opt = learn.opt_fn(learn.model.parameters(), lr=1e-2)
            for _ in range(2):
                learn.model.train()
                for x, y in data.trn_dl:
                    scores, *extra = learn.model(x)
                    loss = REG(scores, tuple(extra), F.cross_entropy(scores, y))
                    opt.zero_grad()
                    loss.backward()
                    opt.step()
        models.append(learn.model)
    assert_same(*models)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path) -> None:
    data, models = language_data(tmp_path), []
    for seed in (1, 1, 2):
        seed_everything(seed)
        learn = language_learner(tmp_path, data)
        learn.fit_one_cycle(1, 1e-2)
        models.append(snapshot(learn.model))
    assert_same(models[0], models[1])
    assert differs(models[0], models[2])


def test_the_language_of_hamlet_is_learnt(tmp_path: Path) -> None:
    learn = language_learner(tmp_path)
    untrained = learn.validate()["perplexity"]
    results = learn.fit_one_cycle(4, 2e-2)
    assert untrained == pytest.approx(learn.data.nt, rel=0.05)
    assert results["perplexity"] < untrained / 5
    assert results["perplexity"] == pytest.approx(math.exp(results["val_loss"]), rel=1e-5)
    assert learn.validate()["perplexity"] == pytest.approx(results["perplexity"], rel=1e-6)
    log_probs, targs = learn.predict_with_targs()
    assert -log_probs[np.arange(len(targs)), targs].mean() == pytest.approx(results["val_loss"], rel=1e-4)


def test_the_course_recipe_runs(tmp_path: Path) -> None:
    TEXT = words(min_freq=2)
    md = language_data(tmp_path, TEXT)
    opt_fn = partial(optim.Adam, betas=(0.7, 0.99))
    learner = md.get_model(opt_fn, 12, 24, 3, dropouti=0.05, dropout=0.05, wdrop=0.1, dropoute=0.02, dropouth=0.05)
    learner.no_progress()
    learner.reg_fn = partial(seq2seq_reg, alpha=2, beta=1)
    learner.clip = 0.3
    learner.fit(3e-3, 2, wds=1e-6, cycle_len=1, cycle_mult=2, cycle_save_name="adam")
    learner.save_encoder("adam3_10_enc")
    learner.load_encoder("adam3_10_enc")
    md2 = review_data(tmp_path, TEXT, n=120)
    m3 = md2.get_model(opt_fn, 1500, 20, emb_sz=12, n_hid=24, n_layers=3, dropout=0.1, dropouti=0.4, wdrop=0.5,
                       dropoute=0.05, dropouth=0.3)  # fmt: skip
    m3.no_progress()
    m3.reg_fn = partial(seq2seq_reg, alpha=2, beta=1)
    m3.load_encoder("adam3_10_enc")
    m3.clip = 25.0
    lrs = np.array([1e-4, 1e-4, 1e-4, 1e-3, 1e-2])
    m3.freeze_to(-1)
    m3.fit(lrs / 2, 1, metrics=["accuracy"])
    m3.unfreeze()
    results = m3.fit(lrs, 1, metrics=["accuracy"], cycle_len=1)
    assert 0 <= results["accuracy"] <= 1
    assert np.exp(m3.predict()).sum(1) == pytest.approx(1, abs=1e-5)


def test_lr_find_leaves_everything_as_it_was(tmp_path: Path) -> None:
    for learn in (language_learner(tmp_path), text_learner(tmp_path)):
        learn.reg_fn, learn.clip = REG, 0.3
        learn.fit(1e-3, 1)
        state = getattr(learn.model, "state", None)
        kept = None if state is None else [part.clone() for layer in state for part in layer]
        before = World(learn)
        found = learn.lr_find(n_iter=12)
        before.assert_unchanged(learn)
        assert found.lrs[0] == pytest.approx(1e-5)
        after = getattr(learn.model, "state", None)
        assert (kept is None) == (after is None)
        if kept is not None and after is not None:
            assert all(torch.equal(a, b) for a, b in zip(kept, [p for layer in after for p in layer], strict=True))


@pytest.mark.parametrize("options", [{"accumulate": 3}, {"precision": "bf16"}, {"accumulate": 2, "precision": "bf16"}])
def test_options_of_fit(options: dict[str, Any], tmp_path: Path) -> None:
    for learn in (language_learner(tmp_path, **options), text_learner(tmp_path, **options)):
        learn.clip = 0.5
        before = snapshot(learn.model)
        results = learn.fit_one_cycle(1, 1e-2)
        assert math.isfinite(results["val_loss"])
        assert "encoder.layers.0.rnn.weight_hh_l0" in differs(before, snapshot(learn.model))


def test_averaged_sgd_trains_a_language_model(tmp_path: Path) -> None:
    data = language_data(tmp_path)
    learn = data.get_model(optim.SGD, 12, 24, 1, callbacks=[NTASGD(1)])
    learn.no_progress()
    learn.clip = 0.25
    first = learn.validate()["perplexity"]
    assert learn.fit(8, 4)["perplexity"] < first


def fit_lm(learn: Learner, **kwargs: Any) -> Any:
    return learn.fit(1e-2, 2, cycle_len=1, **kwargs)


@pytest.mark.parametrize("arch", ["lstm", "gru", "transformer"])
def test_a_language_model_is_resumed_in_the_middle_of_its_text(arch: str, tmp_path: Path) -> None:
    frame = scenes(12)

    def make(path: Path) -> Learner:
        data = LanguageModelData.from_dataframes(path, words(min_freq=2), "text", frame[:10], frame[10:], bs=4, bptt=20)
        learn = data.get_model(None, 8, 16, 2, arch=arch, callbacks=[NTASGD(1)])
        learn.no_progress()
        learn.reg_fn, learn.clip = REG, 0.3
        return learn

    resumed_like(make, fit_lm, tmp_path, kill=10)


def test_a_classifier_is_resumed(tmp_path: Path) -> None:
    resumed_like(lambda path: text_learner(path, review_data(path, n=130)), fit_lm, tmp_path, kill=12)


# ---------------------------------------------------------------- predictions


def test_predictions_are_in_the_order_of_the_data_set_whatever_the_lengths(tmp_path: Path) -> None:
    trn = sentences(120)
    rng = np.random.default_rng(0)
    val = pd.DataFrame({"text": [" ".join(["good"] * int(n)) for n in rng.integers(1, 60, 40)], "label": "positive"})
    val.loc[rng.permutation(40)[:15], "label"] = "negative"
    data = TextData.from_dataframes(tmp_path, words(), "text", "label", trn, val, val[["text"]], bs=7)
    learn = text_learner(tmp_path, data)
    learn.fit(1e-2, 1)
    together, targs = learn.predict_with_targs()
    one_by_one = np.concatenate([learn.predict_texts([text]) for text in val["text"]])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)
    assert targs.tolist() == (val["label"] == "positive").astype(int).tolist() == data.val_y.tolist()
    np.testing.assert_allclose(learn.predict(is_test=True), together, atol=1e-6)
    np.testing.assert_allclose(learn.predict_texts(val["text"].tolist(), bs=3), together, atol=1e-5)
    np.testing.assert_allclose(learn.predict_dl(data.val_dl or []), together, atol=1e-6)
    accuracy = float((together.argmax(1) == targs).mean())
    assert learn.validate()["accuracy"] == pytest.approx(accuracy)
    matrix = learn.interpret().confusion_matrix()
    assert matrix.trace() / matrix.sum() == pytest.approx(accuracy)


def test_odd_texts_are_predicted(tmp_path: Path) -> None:
    learn = text_learner(tmp_path)
    texts = ["", "   \n", "qwertz zxcvb", "good " * 3000, "\ud83d\ude00", "a\x00b"]
    preds = learn.predict_texts(texts)
    assert preds.shape == (6, 2)
    np.testing.assert_allclose(np.exp(preds).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(preds[0], preds[1], atol=1e-6)


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    frame = sentences(80).assign(
        tags=["good,long" if v > 1 else "good" if v > 0 else "" for v in sentences(80)["valence"]]
    )
    multi = text_learner(
        tmp_path,
        TextData.from_dataframes(tmp_path, words(), "text", "tags", frame, frame[:20], bs=16, cat_separator=","),
    )
    multi.fit(1e-2, 1)
    probs = multi.predict_texts(["good", "bad"])
    assert probs.shape == (2, multi.data.c)
    assert ((probs >= 0) & (probs <= 1)).all()
    np.testing.assert_allclose(TextEnsemble([multi, multi]).predict(), multi.predict(), atol=1e-6)
    real = text_learner(
        tmp_path,
        TextData.from_dataframes(tmp_path, words(), "text", "valence", frame, frame[:20], bs=16, continuous=True),
    )
    assert "rmse" in real.fit(1e-2, 1)
    assert real.predict().shape == real.data.val_y.shape == (20,)
    np.testing.assert_allclose(TextEnsemble([real, real]).predict_texts(["a"]), real.predict_texts(["a"]), atol=1e-6)
    assert real.interpret().errors.shape == (20,)


def test_the_summary_shows_every_layer_with_parameters(tmp_path: Path) -> None:
    for learn in (language_learner(tmp_path), text_learner(tmp_path)):
        summary = learn.summary()
        assert len({row.name for row in summary.layers if row.kind == "LSTM"}) == 2  # a row for each piece of a text
        assert summary.nb_params == sum(p.numel() for p in learn.model.parameters())
        assert learn.check() == []


# ---------------------------------------------------------------- which layers train


def test_layer_groups_of_three_layers_are_the_five_of_the_lesson(tmp_path: Path) -> None:
    learn = text_learner(tmp_path, n_layers=3)
    assert len(learn.get_layer_groups()) == 5
    with pytest.raises(ValueError, match="5"):
        learn.fit(np.array([1e-3, 1e-2]), 1)
    data = language_data(tmp_path)
    assert len(data.get_model(None, 12, 24, 3).get_layer_groups()) == 4
    assert len(language_learner(tmp_path, data, arch="transformer").get_layer_groups()) == 3


def test_gradual_unfreezing(tmp_path: Path) -> None:
    learn = text_learner(tmp_path, n_layers=3)
    parts = ["encoder.embedding", "encoder.layers.0", "encoder.layers.1", "encoder.layers.2", "head"]
    for n in range(1, 6):
        learn.freeze_to(-n) if n < 5 else learn.unfreeze()
        before = snapshot(learn.model)
        learn.fit(np.full(5, 1e-2), 1)
        changed = differs(before, snapshot(learn.model))
        trained = {part for part in parts if any(name.startswith(part) for name in changed)}
        assert trained == set(parts[-n:])


# ---------------------------------------------------------------- handing on


def test_the_encoder_is_handed_on(tmp_path: Path) -> None:
    data = language_data(tmp_path)
    language = language_learner(tmp_path, data)
    language.fit_one_cycle(1, 1e-2)
    file = language.save_encoder("enc")
    assert file == tmp_path / "models" / "enc.safetensors"
    learn = text_learner(tmp_path, review_data(tmp_path, data.field))
    learn.load_encoder("enc")
    assert_same(learn.encoder, language.encoder)
    x = torch.randint(2, 50, (9, 2))
    for model in (learn.model, language.model):
        model.eval()
    assert torch.equal(learn.encoder(x).raw, language.encoder(x).raw)
    learn.save_encoder("back")
    language.load_encoder("back")
    assert language.model.get_parameter("decoder.weight") is language.encoder.embedding.weight  # still tied


def test_another_vocabulary_is_matched_by_word_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "1")
    language = language_learner(tmp_path)
    language.save_encoder("enc")
    learn = text_learner(tmp_path, review_data(tmp_path))
    learn.load_encoder("enc")
    ours, theirs = learn.field.vocab, language.field.vocab
    both = [token for token in ours.itos if token in theirs]
    assert 20 < len(both) < len(ours)
    assert f"{len(both) - 3:,} of {len(ours) - 3:,} words matched" in capsys.readouterr().out
    mine, table = learn.encoder.embedding.weight, language.encoder.embedding.weight
    for token in both:
        assert torch.equal(mine[ours.stoi[token]], table[theirs.stoi[token]])
    for token in set(ours.itos) - set(theirs.itos):
        torch.testing.assert_close(mine[ours.stoi[token]], table.mean(0))
    recurrent = "layers.0.rnn.weight_hh_l0"
    assert torch.equal(learn.encoder.get_parameter(recurrent), language.encoder.get_parameter(recurrent))
    other = Field(tokenize=str.split)
    other.build_vocab(["привет мир"])
    foreign = text_learner(tmp_path, review_data(tmp_path, other))
    before = snapshot(foreign.model)
    with pytest.raises(CheckpointError, match="not one word .* another language"):
        foreign.load_encoder("enc")
    assert_same(before, snapshot(foreign.model))


def test_an_encoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = language_data(tmp_path)
    language = language_learner(tmp_path, data)
    language.save_encoder("enc")
    learn = text_learner(tmp_path, review_data(tmp_path, data.field), n_layers=3)
    before = snapshot(learn.model)
    with pytest.raises(CheckpointError, match=r"encoder|architecture"):
        learn.load_encoder("enc")
    back = text_learner(tmp_path, review_data(tmp_path, data.field, backwards=True))
    with pytest.raises(CheckpointError, match="reads forwards: make the data bunch with backwards=False"):
        back.load_encoder("enc")
    learn.save("whole")
    with pytest.raises(CheckpointError, match="is no encoder with its vocabulary; write one with `save_encoder`"):
        learn.load_encoder("whole")
    with pytest.raises(CheckpointError, match="there is no file .*none"):
        learn.load_encoder("none")
    assert_same(before, snapshot(learn.model))
    own = LanguageLearner(data, nn.Sequential(nn.Embedding(data.nt, 4), nn.Flatten(0, 1), nn.Linear(4, data.nt)))
    with pytest.raises(DataError, match="Sequential has no `encoder` that is an Encoder"):
        own.save_encoder("own")


def test_forwards_and_backwards_together(tmp_path: Path) -> None:
    field, learners = words(min_freq=2), []
    for backwards in (False, True):
        language = language_learner(tmp_path, language_data(tmp_path, field, backwards=backwards))
        language.fit_one_cycle(1, 1e-2)
        language.save_encoder(f"enc{backwards}")
        learn = text_learner(tmp_path, review_data(tmp_path, field, backwards=backwards))
        learn.load_encoder(f"enc{backwards}")
        learn.fit_one_cycle(2, 1e-2)
        learners.append(learn)
    both = TextEnsemble(learners)
    probs = [np.exp(learn.predict()) for learn in learners]
    assert not np.allclose(*probs)
    np.testing.assert_allclose(np.exp(both.predict()), (probs[0] + probs[1]) / 2, atol=1e-6)
    texts = sentences(5)["text"].tolist()
    single = [np.exp(learn.predict_texts(texts)) for learn in learners]
    np.testing.assert_allclose(np.exp(both.predict_texts(texts)), np.mean(single, axis=0), atol=1e-6)
    with pytest.raises(DataError, match="at least one learner"):
        TextEnsemble([])
    other = TextData.from_splits(tmp_path, [(["a", "b"], [0, 1]), (["a"], [0])], field=field)
    with pytest.raises(DataError, match="predict different things"):
        TextEnsemble([learners[0], text_learner(tmp_path, other)])


# ---------------------------------------------------------------- saving, other data


def test_weights_belong_to_a_vocabulary(tmp_path: Path) -> None:
    data = language_data(tmp_path)
    for make, other in (
        (lambda d: language_learner(tmp_path, d), language_data(tmp_path, words(min_freq=4))),
        (lambda d: text_learner(tmp_path, d), review_data(tmp_path, words(min_freq=4))),
    ):
        mine: Any = data if isinstance(other, LanguageModelData) else review_data(tmp_path, data.field)
        learn = make(mine)
        learn.fit(1e-2, 1)
        learn.save("m")
        again = make(mine)
        again.load("m")
        assert_same(again.model, learn.model)
        stranger = make(other)
        before = snapshot(stranger.model)
        with pytest.raises(CheckpointError, match="vocabulary differ"):
            stranger.load("m")
        assert_same(before, snapshot(stranger.model))
        with pytest.raises(DataError, match="another vocabulary than the model; make it with the same field"):
            learn.set_data(other)


def test_going_on_with_other_texts_of_the_same_field(tmp_path: Path) -> None:
    learn = language_learner(tmp_path)
    frame = scenes(60)
    learn.set_data(LanguageModelData.from_dataframes(tmp_path, learn.field, "text", frame[40:], bs=4, bptt=15))
    assert "trn_loss" in learn.fit(1e-3, 1)
    reviews = text_learner(tmp_path)
    with pytest.raises(DataError, match="the new data predicts"):
        reviews.set_data(TextData.from_splits(tmp_path, [(["a", "b"], [0, 1])], field=reviews.field))
    with pytest.raises(DataError, match="another vocabulary"):
        reviews.set_data(learn.data)


class Bag(nn.Module):
    """A model of the user's own: the mean of the words' vectors."""

    def __init__(self, n: int, c: int) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(n, 8, padding_idx=1), nn.Linear(8, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.words(x).sum(0) / (x != 1).sum(0)[:, None])


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    data = review_data(tmp_path)
    learn = TextLearner(data, Bag(data.nt, data.c))
    learn.no_progress()
    assert learn.fit(5e-2, 3)["trn_loss"] < 0.69
    assert learn.predict_texts(["good film"]).shape == (1, 2)
    assert len(learn.get_layer_groups()) == 1
