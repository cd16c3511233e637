"""What the demo asks of the model before and after: prompts with the trigger word, and prompts of the base's own."""

from random import Random

from tehon.demo.mofu import TRIGGER
from tehon.demo.scenes import BACKGROUNDS, COLOURS
from tehon.demo.shapes import SHAPES

SHOWN = (
    f"{TRIGGER} in the middle on a mint background",
    f"a picture of {TRIGGER} on the left on a striped navy background",
    "a red star on a beige background",
    "a big blue heart on a white background",
)
CONCEPT = (
    f"{TRIGGER} on a white background",
    f"{TRIGGER} in the middle on a navy background",
    f"a picture of {TRIGGER} on a dotted beige background",
    f"{TRIGGER} on a striped gray background",
)


def concept_prompts(count: int) -> list[str]:
    """Prompts with the trigger word, in turn."""
    return [CONCEPT[number % len(CONCEPT)] for number in range(count)]


def control_prompts(count: int, seed: int = 11) -> tuple[list[str], list[tuple[str, str]]]:
    """Prompts for single things as the base learned them, and the (colour, shape) that each asks for."""
    rng = Random(f"control {seed}")
    wanted = [(rng.choice(list(COLOURS)), rng.choice(list(SHAPES))) for _ in range(count)]
    grounds = [rng.choice(list(BACKGROUNDS)) for _ in range(count)]
    prompts = [
        f"{'an' if colour == 'orange' else 'a'} {colour} {shape} in the middle on a {ground} background"
        for (colour, shape), ground in zip(wanted, grounds, strict=True)
    ]
    return prompts, wanted
