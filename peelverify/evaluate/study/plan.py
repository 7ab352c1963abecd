"""What a study does: which models, which text, how many tokens. A resumed study must have the same plan."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from peelverify.errors import ArtifactError, DomainError, InputError

__all__ = ["PRESETS", "Plan", "Unit", "read_json", "write_atomic"]

FAMILIES = ("llama", "gpt2", "qwen2")
TRAINING = ("blocks", "width", "heads", "window", "steps", "batch", "learning_rate")


@dataclass(frozen=True)
class Unit:
    """One trained model: the unit of inference of a study.

    Attributes:
        name: name of its files, e.g. ``llama-0``.
        family: family that was trained, or the name of a given directory's family once it is read.
        seed: seed of initialisation, of the draw of windows and of all noise.
        directory: a given model directory; None if the study trains the model.
    """

    name: str
    family: str
    seed: int
    directory: str | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that decides the results of a study, apart from the versions of the libraries.

    Attributes:
        families: families to train; see `peelverify.models.small.small_decoder`.
        seeds: models a family, >= 1; intervals over models need 3.
        models: model directories to take as they are, in place of training.
        text: UTF-8 file to measure on; None for the text that ships with Python.
        blocks, width, heads: size of the trained models.
        window: tokens a window.
        steps, batch, learning_rate: training.
        rank_tokens: tokens for measuring, ranking and calibrating.
        rank_draws: draws of so many tokens on which greedy chooses anew, the first of which is that of all criteria.
        final_tokens: tokens for the figures, on documents that the ranking did not see.
        draws: noise draws of rho.
        random_orders: random orders of removal, scored on ``rank_tokens`` tokens of the final text.
        bits: bits of round to nearest in the test of the prediction.
        sparsities: total sparsities at which schedules are compared.
        strength: half of the largest difference of sparsity between blocks.
        pruner: "wanda", "magnitude" or "sparsegpt", for the schedules.
        permutations: permutations for each p.
    """

    families: tuple[str, ...] = FAMILIES
    seeds: int = 3
    models: tuple[str, ...] = ()
    text: str | None = None
    blocks: int = 8
    width: int = 96
    heads: int = 4
    window: int = 128
    steps: int = 3000
    batch: int = 4
    learning_rate: float = 1.5e-3
    rank_tokens: int = 8192
    rank_draws: int = 8
    final_tokens: int = 32768
    draws: int = 8
    random_orders: int = 20
    bits: int = 3
    sparsities: tuple[float, ...] = (0.5, 0.7)
    strength: float = 0.08
    pruner: str = "wanda"
    permutations: int = 2000

    def __post_init__(self) -> None:
        least = {
            "seeds": 1,
            "blocks": 2,
            "width": 1,
            "heads": 1,
            "window": 2,
            "steps": 1,
            "batch": 1,
            "rank_tokens": 2,
            "rank_draws": 1,
            "final_tokens": 2,
            "draws": 1,
            "random_orders": 1,
            "bits": 2,
            "permutations": 1,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise DomainError(f"a study needs {name} >= {low}, got {getattr(self, name)}; see the presets")
        for family in self.families:
            if family not in FAMILIES:
                raise InputError(f"--families needs names among {', '.join(FAMILIES)}, got {family!r}; name one")
        if not self.families and not self.models:
            raise InputError("a study needs families or model directories, got none; give --families or --models")
        if len(set(self.families)) != len(self.families) or len(set(self.models)) != len(self.models):
            raise InputError("a study needs each family and each model once, got one twice; drop the second")

    def units(self) -> list[Unit]:
        """The models, families innermost: a study that is stopped early has as many of each family."""
        if self.models:
            return [Unit(f"model-{i}", Path(path).name, i, path) for i, path in enumerate(self.models)]
        return [Unit(f"{family}-{seed}", family, seed) for seed in range(self.seeds) for family in self.families]

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.study-plan/1``."""
        return {"schema": "peelverify.study-plan/1"} | json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """Read back what `to_json` wrote.

        Raises:
            ArtifactError: not such a plan.
        """
        try:
            kept = {f.name: data[f.name] for f in fields(cls)}
        except (KeyError, TypeError) as error:
            raise ArtifactError("plan.json is not the plan of a study; start a new study in another folder") from error
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})

    def digest(self) -> str:
        """SHA-256 of the plan, which every stage file repeats."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def changed(self, **options: Any) -> Plan:
        """A copy with some options changed; None leaves an option as it is."""
        return replace(self, **{k: v for k, v in options.items() if v is not None})


PRESETS: dict[str, Plan] = {
    "tiny": Plan(
        seeds=2,
        blocks=4,
        width=16,
        heads=2,
        window=32,
        steps=12,
        batch=8,
        learning_rate=3e-3,
        rank_tokens=128,
        rank_draws=3,
        final_tokens=256,
        draws=2,
        random_orders=3,
        sparsities=(0.5,),
        permutations=50,
    ),
    "small": Plan(),
    "standard": Plan(blocks=12, width=256, heads=8, window=256, steps=3000, batch=32, learning_rate=1e-3),
    "pretrained": Plan(families=(), models=("MODEL",), window=1024, rank_draws=4),
}
"""Name -> plan. "tiny" shows that it runs; "small" fits one core in two hours; "standard" wants an accelerator."""


def write_atomic(path: Path, data: Any) -> None:
    """Write JSON to a temporary neighbour and rename it, so that a file is whole or not there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written ({error.strerror}); check the folder") from error
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path, check: Callable[[Any], bool] = lambda data: True) -> Any:
    """Read a JSON file of a study.

    Raises:
        ArtifactError: it cannot be read, is not JSON, or is not what ``check`` wants.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read as JSON; remove it and run the study again") from error
    if not check(data):
        raise ArtifactError(f"{path} belongs to another study; choose another folder or remove it")
    return data
