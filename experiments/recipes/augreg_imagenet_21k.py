"""AugReg's pre-training on ImageNet-21k with "medium2": Steiner et al. 2022 (arXiv:2106.10270), and the configurations of google-research/big_vision."""

from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.image_run import ImageRun, ModelChoice, steps_of
from sigvit.training.recipe import Recipe

N_IMAGES, CLASSES, BATCH = 14_197_122, 21_843, 4096


def recipe(model: str = "B/16") -> ImageRun:
    small = model.startswith(("Ti", "S"))
    rate = 0.0 if small else 0.1
    return ImageRun(
        name=f"augreg_imagenet_21k:{model}",
        data="imagenet21k",
        num_classes=CLASSES,
        model=ModelChoice(model, gelu="tanh", dropout=rate, stochastic_depth=rate, head_bias=-10.0),
        augmentation=ImageAugmentation(crop_area=(0.05, 1.0), flip=True, randaugment_layers=2, randaugment_magnitude=15),
        recipe=Recipe(
            steps=steps_of(300, N_IMAGES, BATCH),
            batch_size=BATCH,
            learning_rate=1e-3,
            weight_decay=0.03 if small else 0.1,
            warmup_steps=10_000,
            clip_norm=1.0,
            mixup=0.5,
            loss="sigmoid",
            label_smoothing=0.0,
            ema_decay=0.0,
            validate_every=1000,
            dtype="bfloat16",
        ),
        expectation="Fine-tuned on ImageNet at 384 px: Ti 78.22, S 83.73, B 85.49, L 85.59 % top-1 (the paper's released models). Not trained by us.",
    )
