"""MNIST (LeCun et al. 1998), 28 × 28 pixels, grey."""

from sigvit.training.augment_images import MNIST_MEAN, MNIST_STD, ImageAugmentation
from sigvit.training.image_run import ImageRun, ModelChoice, steps_of
from sigvit.training.recipe import Recipe


def recipe() -> ImageRun:
    return ImageRun(
        name="mnist",
        data="mnist",
        image_size=(28, 28),
        in_channels=1,
        num_classes=10,
        model=ModelChoice("Ti/7", width=96, depth=4, heads=4, mlp_width=192, pool="mean"),
        augmentation=ImageAugmentation(pad=2, mean=MNIST_MEAN, std=MNIST_STD),
        recipe=Recipe(
            steps=steps_of(10, 60_000, 128), batch_size=128, learning_rate=2e-3, warmup_steps=300, weight_decay=0.05, ema_decay=0.998, validate_every=1000
        ),
        expectation="99.1 % of the 10 000 test images, in about 8 minutes on one core (measured).",
    )
