"""The paper's fine-tuning: Dosovitskiy et al. 2021 (arXiv:2010.11929), table 4: SGD with momentum, 384 px, a head at zero, no decay."""

from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.image_run import FineTuning
from sigvit.training.recipe import Recipe

# Data → classes, steps, the learning rate (of the paper's range) that the original's README shows for B/16.
TASKS = {"cifar10": (10, 10_000, 0.01), "cifar100": (100, 10_000, 0.03), "imagenet": (1000, 20_000, 0.03)}


def recipe(data: str = "cifar10") -> FineTuning:
    if data not in TASKS:
        raise ValueError(f"There is no task {data!r} in the paper's fine-tuning; there are {', '.join(TASKS)}.")
    classes, steps, learning_rate = TASKS[data]
    return FineTuning(
        name=f"vit_finetuning:{data}",
        data=data,
        image_size=(384, 384),
        num_classes=classes,
        augmentation=ImageAugmentation(crop_area=(0.05, 1.0), flip=True, evaluation_resize=1.0),
        recipe=Recipe(
            steps=steps,
            batch_size=512,
            optimizer="sgd",
            learning_rate=learning_rate,
            weight_decay=0.0,
            warmup_steps=500,
            clip_norm=1.0,
            label_smoothing=0.0,
            ema_decay=0.0,
            validate_every=1000,
            dtype="bfloat16",
        ),
        expectation="From ImageNet-21k: CIFAR-10 B/16 99.02, L/16 99.14 %; ImageNet B/16 83.97 % (the original's README, the paper). Not run by us.",
    )
