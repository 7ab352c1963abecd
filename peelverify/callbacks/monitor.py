"""`PeelMonitor`: YES bounds during training, within a share of its time and without touching it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peelverify.callbacks.shadow import Shadow, undisturbed
from peelverify.callbacks.writers import Writer
from peelverify.errors import InputError, NonFiniteError, NumericalError
from peelverify.models.view import ModelView
from peelverify.peel.cloud import GREEN_WORDS, CloudPoint, CloudSeries
from peelverify.peel.forward import trace_windows
from peelverify.peel.maps import Map, all_last, check_maps, direct, staircase
from peelverify.peel.run import thin
from peelverify.peel.solvers import Solver, solver_named
from peelverify.peel.transformer import TransformerYes, yes_chain
from peelverify.verdict import Status

__all__ = ["Advice", "PeelMonitor", "Reading"]


class _OutOfTime(Exception):
    """The allowance of a reading was used up between two fits."""


@dataclass(frozen=True)
class Reading:
    """What one reading found.

    Attributes:
        step: training step.
        point: loss and bounds (loss measured, bounds witnessed); None if the model or a fit gave no numbers.
        scalars: what the writers got.
        note: one sentence for people.
        seconds: time that training waited for it.
    """

    step: int
    point: CloudPoint | None
    scalars: dict[str, float]
    note: str
    seconds: float

    @property
    def status(self) -> Status | None:
        """Status against the bounds of this step alone; None after divergence."""
        return None if self.point is None else self.point.status_now


@dataclass(frozen=True)
class Advice:
    """What the readings so far say about stopping. Advice only: the monitor never stops a training.

    Attributes:
        may_stop: the last readings were all GREEN and the loss has stopped falling.
        text: why, in one or two sentences.
    """

    may_stop: bool
    text: str


class PeelMonitor:
    """Evaluate YES chains on a fixed probe while a decoder trains.

    Readings are made from a private eager float32 copy that takes the current weights, so the state of
    training (weights, gradients, modes, hooks, generators, compiled graphs) stays bit for bit what it was. In a
    distributed job only rank 0 reads; no process waits at a barrier.

    Args:
        probe: token ids (windows, length), at least 2 windows; every second window fits the chains, the others
            decide. Copied at once, so it stays the same throughout.
        every: read when this many steps have passed since the last reading; as often as the time allows if None.
        time_fraction: largest share of training time, in (0, 1]; None for no limit. A reading whose expected time
            does not fit is put off, one that takes longer than is left is given up between two fits.
        layers: regular expression searched in the names of blocks (``model.layers.3``): only these are landmarks of
            maps and have scalars of their own. All if None.
        maps: maps to try; all-last, direct and the single landmarks allowed by ``layers`` if None.
        solver: solver of `yes_chain`, by name or as an object.
        budget: steps of the named solver.
        seed: seed of the fresh weights of chains.
        writers: where scalars go; see `peelverify.callbacks.writers`.
        patience: readings in a row that must be GREEN before `advice` mentions stopping.
        min_improvement: fall of the loss over these readings, in nats a token, below which it counts as flat.
        clock: seconds as a function; for tests.

    Raises:
        InputError: a probe, share or expression that cannot be used.
    """

    def __init__(
        self,
        probe: Tensor,
        *,
        every: int | None = None,
        time_fraction: float | None = 0.03,
        layers: str | None = None,
        maps: Iterable[Iterable[int]] | None = None,
        solver: str | Solver = "closed-form",
        budget: int | None = None,
        seed: int = 0,
        writers: Sequence[Writer] = (),
        patience: int = 5,
        min_improvement: float = 1e-3,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if probe.ndim != 2 or len(probe) < 2 or probe.shape[1] < 2 or probe.is_floating_point():
            raise InputError(
                f"PeelMonitor needs a probe of token ids (windows, length), at least (2, 2), got shape "
                f"{tuple(probe.shape)} and dtype {probe.dtype}; see peelverify.data.windows"
            )
        if every is not None and every < 1:
            raise InputError(f"PeelMonitor needs every >= 1 step, got {every}; None means as time allows")
        if time_fraction is not None and not 0 < time_fraction <= 1:
            raise InputError(
                f"PeelMonitor needs a time_fraction in (0, 1], got {time_fraction}; None means no limit"
            )
        if every is None and time_fraction is None:
            raise InputError("PeelMonitor needs every or time_fraction, got neither; it would read at every step")
        if patience < 1:
            raise InputError(f"PeelMonitor needs patience >= 1, got {patience}; give a number of readings")
        try:
            self._layers = None if layers is None else re.compile(layers)
        except re.error as error:
            raise InputError(f"PeelMonitor needs a regular expression for layers, got {layers!r} ({error})") from error
        self._fit, self._decide = (part.clone() for part in thin(probe.detach().cpu(), len(probe) // 2))
        self.every, self.time_fraction = every, time_fraction
        self._maps = None if maps is None else [tuple(m) for m in maps]
        self._solver = solver_named(solver, budget)
        self._seed, self._writers = seed, list(writers)
        self.patience, self.min_improvement = patience, min_improvement
        self._clock = clock
        self._shadow: Shadow | None = None
        self._shadow_of: int | None = None
        self._started: float | None = None
        self._last_step: int | None = None
        self._last_read: int | None = None
        self._expected = 0.0
        self._closed = False
        #: Seconds that training has waited for the monitor, given-up readings included.
        self.seconds = 0.0
        #: Readings put off because their expected time did not fit.
        self.put_off = 0
        #: Readings given up half way because they took longer than was left.
        self.given_up = 0
        self.readings: list[Reading] = []
        self.series = CloudSeries("nats_per_token", {
            "solver": self._solver.name, "budget": dict(self._solver.budget), "seed": seed,
            "fitted_tokens": self._fit[:, 1:].numel(), "deciding_tokens": self._decide[:, 1:].numel(),
            "window_tokens": int(probe.shape[1]), "decided_on": "held-out tokens",
        })

    @property
    def training_seconds(self) -> float:
        """Seconds since the first step, without those of the monitor."""
        return 0.0 if self._started is None else self._clock() - self._started - self.seconds

    @property
    def share_fraction(self) -> float:
        """Measured share: seconds of the monitor over seconds of training; 0 before any."""
        return self.seconds / self.training_seconds if self.training_seconds > 0 else 0.0

    def step(self, model: nn.Module, step: int) -> Reading | None:
        """Tell the monitor that a step is over; it decides whether to read.

        Call it after ``optimizer.step()``, or after every backward pass with the number of optimiser steps: calls
        with a step that was seen already do nothing, so accumulation needs no care.

        Args:
            model: the model in training: a decoder, compiled or distributed, or a module that holds one.
            step: number of optimiser steps so far; must not decrease.

        Returns:
            The reading, or None if none was due or allowed, or in a process of rank above 0.

        Raises:
            InputError: the step decreased, or the model is not one that can be read.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return None
        if self._last_step is not None and step <= self._last_step:
            if step < self._last_step:
                raise InputError(
                    f"PeelMonitor.step needs steps that do not decrease, got {step} after {self._last_step}; "
                    "make a new monitor for a new run"
                )
            return None
        self._last_step = step
        if self._started is None:
            self._started = self._clock()
        if self.every is not None and self._last_read is not None and step - self._last_read < self.every:
            return None
        if self.every is not None and self._last_read is None and step % self.every:
            return None
        return self._read_if_allowed(model, step)

    def _allowance(self) -> float:
        if self.time_fraction is None:
            return float("inf")
        return self.time_fraction * self.training_seconds - self.seconds

    def _read_if_allowed(self, model: nn.Module, step: int) -> Reading | None:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()  # what is still queued is training time
        left = self._allowance()
        if left <= 0 or left < self._expected:
            self.put_off += 1
            return None
        start = begun = self._clock()
        try:
            with undisturbed():
                if self._shadow is None or self._shadow_of != id(model):
                    self._shadow, self._shadow_of = Shadow(model), id(model)
                    begun = self._clock()  # the copy is made once, so it says nothing about the next reading
                found = self._measure(self._shadow.take(model), step, start + left)
        except _OutOfTime:
            self.given_up += 1
            self._expected = 2 * max(left, self._clock() - begun)
            return None
        finally:
            self.seconds += self._clock() - start
        spent = self._clock() - begun
        self._expected = spent
        self._last_read = step
        point, scalars, note = found
        scalars["peel/seconds"] = spent
        scalars["peel/share_fraction"] = self.share_fraction
        reading = Reading(step, point, scalars, note, spent)
        self.readings.append(reading)
        for writer in self._writers:
            writer.write(step, scalars, note)
        return reading

    def _measure(
        self, view: ModelView, step: int, deadline: float
    ) -> tuple[CloudPoint | None, dict[str, float], str]:
        def on_progress(done: int, total: int, what: str) -> None:
            if self._clock() > deadline:
                raise _OutOfTime

        on_progress(0, 0, "")
        names = self._names(view)
        suite = self._suite(view, names)
        fit, decide = self._fit.to(view.device), self._decide.to(view.device)
        try:
            trace = trace_windows(view, decide)
            on_progress(0, 0, "")
            found = yes_chain(
                view, fit, held_out=decide, maps=suite, solver=self._solver, seed=self._seed, keep="best",
                on_progress=on_progress,
            )
        except (NonFiniteError, NumericalError) as error:
            return None, {"peel/diverged": 1.0}, f"no reading at step {step}: {error}"
        contribution = {
            name: float((trace.states[i + 1] - trace.states[i]).norm() / trace.states[i].norm())
            for i, name in names.items()
        }
        point = self.series.add(f"step {step}", found.deciding_loss, found, step=step, refit=found.refit, extra={
            "contribution": contribution,
            "maps": [{"map": list(m), "loss": c.loss, "gap": c.gap, "gap_error": c.gap_error}
                     for m, c in found.chains.items()],
        })
        return point, self._scalars(point, found, names, contribution), self._note(point)

    def _names(self, view: ModelView) -> dict[int, str]:
        names = {i: f"{view.family.blocks}.{i}" for i in range(view.depth)}
        if self._layers is not None:
            names = {i: n for i, n in names.items() if self._layers.search(n)}
            if not names:
                raise InputError(
                    f"PeelMonitor needs layers that match a block, got {self._layers.pattern!r}; blocks are "
                    f"{view.family.blocks}.0 to {view.family.blocks}.{view.depth - 1}"
                )
        return names

    def _suite(self, view: ModelView, names: dict[int, str]) -> list[Map]:
        if self._maps is not None:
            return check_maps(self._maps, view.depth)
        single = [staircase([i + 1], view.depth) for i in names if i + 1 < view.depth]
        return check_maps([all_last(view.depth), direct(view.depth), *single], view.depth)

    def _scalars(
        self, point: CloudPoint, found: TransformerYes, names: dict[int, str], contribution: dict[str, float]
    ) -> dict[str, float]:
        out = {
            "peel/loss": point.loss, "peel/yes0": point.yes0, "peel/best": point.best,
            "peel/gap": point.loss - point.best, "peel/refit": found.refit,
            "peel/status": {"RED": 0.0, "YELLOW": 1.0, "GREEN": 2.0}[point.status_now.name], "peel/diverged": 0.0,
        }
        chain = found.chains.get(direct(len(found.best_map)))
        for index, name in names.items():
            out[f"peel/contribution/{name}"] = contribution[name]
            if chain is not None:
                out[f"peel/residual_direct/{name}"] = chain.residuals[index]
        return out

    @staticmethod
    def _note(point: CloudPoint) -> str:
        status = point.status_now
        meaning = GREEN_WORDS if status is Status.GREEN else status.meaning
        return (
            f"{status.name} at {point.label}: loss {point.loss:.4f} (measured), YES-0 {point.yes0:.4f}, best "
            f"{point.best:.4f} (witnessed), nats a token; {meaning}"
        )

    def advice(self) -> Advice:
        """What the readings so far say about stopping."""
        if not self.readings:
            return Advice(False, "no reading yet: nothing is known")
        last = self.readings[-1]
        if last.point is None:
            return Advice(False, f"{last.note}; training has diverged or the probe is damaged: look before going on")
        points = [r.point for r in self.readings]
        status = last.point.status_now
        if status is not Status.GREEN:
            bound, name = (
                (last.point.yes0, "YES-0") if status is Status.RED else (last.point.best, "the best witness")
            )
            return Advice(False, (
                f"{status.name}: the loss is {last.point.loss - bound:.4f} nats a token above {name}, a network "
                "that was built and evaluated, so this model is not the best one on these tokens; go on training, or "
                "look at the learning rate and the blocks"
            ))
        recent = points[-self.patience :]
        row = [p for p in recent if p is not None and p.status_now is Status.GREEN]
        if len(row) < self.patience:
            return Advice(False, f"{GREEN_WORDS}. That does not say that training has converged; go on")
        fell = row[0].loss - row[-1].loss
        if fell > self.min_improvement:
            return Advice(False, f"{GREEN_WORDS}, and the loss fell by {fell:.4f} over these readings; go on")
        return Advice(True, (
            f"{GREEN_WORDS}, in {self.patience} readings in a row, and the loss fell by only {fell:.4f} nats a token "
            "over them. This suite has nothing more to say; it does not say that training has converged. Stopping is "
            "your choice"
        ))

    def close(self) -> None:
        """Close the writers and drop the copy of the model; safe to call twice."""
        if not self._closed:
            self._closed = True
            for writer in self._writers:
                writer.close()
        self._shadow = None
