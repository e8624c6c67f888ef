"""The paper's pre-training on ImageNet-21k: Dosovitskiy et al. 2021 (arXiv:2010.11929), table 3, and google-research/vision_transformer#2."""

from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.image_run import ImageRun, ModelChoice, steps_of
from sigvit.training.recipe import Recipe

N_IMAGES, CLASSES, BATCH = 14_197_122, 21_843, 4096


def recipe(model: str = "B/16") -> ImageRun:
    return ImageRun(
        name=f"vit_imagenet_21k:{model}",
        data="imagenet21k",
        num_classes=CLASSES,
        model=ModelChoice(model, gelu="tanh", representation=True, dropout=0.1, head_bias=-10.0),
        augmentation=ImageAugmentation(crop_area=(0.05, 1.0), flip=True),
        recipe=Recipe(
            steps=steps_of(90, N_IMAGES, BATCH),
            batch_size=BATCH,
            learning_rate=1e-3,
            weight_decay=0.03,
            schedule="linear",
            final_factor=0.01,
            warmup_steps=10_000,
            clip_norm=float("inf"),
            loss="sigmoid",
            label_smoothing=0.0,
            ema_decay=0.0,
            validate_every=1000,
            dtype="bfloat16",
        ),
        expectation="B/16 then fine-tuned on ImageNet at 384 px: 83.97 % top-1 (the paper). Not trained by us; see `sigvit cost vit_imagenet_21k`.",
    )
