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
