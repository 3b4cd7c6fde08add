from learnkit.core.hooks import SaveFeatures
from learnkit.core.plots import plot_confusion_matrix, plots
from learnkit.data.split import get_cv_idxs
from learnkit.vision.augment import (
    AddPadding,
    Augment,
    CenterCrop,
    Cutout,
    Draw,
    NoCrop,
    RandomBlur,
    RandomCrop,
    RandomDihedral,
    RandomFlip,
    RandomFlipXY,
    RandomLighting,
    RandomRotate,
    RandomRotateZoom,
    RandomScale,
    RandomStretch,
    RandomZoom,
    Scale,
    transforms_basic,
    transforms_side_on,
    transforms_top_down,
)
from learnkit.vision.cam import ClassActivationMap
from learnkit.vision.data import ImageClassifierData
from learnkit.vision.dataset import ImageDataset, image_stats
from learnkit.vision.images import open_image, verify_images
from learnkit.vision.interpret import ImageInterpretation
from learnkit.vision.learner import ConvLearner
from learnkit.vision.models import Stats, imagenet_stats
from learnkit.vision.prep import ImagePrep
from learnkit.vision.spec import ConvSpec
from learnkit.vision.transforms import CropType, ImageTransforms, tfms_from_model, tfms_from_stats

__all__ = [
    "AddPadding",
    "Augment",
    "CenterCrop",
    "ClassActivationMap",
    "ConvLearner",
    "ConvSpec",
    "CropType",
    "Cutout",
    "Draw",
    "ImageClassifierData",
    "ImageDataset",
    "ImageInterpretation",
    "ImagePrep",
    "ImageTransforms",
    "NoCrop",
    "RandomBlur",
    "RandomCrop",
    "RandomDihedral",
    "RandomFlip",
    "RandomFlipXY",
    "RandomLighting",
    "RandomRotate",
    "RandomRotateZoom",
    "RandomScale",
    "RandomStretch",
    "RandomZoom",
    "SaveFeatures",
    "Scale",
    "Stats",
    "get_cv_idxs",
    "image_stats",
    "imagenet_stats",
    "open_image",
    "plot_confusion_matrix",
    "plots",
    "tfms_from_model",
    "tfms_from_stats",
    "transforms_basic",
    "transforms_side_on",
    "transforms_top_down",
    "verify_images",
]
