"""The better plain ViT: S/16 on ImageNet in 90 epochs, Beyer et al. 2022 (arXiv:2205.01580)."""

from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.image_run import ImageRun, ModelChoice, steps_of
from sigvit.training.recipe import Recipe

N_IMAGES, BATCH = 1_281_167, 1024


def recipe(epochs: str = "90") -> ImageRun:
    return ImageRun(
        name=f"plain_s16:{epochs}",
        data="imagenet",
        model=ModelChoice("S/16", gelu="tanh", pool="mean", positions="sincos"),
        augmentation=ImageAugmentation(crop_area=(0.05, 1.0), flip=True, randaugment_layers=2, randaugment_magnitude=10),
        recipe=Recipe(
            steps=steps_of(float(epochs), N_IMAGES, BATCH),
            batch_size=BATCH,
            learning_rate=1e-3,
            weight_decay=0.1,
            warmup_steps=10_000,
            clip_norm=1.0,
            mixup=0.2,
            label_smoothing=0.0,
            ema_decay=0.0,
            validate_every=1000,
            dtype="bfloat16",
        ),
        expectation="90, 150, 300 epochs: 76.5, 78.5, 80.0 % top-1 (the paper); 90 in PyTorch 76.9 (EIFY/mup-vit). Not trained by us.",
    )
