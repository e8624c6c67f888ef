"""DeiT III on ImageNet alone: Touvron et al. 2022 (arXiv:2204.07118), 800 epochs, and the commands of facebookresearch/deit."""

from sigvit.training.augment_images import IMAGENET_MEAN, IMAGENET_STD, ImageAugmentation
from sigvit.training.image_run import ImageRun, ModelChoice, steps_of
from sigvit.training.recipe import Recipe

N_IMAGES, BATCH = 1_281_167, 2048
# Model → pixels, stochastic depth (the same in every block), learning rate.
MODELS = {"S/16": (224, 0.05, 4e-3), "B/16": (192, 0.2, 3e-3), "L/16": (192, 0.45, 3e-3), "H/14": (160, 0.6, 3e-3)}


def recipe(model: str = "B/16") -> ImageRun:
    if model not in MODELS:
        raise ValueError(f"DeiT III has no model {model!r}; it has {', '.join(MODELS)}.")
    pixels, stochastic_depth, learning_rate = MODELS[model]
    pixels -= pixels % int(model.partition("/")[2])  # H/14 at 160 px: the patch divides 154
    return ImageRun(
        name=f"deit_iii:{model}",
        data="imagenet",
        image_size=(pixels, pixels),
        model=ModelChoice(model, stochastic_depth=(stochastic_depth, stochastic_depth), layer_scale=1e-4),
        augmentation=ImageAugmentation(
            crop_area=(0.08, 1.0),
            flip=True,
            interpolation="bicubic",
            three_augment=True,
            colour_jitter=0.3,
            repeats=3,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            evaluation_resize=1.0,
        ),
        recipe=Recipe(
            steps=steps_of(800, N_IMAGES, BATCH),
            batch_size=BATCH,
            optimizer="lamb",
            learning_rate=learning_rate,
            weight_decay=0.05,
            final_factor=1e-5 / learning_rate,
            warmup_steps=steps_of(5, N_IMAGES, BATCH),
            clip_norm=1.0,
            mixup=0.8,
            cutmix=1.0,
            loss="binary",
            label_smoothing=0.0,
            ema_decay=0.0,
            validate_every=1000,
            dtype="bfloat16",
        ),
        expectation="S/16 81.4 % top-1; B 83.8, L 84.9, H 85.2 % after deit_iii_finetuning (facebookresearch/deit's README_revenge.md). Not trained by us.",
    )
