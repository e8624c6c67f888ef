"""DeiT III's last 20 epochs on ImageNet: Touvron et al. 2022 (arXiv:2204.07118), and the commands of facebookresearch/deit (README_revenge.md)."""

from sigvit.training.augment_images import IMAGENET_MEAN, IMAGENET_STD, ImageAugmentation
from sigvit.training.image_run import FineTuning, steps_of
from sigvit.training.recipe import Recipe

N_IMAGES, BATCH = 1_281_167, 512
# The model that starts it → pixels, stochastic depth (the same in every block). S/16 was trained at 224 px already.
MODELS = {"S/16": (384, 0.0), "B/16": (224, 0.2), "L/16": (224, 0.45), "H/14": (224, 0.55)}


def recipe(model: str = "B/16") -> FineTuning:
    if model not in MODELS:
        raise ValueError(f"DeiT III has no model {model!r}; it has {', '.join(MODELS)}.")
    pixels, stochastic_depth = MODELS[model]
    return FineTuning(
        name=f"deit_iii_finetuning:{model}",
        data="imagenet",
        image_size=(pixels, pixels),
        stochastic_depth=(stochastic_depth, stochastic_depth),
        augmentation=ImageAugmentation(
            crop_area=(0.08, 1.0),
            flip=True,
            interpolation="bicubic",
            randaugment_layers=2,
            randaugment_magnitude=9,  # theirs varies it from image to image, by 0.5
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            evaluation_resize=1.0,
        ),
        recipe=Recipe(
            steps=steps_of(20, N_IMAGES, BATCH),
            batch_size=BATCH,
            learning_rate=1e-5,
            weight_decay=0.1,
            schedule="constant",  # their cosine ends at 1e-5, where it begins
            warmup_steps=steps_of(5, N_IMAGES, BATCH),
            clip_norm=float("inf"),
            mixup=0.8,
            cutmix=1.0,
            label_smoothing=0.1,
            ema_decay=0.0,
            validate_every=1000,
            dtype="bfloat16",
        ),
        expectation="After deit_iii: B 83.8, L 84.9, H 85.2 % top-1 at 224 px, S 83.4 % at 384 px (facebookresearch/deit's README_revenge.md). Not run by us.",
    )
