"""The status cloud and the command: series, file, picture, exit statuses."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from peelverify.errors import ArtifactError, InputError, NonFiniteError
from peelverify.models import load_model, save_model
from peelverify.models.small import small_decoder
from peelverify.peel.cloud import GREEN_WORDS, CloudSeries, plot_cloud
from peelverify.verdict import Status


@dataclass
class Bounds:
    """Bounds of a made-up checkpoint."""

    yes0: float
    best: float
    best_map: tuple[int, ...] = (1, 2)
    by_k: tuple[float, ...] = (1.0,)


def series() -> CloudSeries:
    """Three checkpoints: RED, YELLOW, GREEN."""
    made = CloudSeries()
    made.add("a", 5.0, Bounds(4.0, 3.0), step=0)
    made.add("b", 3.5, Bounds(4.5, 3.2), step=10, refit=3.4)
    made.add("c", 2.0, Bounds(3.9, 3.5), step=30)
    return made


def test_running_minimum_and_present_value_are_both_kept() -> None:
    """Running bounds never rise and never exceed the present ones; both statuses are given."""
    points = series().points
    assert [p.best_running for p in points] == [3.0, 3.0, 3.0]
    assert [p.yes0_running for p in points] == [4.0, 4.0, 3.9]
    assert [p.best for p in points] == [3.0, 3.2, 3.5]
    assert [p.status_running for p in points] == [Status.RED, Status.YELLOW, Status.GREEN]
    other = CloudSeries()
    other.add("a", 5.0, Bounds(4.0, 3.0))
    point = other.add("b", 3.1, Bounds(4.0, 3.2))
    assert (point.status_now, point.status_running) == (Status.GREEN, Status.YELLOW)


def test_file_has_schema_units_words_and_no_nan(tmp_path: Path) -> None:
    """The file is strict JSON with its schema, the unit of losses, the meaning of GREEN, and null for unknown."""
    path = series().save(tmp_path / "peel.json")
    data = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert data["schema"] == "peelverify.peel/1" and data["unit"] == "nats_per_token"
    assert data["words"]["GREEN"] == GREEN_WORDS == "GREEN means: not refuted by this suite of witnesses"
    assert [c["status"] for c in data["checkpoints"]] == ["RED", "YELLOW", "GREEN"]
    assert data["checkpoints"][0]["refit"] is None and data["checkpoints"][1]["step"] == 10
    assert [p.name for p in tmp_path.iterdir()] == ["peel.json"]


def test_bad_points_are_refused() -> None:
    """Steps that fall and losses that are not numbers never enter a series."""
    made = series()
    with pytest.raises(InputError, match="order of training"):
        made.add("d", 1.0, Bounds(4.0, 3.0), step=20)
    with pytest.raises(NonFiniteError):
        made.add("d", math.nan, Bounds(4.0, 3.0))
    assert len(made.points) == 3
    with pytest.raises(InputError):
        plot_cloud(CloudSeries(), "x.png")
    with pytest.raises(ArtifactError):
        made.save("/proc/nowhere/peel.json")


def test_picture_has_the_published_colours(tmp_path: Path) -> None:
    """The drawing uses the three published fills, and its legend says what GREEN means."""
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    plot_cloud(series(), axes)
    fills = [to_hex(c.get_facecolor()[0]).upper() for c in axes.collections]
    assert fills == [Status.RED.colour, Status.YELLOW.colour, Status.GREEN.colour]
    assert [c.get_hatch() for c in axes.collections] == ["xx", "//", None]
    words = [t.get_text() for t in axes.get_legend().get_texts()]
    assert {Status.RED.legend, Status.YELLOW.legend, GREEN_WORDS} <= set(words)
    assert Status.GREEN.legend not in words
    loss = next(line for line in axes.lines if line.get_label().startswith("model loss"))
    np.testing.assert_array_equal(loss.get_ydata(), [5.0, 3.5, 2.0])
    plot_cloud(series(), tmp_path / "cloud.png", decibels=True)
    assert (tmp_path / "cloud.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ArtifactError):
        plot_cloud(series(), tmp_path / "cloud.unknown")
    assert [p.name for p in tmp_path.iterdir()] == ["cloud.png"]


def test_a_single_point_can_be_drawn(tmp_path: Path) -> None:
    """One checkpoint gives a picture, not an error."""
    made = CloudSeries()
    made.add("only", 1.0, Bounds(1.0, 1.0))
    plot_cloud(made, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000


@pytest.fixture(scope="module")
def run_dir(model_dirs, tmp_path_factory) -> Path:
    """A folder with an untrained and a trained checkpoint."""
    root = tmp_path_factory.mktemp("run")
    fresh = small_decoder("llama", blocks=3, width=32, heads=4, length=64, seed=3)
    save_model(fresh, root / "step-0")
    shutil.copytree(model_dirs["llama"], root / "step-20")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(root / "step-20" / name, root / "step-0" / name)
    return root


def command(*args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a run in this process."""
    from peelverify.cli.app import main

    status = main(["peel", *args])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


SMALL = ("--tokens", "256", "--window", "32", "--maps", "direct", "--budget", "5")


def test_command_prints_a_table_and_writes_its_files(run_dir: Path, tmp_path: Path, capsys) -> None:
    """A folder of checkpoints gives one row each, in the order of steps, exit 0, a file, a picture, a witness."""
    out, witness = tmp_path / "out", tmp_path / "witness"
    status, text, news = command(
        str(run_dir), *SMALL, "--out", str(out), "--save-witness", str(witness), capsys=capsys
    )
    assert status == 0
    rows = [line.split() for line in text.splitlines()[1:3]]
    assert [row[0] for row in rows] == ["step-0", "step-20"] and rows[0][-1] == "RED"
    assert "not refuted by this suite of witnesses" in text and "step-20" in news
    data = json.loads((out / "peel.json").read_text())
    assert [c["step"] for c in data["checkpoints"]] == [0, 20]
    assert data["about"]["deciding_tokens"] == 8 * 31 and data["about"]["budget"]["head_steps"] == 5
    assert (out / "cloud.png").stat().st_size > 1000
    assert load_model(witness).depth == 3


