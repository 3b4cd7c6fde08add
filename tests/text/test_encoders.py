"""What an encoder is made of is data: kept, checked, and made into the encoder again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from learnkit import DataError
from learnkit.text import AWDLSTM, EncoderSettings, TransformerEncoder

SETTINGS: dict[str, Any] = {
    "arch": "lstm", "emb_sz": 8, "n_hid": 16, "n_layers": 3, "dropouti": 0.1, "dropout": 0.2, "wdrop": 0.3,
    "dropoute": 0.4, "dropouth": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(("arch", "kind"), [("lstm", AWDLSTM), ("gru", AWDLSTM), ("transformer", TransformerEncoder)])
def test_settings_survive_json_and_build_the_encoder(arch: str, kind: type) -> None:
    settings = EncoderSettings(**{**SETTINGS, "arch": arch})
    again = EncoderSettings.from_dict(json.loads(json.dumps(settings.to_dict())))
    assert again == settings
    encoder = again.build(50)
    assert isinstance(encoder, kind)
    assert encoder(torch.zeros(5, 2, dtype=torch.long)).dropped.shape == (5, 2, 8)
    assert len(encoder.layer_groups()) == 4
    assert encoder.embedding.weight.shape == (50, 8)


def test_every_dropout_goes_where_it_belongs() -> None:
    encoder: Any = EncoderSettings(**SETTINGS).build(50)
    drops = (
        encoder.input_drop.p,
        encoder.output_drop.p,
        encoder.layers[0].p,
        encoder.embedding.p,
        encoder.hidden_drop.p,
    )
    assert drops == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert [layer.kind for layer in encoder.layers] == ["lstm"] * 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"arch": "rnn"}, "`arch` must be one of 'lstm', 'gru', 'transformer'; got 'rnn'"),
        ({"n_layers": 0}, "`n_layers` must be a positive whole number; got 0"),
        ({"n_layers": 10**9}, "`n_layers` must be at most 100; got 1000000000"),
        ({"emb_sz": 2.5}, "`emb_sz` must be a positive whole number; got 2.5"),
        ({"wdrop": 1.0}, r"`wdrop` must be in \[0, 1\); got 1.0"),
        ({"dropout": "0.1"}, r"`dropout` must be in \[0, 1\); got '0.1'"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderSettings(**{**SETTINGS, **wrong})


def test_a_description_must_be_complete() -> None:
    with pytest.raises(DataError, match="an encoder is described by arch, dropout"):
        EncoderSettings.from_dict({"arch": "lstm"})
