"""Text: language models on a stream of it, classifiers on their encoders, text that they make up."""

from learnkit.text.awd_lstm import (
    AWDLSTM,
    Encoded,
    Encoder,
    LanguageModel,
    LockedDropout,
    WeightDropRNN,
    WordDropout,
    seq2seq_reg,
)
from learnkit.text.callbacks import NTASGD, ResetState, ScaleRateByLength
from learnkit.text.classifier import PoolingHead, TextClassifier
from learnkit.text.corpus import Corpus, TokenList
from learnkit.text.data import LanguageModelData, NextToken, TextData, TextItem
from learnkit.text.encoders import EncoderSettings
from learnkit.text.field import Field
from learnkit.text.generate import generate
from learnkit.text.learner import EncoderLearner, LanguageLearner, TextEnsemble, TextLearner
from learnkit.text.loaders import BPTTLoader, TextLoader
from learnkit.text.tokens import Markers, SpacyTokenizer, join_tokens
from learnkit.text.transformer import TransformerEncoder
from learnkit.text.vectors import load_vectors, nearest_words, start_from_vectors
from learnkit.text.vocab import Vocab

__all__ = [
    "AWDLSTM",
    "NTASGD",
    "BPTTLoader",
    "Corpus",
    "Encoded",
    "Encoder",
    "EncoderLearner",
    "EncoderSettings",
    "Field",
    "LanguageLearner",
    "LanguageModel",
    "LanguageModelData",
    "LockedDropout",
    "Markers",
    "NextToken",
    "PoolingHead",
    "ResetState",
    "ScaleRateByLength",
    "SpacyTokenizer",
    "TextClassifier",
    "TextData",
    "TextEnsemble",
    "TextItem",
    "TextLearner",
    "TextLoader",
    "TokenList",
    "TransformerEncoder",
    "Vocab",
    "WeightDropRNN",
    "WordDropout",
    "generate",
    "join_tokens",
    "load_vectors",
    "nearest_words",
    "seq2seq_reg",
    "start_from_vectors",
]
