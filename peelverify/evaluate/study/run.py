"""Run a study stage by stage. Each finished stage is one file, so an interrupted study goes on where it stopped."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peelverify.errors import ArtifactError
from peelverify.evaluate.study.plan import TRAINING, Plan, Unit, read_json, write_atomic
from peelverify.evaluate.study.text import Texts, study_windows
from peelverify.models.save import new_directory
from peelverify.models.view import ModelView

__all__ = ["STAGES", "Subject", "collect", "run_study"]

STAGES = ("train", "measure", "predict", "rank", "compress", "again")
"""Stages of one model, in order."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model with its text.

    Attributes:
        view: the decoder, float32.
        rank: token ids (windows, length) to measure and rank on.
        final: token ids (windows, length) for the figures, from other documents.
        draws: token ids (draws, windows, length), further windows like ``rank``.
        train: token ids (windows, length) that it was trained on; empty for a given model.
        facts: sources, digests and numbers of the windows.
        directory: where it is saved.
    """

    view: ModelView
    rank: Tensor
    final: Tensor
    draws: Tensor
    train: Tensor
    facts: dict[str, Any]
    directory: Path


class _Study:
    def __init__(self, plan: Plan, folder: Path, trained: Path | None = None, device: str = "cpu") -> None:
        self.plan, self.folder, self.trained, self.device = plan, folder, trained, device
        self.digest = plan.digest()
        self._texts: dict[str, Texts] = {}

    def stage_file(self, unit: Unit, stage: str) -> Path:
        return self.folder / "stages" / f"{unit.name}.{stage}.json"

    def done(self, unit: Unit, stage: str) -> bool:
        path = self.stage_file(unit, stage)
        if not path.exists():
            return False
        read_json(path, lambda d: isinstance(d, dict) and d.get("plan_sha256") == self.digest and "result" in d)
        return True

    def texts(self, tokenizer: Any, length: int, train: bool) -> Texts:
        """Windows of one tokenizer; the same tokenizer is read once."""
        plan = self.plan
        key = f"{length} {train} {tokenizer.backend_tokenizer.to_str()}"
        if key not in self._texts:
            count = min(plan.steps * plan.batch, 6000) if train else 0
            self._texts[key] = study_windows(
                tokenizer,
                length=length,
                rank_tokens=plan.rank_tokens,
                final_tokens=plan.final_tokens,
                train_windows=count,
                text=plan.text,
                draws=plan.rank_draws,
            )
        return self._texts[key]

    def model_directory(self, unit: Unit) -> Path:
        return Path(unit.directory) if unit.directory is not None else self.folder / "models" / unit.name


def _trained_before(study: _Study, unit: Unit) -> dict[str, Any] | None:
    """Copy a model that another study trained in the same way; its stage file, or None if it has none.

    What it says of the text is that of this study, whose windows to rank and judge on may be others.
    """
    from peelverify.models.small import byte_tokenizer

    source = study.trained
    if source is None or unit.directory is not None:
        return None
    stage, model = source / "stages" / f"{unit.name}.train.json", source / "models" / unit.name
    if not stage.exists():
        return None
    if not (model / "config.json").exists():
        raise ArtifactError(f"{model} has no model, though {stage.name} says so; name the whole folder of a study")
    found = read_json(stage, lambda d: isinstance(d, dict) and {"seconds", "result"} <= set(d))
    facts = study.texts(byte_tokenizer(), study.plan.window, True).facts
    if found["result"].get("text", {}).get("ids_sha256", {}).get("train") != facts["ids_sha256"]["train"]:
        raise ArtifactError(
            f"{model} was trained on other text, perhaps that of another version of Python; train anew"
        )
    with new_directory(study.model_directory(unit)) as part:
        shutil.copytree(model, part, dirs_exist_ok=True)
    return {
        "seconds": found["seconds"], "cpu_seconds": found.get("cpu_seconds"),
        "result": found["result"] | {"text": facts, "taken": True},
    }


def _train(study: _Study, unit: Unit, say: Callable[[str], None]) -> dict[str, Any]:
    """Train a decoder, or take a given directory; either way report its family and size."""
    from peelverify.models import load_model, save_model
    from peelverify.models.small import byte_tokenizer, small_decoder, train_decoder

    plan = study.plan
    target = study.model_directory(unit)
    curve: list[float] = []
    facts: dict[str, Any] = {}
    if unit.directory is None:
        tokenizer = byte_tokenizer()
        texts = study.texts(tokenizer, plan.window, True)
        view = small_decoder(
            unit.family, blocks=plan.blocks, width=plan.width, heads=plan.heads, length=plan.window, seed=unit.seed
        )
        view.model.to(study.device)

        def report(step: int, loss: float) -> None:
            if step % 50 == 0:
                say(f"{unit.name}: step {step} of {plan.steps}, training loss {loss:.3f} nats a token")

        curve = train_decoder(
            view,
            texts.train,
            steps=plan.steps,
            batch=plan.batch,
            learning_rate=plan.learning_rate,
            seed=unit.seed,
            on_step=report,
        )
        if target.exists():
            raise ArtifactError(f"{target} exists already, without its stage file; remove it and run the study again")
        target.parent.mkdir(parents=True, exist_ok=True)
        save_model(view, target, tokenizer=tokenizer)
        facts = texts.facts
    else:
        view = load_model(target)
    return {
        "family": view.config.model_type,
        "blocks": view.depth,
        "width": view.width,
        "parameters": sum(p.numel() for p in view.model.parameters()),
        "text": facts,
        "trained_here": unit.directory is None,
        "loss_curve_nats_per_token": curve,
    }


def _subject(study: _Study, unit: Unit) -> Subject:
    from peelverify.models import load_model, load_tokenizer

    directory = study.model_directory(unit)
    view = load_model(directory, device=study.device)
    longest = int(getattr(view.config, "max_position_embeddings", None) or study.plan.window)
    texts = study.texts(load_tokenizer(directory), min(study.plan.window, longest), unit.directory is None)
    return Subject(view, texts.rank, texts.final, texts.draws, texts.train, texts.facts, directory)


def run_study(
    plan: Plan,
    folder: str | os.PathLike[str],
    *,
    say: Callable[[str], None] = lambda line: None,
    only: tuple[str, ...] = STAGES,
    minutes: float | None = None,
    trained: str | os.PathLike[str] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Run what is missing of a study and join what is there.

    Args:
        plan: what to do. A folder that holds another plan is refused.
        folder: made if it is not there. ``plan.json``, ``stages/``, ``models/`` and ``results.json`` go into it.
        say: called with a line of progress now and then.
        only: stages to run; what they need must be there.
        minutes: stop before a stage that starts after so many minutes; the rest runs next time.
        trained: folder of an earlier study whose models were trained with the same options; they are copied, with
            the seconds that they took then. What it lacks is trained.
        device: torch device on which models are trained and measured, in float32; each stage says which.

    Returns:
        The joined results, as in ``results.json``; see `collect`.

    Raises:
        ArtifactError: the folder belongs to another study, or cannot be written; ``trained`` is no study, or trained
            its models in another way.
    """
    from peelverify.evaluate.study.stages import RUN

    folder = Path(folder)
    start = time.monotonic()
    if trained is not None:
        # a plan of another version will do if it trains alike
        other = read_json(Path(trained) / "plan.json", lambda d: isinstance(d, dict))
        differ = [n for n in TRAINING if other.get(n) != getattr(plan, n)]
        if differ:
            raise ArtifactError(f"{trained} has models trained with another {', '.join(differ)}; train anew, or match")
    try:
        (folder / "stages").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be written ({error.strerror}); choose another folder") from error
    study = _Study(plan, folder, None if trained is None else Path(trained), device)
    path = folder / "plan.json"
    if path.exists():
        if Plan.from_json(read_json(path)).digest() != study.digest:
            raise ArtifactError(f"{folder} holds a study with another plan; choose another, or repeat its options")
    else:
        if any(p.name != "stages" for p in folder.iterdir()):
            raise ArtifactError(f"{folder} is not empty and holds no study; choose another folder")
        write_atomic(path, plan.to_json())
    late = False
    for unit in plan.units():
        subject: Subject | None = None
        for stage in STAGES:
            if stage not in only or study.done(unit, stage):
                continue
            if minutes is not None and time.monotonic() - start > 60 * minutes:
                late = True
                break
            began, began_cpu = time.monotonic(), time.process_time()
            say(f"{unit.name}: {stage}")
            taken = _trained_before(study, unit) if stage == "train" else None
            if taken is not None:
                result = taken["result"]
            elif stage == "train":
                result = _train(study, unit, say)
            else:
                if not study.done(unit, "train"):
                    raise ArtifactError(f"the stage {stage} of {unit.name} needs its model; run the stage train first")
                subject = subject or _subject(study, unit)
                before = {s: read_json(study.stage_file(unit, s))["result"] for s in STAGES if study.done(unit, s)}
                result = RUN[stage](plan, unit, subject, before)
            write_atomic(
                study.stage_file(unit, stage),
                {
                    "plan_sha256": study.digest,
                    "unit": unit.name,
                    "stage": stage,
                    "threads": torch.get_num_threads(),
                    "device": device,
                    "seconds": time.monotonic() - began if taken is None else taken["seconds"],
                    "cpu_seconds": time.process_time() - began_cpu if taken is None else taken["cpu_seconds"],
                    "result": result,
                },
            )
    if late:
        say(f"stopped after {minutes:g} minutes; run the same command again to go on")
    results = collect(folder)
    write_atomic(folder / "results.json", results)
    return results


