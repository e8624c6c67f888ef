"""CIFAR-10 (Krizhevsky 2009), 32 × 32 pixels, a plain ViT with linear patches from scratch."""

from sigvit.training.augment_images import CIFAR10_MEAN, CIFAR10_STD, ImageAugmentation
from sigvit.training.image_run import ImageRun, ModelChoice, steps_of
from sigvit.training.recipe import Recipe


def recipe() -> ImageRun:
    return ImageRun(
        name="cifar10",
        data="cifar10",
        image_size=(32, 32),
        in_channels=3,
        num_classes=10,
        model=ModelChoice("Ti/4", width=96, depth=6, heads=4, mlp_width=192, pool="mean"),
        augmentation=ImageAugmentation(pad=4, flip=True, mean=CIFAR10_MEAN, std=CIFAR10_STD),
        recipe=Recipe(
            steps=steps_of(15, 10_000, 128),
            batch_size=128,
            learning_rate=1.5e-3,
            warmup_steps=200,
            weight_decay=0.05,
            ema_decay=0.998,
            mixup=0.2,
            validate_every=1000,
        ),
        expectation="47.2 % of 2 000 test images after 14 minutes on one core (measured), on a JPEG subset of 10 000 (15 epochs); no published score compares.",
    )
