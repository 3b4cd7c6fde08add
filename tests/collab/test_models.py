import pytest
import torch

from learnkit.collab import EmbeddingDot, EmbeddingDotBias, EmbeddingNet
from learnkit.collab.models import MODELS

USERS, ITEMS = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 1])


@pytest.fixture(params=list(MODELS.values()), ids=list(MODELS))
def model(request):
    torch.manual_seed(0)
    model = request.param(7, 9, 4, (1.0, 5.0), mean=3.0).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p)
    return model


def test_one_item_or_several_give_the_same_scores(model):
    every = torch.arange(9).expand(3, -1)
    several = model(USERS, every)
    assert several.shape == (3, 9)
    torch.testing.assert_close(several.gather(1, ITEMS[:, None]).squeeze(1), model(USERS, ITEMS))
    torch.testing.assert_close(several, model.score_all(USERS))


def test_scores_stay_in_the_range(model):
    scores = model.score_all(torch.arange(7)).detach()
    assert float(scores.min()) >= 1
    assert float(scores.max()) <= 5


def test_config_makes_the_same_model_again(model):
    again = type(model)(**model.config()).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(USERS, ITEMS), model(USERS, ITEMS))


def test_dot_bias_starts_at_the_mean():
    assert EmbeddingDotBias(9, 9, 5, (1, 5), mean=4.2)(USERS, ITEMS).tolist() == pytest.approx([4.2] * 3, abs=0.01)


def test_without_a_range_the_dot_product_is_the_score():
    model = EmbeddingDot(9, 9, 3)
    expected = (model.user_factors(USERS) * model.item_factors(ITEMS)).sum(1)
    torch.testing.assert_close(model(USERS, ITEMS), expected)


def test_net_has_the_hidden_layers_asked_for():
    widths = [layer.out_features for layer in EmbeddingNet(5, 5, 4, nh=[8, 6]).layers if hasattr(layer, "out_features")]
    assert widths == [8, 6, 1]


def test_constant_ratings_need_no_range():
    assert EmbeddingDotBias(3, 3, 2, (4.0, 4.0), mean=4.0)(USERS[:2], USERS[:2]).tolist() == [4.0, 4.0]


def test_a_table_needs_factors():
    with pytest.raises(ValueError, match="`n_factors` must be a positive whole number; got 0"):
        EmbeddingDot(3, 3, 0)


# ---------------------------------------------------------------- the course's names


def test_tables_have_the_names_of_the_course():
    dot, bias = EmbeddingDot(5, 6, 3), EmbeddingDotBias(5, 6, 3)
    assert (dot.u, dot.i) == (dot.user_factors, dot.item_factors)
    assert (bias.u, bias.i, bias.ub, bias.ib) == (bias.user_factors, bias.item_factors, bias.user_bias, bias.item_bias)
    assert set(bias.state_dict()) == {
        f"{name}.weight" for name in ("user_factors", "item_factors", "user_bias", "item_bias")
    }


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.uint8])
@pytest.mark.parametrize("kind", [EmbeddingDot, EmbeddingDotBias, EmbeddingNet])
def test_codes_may_be_whole_numbers_of_any_type(kind, dtype):
    model = kind(5, 6, 3, (1, 5)).eval()
    users, items = torch.tensor([1, 4]), torch.tensor([5, 2])
    torch.testing.assert_close(model(users.to(dtype), items.to(dtype)), model(users, items))
    torch.testing.assert_close(model.i(items.to(dtype)), model.i(items))
