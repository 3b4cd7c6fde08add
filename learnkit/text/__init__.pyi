from learnkit.runtime.tokens import Markers, SpacyTokenizer, join_tokens
from learnkit.text.awd_lstm import (
    AWDLSTM,
    Encoded,
    Encoder,
    LockedDropout,
    WeightDropRNN,
    WordDropout,
    repackage_var,
    seq2seq_reg,
)
from learnkit.text.bow import BowLoader, DotProdNB, TextClassifierData, log_count_ratios
from learnkit.text.callbacks import NTASGD, ResetState, ScaleRateByLength, SkipScores
from learnkit.text.classifier import PoolingHead, TextClassifier
from learnkit.text.data import TextData
from learnkit.text.encoders import EncoderSettings
from learnkit.text.field import Field
from learnkit.text.language_model import LanguageModel, Undecoded
from learnkit.text.learner import EncoderLearner, LanguageLearner, TextEnsemble, TextLearner
from learnkit.text.loaders import BPTTLoader, TextLoader
from learnkit.text.next_token import NextToken
from learnkit.text.prep import StreamPrep, TextPrep
from learnkit.text.sampling import generate
from learnkit.text.spec import ClassifierSpec, LanguageModelSpec
from learnkit.text.stream import LanguageModelData
from learnkit.text.texts import Corpus, TextItem, TokenList
from learnkit.text.transformer import TransformerEncoder
from learnkit.text.vectors import load_vectors, nearest_words, start_from_vectors
from learnkit.text.vocab import Vocab

__all__ = [
    "AWDLSTM",
    "NTASGD",
    "BPTTLoader",
    "BowLoader",
    "ClassifierSpec",
    "Corpus",
    "DotProdNB",
    "Encoded",
    "Encoder",
    "EncoderLearner",
    "EncoderSettings",
    "Field",
    "LanguageLearner",
    "LanguageModel",
    "LanguageModelData",
    "LanguageModelSpec",
    "LockedDropout",
    "Markers",
    "NextToken",
    "PoolingHead",
    "ResetState",
    "ScaleRateByLength",
    "SkipScores",
    "SpacyTokenizer",
    "StreamPrep",
    "TextClassifier",
    "TextClassifierData",
    "TextData",
    "TextEnsemble",
    "TextItem",
    "TextLearner",
    "TextLoader",
    "TextPrep",
    "TokenList",
    "TransformerEncoder",
    "Undecoded",
    "Vocab",
    "WeightDropRNN",
    "WordDropout",
    "generate",
    "join_tokens",
    "load_vectors",
    "log_count_ratios",
    "nearest_words",
    "repackage_var",
    "seq2seq_reg",
    "start_from_vectors",
]
