"""The paper's training on ImageNet alone: Dosovitskiy et al. 2021 (arXiv:2010.11929), table 3."""

from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.image_run import ImageRun, ModelChoice, steps_of
from sigvit.training.recipe import Recipe

N_IMAGES, BATCH = 1_281_167, 4096


def recipe(model: str = "B/16") -> ImageRun:
    return ImageRun(
        name=f"vit_imagenet:{model}",
        data="imagenet",
        model=ModelChoice(model, gelu="tanh", representation=True, dropout=0.1),
        augmentation=ImageAugmentation(crop_area=(0.05, 1.0), flip=True),
        recipe=Recipe(
            steps=steps_of(300, N_IMAGES, BATCH),
            batch_size=BATCH,
            learning_rate=3e-3,
            weight_decay=0.3,
            warmup_steps=10_000,
            clip_norm=1.0,
            label_smoothing=0.0,
            ema_decay=0.0,
            validate_every=1000,
            dtype="bfloat16",
        ),
        expectation="B/16 fine-tuned at 384 px: 77.91 % top-1 (the paper, table 5). Not trained by us; `sigvit cost vit_imagenet` says what it takes.",
    )