def test_command_solves_blocks_again_and_saves_one(run_dir: Path, tmp_path: Path, capsys) -> None:
    """--substitute adds gains with intervals and brackets; the saved model is whole and differs in one block."""
    saved = tmp_path / "again"
    status, text, _ = command(
        str(run_dir / "step-20"), "--tokens", "1024", "--window", "32", "--maps", "direct", "--budget", "2",
        "--substitute", "--save-substitute", str(saved), "--out", str(tmp_path / "out"), capsys=capsys,
    )
    assert status == 0 and "alone can be solved again" in text and "certified, this block's last map only" in text
    assert "convex problem, no theorem" in text
    data = json.loads((tmp_path / "out" / "peel.json").read_text())["checkpoints"][0]["substitution"]
    best = max(data["blocks"], key=lambda b: b["gain_nats_per_token"])
    ours, theirs = (load_model(p).model.state_dict() for p in (saved, run_dir / "step-20"))
    changed = {n.rsplit(".", 1)[0] for n in ours if not (ours[n] == theirs[n]).all()}
    assert changed == {f"{best['name']}.{m}" for m in best["maps"]}


def test_command_resumes(run_dir: Path, tmp_path: Path, capsys) -> None:
    """A run continued after its first checkpoint ends with the file of a run in one go, and says what it refuses."""
    first, both = str(run_dir / "step-0"), (str(run_dir / "step-0"), str(run_dir / "step-20"))
    part, whole = tmp_path / "part", tmp_path / "whole"
    assert command(first, *SMALL, "--out", str(part), capsys=capsys)[0] == 0
    before = json.loads((part / "peel.json").read_text())["checkpoints"][0]
    assert command(*both, *SMALL, "--out", str(part), "--resume", capsys=capsys)[0] == 0
    assert command(*both, *SMALL, "--out", str(whole), capsys=capsys)[0] == 0
    found, expected = (json.loads((p / "peel.json").read_text()) for p in (part, whole))
    assert found["checkpoints"][0] == before, "the first checkpoint was not done again"
    for data in (found, expected):
        for entry in data["checkpoints"]:
            entry.pop("seconds")
    assert found == expected
    for args, words in (
        ((*both, *SMALL[:-2], "--budget", "6"), "budget"),
        ((both[1], *SMALL), "in place of step-0"),
        ((first, *SMALL), "in place of step-20"),
        ((*both, *SMALL, "--seed", "9"), "seed"),
        ((*both, *SMALL, "--save-witness", str(tmp_path / "w")), "finished ones"),
    ):
        status, _, err = command(*args, "--out", str(part), "--resume", capsys=capsys)
        assert status == 2 and words in err, err
    (part / "peel.json").write_text(json.dumps(found).replace('"status": "RED"', '"status": "GREEN"'))
    status, _, err = command(*both, *SMALL, "--out", str(part), "--resume", capsys=capsys)
    assert status == 2 and "contradict each other" in err
    status, _, err = command(*both, *SMALL, "--out", str(tmp_path / "none"), "--resume", capsys=capsys)
    assert status == 2 and "no peel.json" in err


def test_command_prints_json(run_dir: Path, capsys) -> None:
    """With --json stdout is exactly one object with its schema."""
    status, text, _ = command(str(run_dir / "step-20"), *SMALL, "--json", capsys=capsys)
    assert status == 0
    data = json.loads(text)
    assert data["schema"] == "peelverify.peel/1"
    assert {tuple(m["map"]) for m in data["checkpoints"][0]["maps"]} == {(3, 3, 3), (1, 2, 3)}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "CHECKPOINT"),
        (("nowhere",), "no model directory"),
        (("{run}", "--text", "nowhere.txt"), "cannot be read"),
        (("{run}", "--tokens", "100000000"), "windows"),
        (("{run}", "--window", "4096"), "at most 64"),
        (("{run}", "--maps", "1,2"), "one entry a layer"),
        (("{run}", "--maps", "best"), "names"),
        (("{run}", "--solver", "newton"), "solver"),
        (("{run}", "--problem", "digits"), "either"),
        (("{run}", "--save-witness", "{run}"), "exists"),
        (("{empty}",), "is not a model directory"),
        (("{run}", "{other}"), "one architecture"),
        (("{run}", "--out", "{file}"), "cannot be written"),
        (("--problem", "chess"), "digits"),
        (("--problem", "digits", "--substitute"), "checkpoints for --substitute"),
        (("{run}", "--save-substitute", "x"), "--substitute"),
        (("{run}", "--resume"), "--out"),
    ],
)
def test_bad_usage_ends_with_2_and_one_line(
    args, words, run_dir, model_dirs, tmp_path, capsys
) -> None:
    """Each mistake ends with status 2, one line on stderr that names it, and nothing on stdout."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    places = {
        "run": run_dir, "empty": tmp_path / "empty", "other": model_dirs["gpt2"], "file": tmp_path / "file" / "sub",
    }
    window = () if "--window" in args else SMALL[2:4]
    status, out, err = command(*(a.format(**places) for a in args), *window, capsys=capsys)
    assert status == 2 and out == ""
    assert words in err and "Traceback" not in err


def test_help_is_fast_and_needs_no_torch() -> None:
    """The help is printed without importing torch."""
    code = (
        "import sys; from peelverify.cli.app import main; main(['peel', '--help']); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "CHECKPOINT" in done.stdout
