from learnkit.collab.bunch import CollabFilterData
from learnkit.collab.coldstart import ColdStart
from learnkit.collab.data import CollabFilterDataset
from learnkit.collab.ids import Vocabulary
from learnkit.collab.interactions import Interactions
from learnkit.collab.learner import CollabLearner
from learnkit.collab.loaders import RankingLoader, RatingLoader
from learnkit.collab.metrics import RankingMetrics, rank_held_out, ranking_metrics
from learnkit.collab.models import EmbeddingDot, EmbeddingDotBias, EmbeddingModel, EmbeddingNet
from learnkit.collab.prep import RatingPrep
from learnkit.collab.ranking import Preference, bpr_loss
from learnkit.collab.spec import EmbeddingSpec
from learnkit.data.split import get_cv_idxs

__all__ = [
    "ColdStart",
    "CollabFilterData",
    "CollabFilterDataset",
    "CollabLearner",
    "EmbeddingDot",
    "EmbeddingDotBias",
    "EmbeddingModel",
    "EmbeddingNet",
    "EmbeddingSpec",
    "Interactions",
    "Preference",
    "RankingLoader",
    "RankingMetrics",
    "RatingLoader",
    "RatingPrep",
    "Vocabulary",
    "bpr_loss",
    "get_cv_idxs",
    "rank_held_out",
    "ranking_metrics",
]