def collect(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Join the stage files of a study.

    Returns:
        Schema ``peelverify.study/1``: the plan, the machine, minutes a stage, and for each model the results of its
        finished stages.
    """
    folder = Path(folder)
    plan = Plan.from_json(read_json(folder / "plan.json"))
    study = _Study(plan, folder)
    models = []
    threads: set[int] = set()
    devices: set[str] = set()
    for unit in plan.units():
        done = {s: read_json(study.stage_file(unit, s)) for s in STAGES if study.done(unit, s)}
        threads |= {d["threads"] for d in done.values() if "threads" in d}
        devices |= {d["device"] for d in done.values() if "device" in d}
        if done:
            models.append(
                {
                    "unit": unit.name,
                    "family": unit.family,
                    "seed": unit.seed,
                    "seconds": {s: d["seconds"] for s, d in done.items()},
                    "cpu_seconds": {s: d.get("cpu_seconds") for s, d in done.items()},
                }
                | {s: d["result"] for s, d in done.items()}
            )
    seconds = {s: sum(m["seconds"].get(s, 0.0) for m in models) for s in STAGES}
    return {
        "schema": "peelverify.study/1",
        "plan": {k: v for k, v in plan.to_json().items() if k not in ("models", "text")},
        "given_models": len(plan.models),
        "given_text": plan.text is not None,
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "threads": max(threads, default=torch.get_num_threads()),  # of the stages; of this run if they do not say
            "processor": platform.machine(),
            "devices": sorted(devices),
        },
        "minutes": {s: t / 60 for s, t in seconds.items()} | {"all": sum(seconds.values()) / 60},
        "models": models,
    }
