"""The commands rho, rank and compress: results, JSON, files, and what is refused before work."""

from __future__ import annotations

import json
import os

import pytest
import torch
import typer
from typer.testing import CliRunner

from peelverify.cli import compress, evaluate, rank, rho, study
from peelverify.errors import ArtifactError, DomainError, InputError

app = typer.Typer()
for _command in (compress, evaluate, rank, rho, study):
    _command.register(app)
FAST = ("--tokens", "128", "--window", "32", "--text", os.__file__)  # a short text that is always there


def run(*words: object) -> str:
    """Standard output of a command, whose errors are raised."""
    done = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def save_small(path, *, blocks, dtype=torch.float32):
    """A saved small Llama with its tokenizer."""
    from peelverify.models import save_model
    from peelverify.models.small import byte_tokenizer, small_decoder

    view = small_decoder("llama", blocks=blocks, width=32, heads=4, length=64)
    view.model.to(dtype)
    return save_model(view, path, tokenizer=byte_tokenizer())


def test_rho_prints_a_table_and_writes_a_file(model_dirs, tmp_path):
    """One line a block on stdout; the folder holds the same data as --json."""
    text = run("rho", model_dirs["llama"], *FAST, "--draws", 2, "--out", tmp_path / "a")
    assert "measured" in text and len(text.splitlines()) == 5
    data = json.loads(run("rho", model_dirs["llama"], *FAST, "--draws", 2, "--json"))
    assert data == json.loads((tmp_path / "a" / "rho.json").read_text())
    assert data["schema"] == "peelverify.rho/1" and data["draws"] == 2 and data["tokens"] == 128


def test_rank_prints_scores_agreement_and_slices(model_dirs):
    """All criteria in one table, and slices to paste for each."""
    names = "rho,block_influence,greedy"
    text = run("rank", model_dirs["gpt2"], *FAST, "--criterion", names)
    assert text.count("merge_method: passthrough") == 3 and "Kendall" in text
    data = json.loads(run("rank", model_dirs["gpt2"], *FAST, "--criterion", names, "--count", 2, "--json"))
    assert data["within_budget"] is None
    assert data["schema"] == "peelverify.rank/1"
    assert [r["criterion"] for r in data["rankings"]] == names.split(",")
    assert all(len(layers) == 2 for layers in data["remove"].values())


def test_rank_ranks_a_model_of_one_block(tmp_path):
    """One block has its scores and stays; asking for one to go is refused."""
    one = save_small(tmp_path / "one", blocks=1)
    data = json.loads(run("rank", one, *FAST, "--criterion", "rho,angular,greedy,skip_score", "--json"))
    assert data["blocks"] == 1 and all(r["order"] == [0] for r in data["rankings"])
    assert all(gone == [] for gone in data["remove"].values())
    assert "removes none" in run("rank", one, *FAST, "--budget", 1)
    with pytest.raises(DomainError, match="--count"):
        run("rank", one, *FAST, "--count", 1)


def test_rank_and_compress_keep_the_blocks_that_are_named(model_dirs, tmp_path):
    """The published barriers: blocks kept at either end are not removed, by criteria and by the budget."""
    keep = ("--keep-first", 1, "--keep-last", 1)
    data = json.loads(run("rank", model_dirs["llama"], *FAST, "--criterion", "last,greedy", "--budget", 100, *keep,
                          "--json"))
    assert set(map(tuple, data["remove"].values())) == {(1,)}
    assert data["within_budget"]["removed"] == [1]
    assert [r["protected"] for r in data["rankings"]] == [[0, 2]] * 2
    done = json.loads(run("compress", model_dirs["llama"], *FAST, "--method", "delete", "--count", 1, "--criterion",
                          "last", *keep, "--out", tmp_path / "out", "--json"))
    assert done["kept"] == [0, 2] and done["settings"]["protect"] == [1, 1]
    for words in (("rank", "--count", 2), ("compress", "--method", "delete", "--count", 2, "--out", tmp_path / "b")):
        with pytest.raises(DomainError, match="--count"):
            run(words[0], model_dirs["llama"], *words[1:], *FAST, *keep)
    assert not (tmp_path / "b").exists()


def test_rank_writes_the_dtype_of_the_files(tmp_path):
    """The mergekit slices carry the dtype that the model was saved in."""
    import yaml

    half = save_small(tmp_path / "a: b #1", blocks=2, dtype=torch.bfloat16)
    data = json.loads(run("rank", half, *FAST, "--criterion", "last", "--json"))
    found = yaml.safe_load(data["mergekit_slices"]["last"])
    assert found["dtype"] == "bfloat16" and found["slices"][0]["sources"][0]["model"] == str(half)


def test_rank_turned_round_by_a_budget(model_dirs):
    """A generous budget lets all blocks but one go, none lets a costly one go."""
    options = ("rank", model_dirs["llama"], *FAST, "--criterion", "last", "--budget")
    assert len(json.loads(run(*options, 100, "--json"))["within_budget"]["removed"]) == 2
    assert "nats a token on this text" in run(*options, 0)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (("--method", "rtn", "--bits", 3), [0, 1, 2]),
        (("--method", "magnitude", "--sparsity", 0.25), [0, 1, 2]),
        (("--method", "wanda", "--pattern", "2:4", *FAST), [0, 1, 2]),
        (("--method", "sparsegpt", "--schedule", "rho", "--sparsity", 0.3, *FAST), [0, 1, 2]),
        (("--method", "magnitude", "--schedule", "alpha"), [0, 1, 2]),
        (("--method", "gptq", "--bits", 3, "--group", 8, *FAST), [0, 1, 2]),
        (("--method", "ternary", "--per-row"), [0, 1, 2]),
        (("--method", "binary"), [0, 1, 2]),
        (("--method", "svd", "--rank-fraction", 0.25), [0, 1, 2]),
        (("--method", "delete", "--layers", "1"), [0, 2]),
        (("--method", "delete", "--count", 1, "--criterion", "last", *FAST), [0, 1]),
    ],
    ids=lambda x: " ".join(map(str, x[1:4])) if isinstance(x, tuple) else "",
)
def test_compress_writes_a_model_and_its_record(model_dirs, tmp_path, options, kept):
    """The folder loads, and its record names the method, the blocks left and the original's weights."""
    from peelverify.compress import read_record, weight_digests
    from peelverify.models import load_model, load_tokenizer

    data = json.loads(run("compress", model_dirs["qwen2"], *options, "--out", tmp_path / "out", "--json"))
    record = read_record(tmp_path / "out")
    assert {k: data[k] for k in record} == record
    assert record["schema"] == data["schema"] == "peelverify.compression/1"
    assert record["kept"] == kept and record["method"] == options[1]
    assert record["original"] == weight_digests(model_dirs["qwen2"])
    named = options[options.index("--schedule") + 1] if "--schedule" in options else None
    assert (record["settings"].get("schedule") or {}).get("kind") == named
    assert load_model(tmp_path / "out").depth == len(kept)
    load_tokenizer(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("rho", "--draws", 0), DomainError, "--draws"),
        (("rho", "--epsilon", 0), DomainError, "--epsilon"),
        (("rho", "--epsilon", "nan"), DomainError, "--epsilon"),
        (("rho", "--seed", -1), DomainError, "--seed"),
        (("rho", "--tokens", 1), InputError, "--tokens"),
        (("rho", "--text", "missing.txt"), ArtifactError, "missing.txt"),
        (("rank", "--criterion", "best"), InputError, "--criterion"),
        (("rank", "--count", 0), DomainError, "--count"),
        (("rank", "--budget", -1), DomainError, "--budget"),
        (("rank", "--count", 3), DomainError, "--count"),
        (("compress", "--method", "other"), InputError, "--method"),
        (("compress", "--method", "rtn", "--bits", 1), DomainError, "--bits"),
        (("compress", "--method", "magnitude", "--sparsity", 1), DomainError, "--sparsity"),
        (("compress", "--method", "wanda", "--pattern", "4:2"), InputError, "--pattern"),
        (("compress", "--method", "wanda", "--schedule", "best"), InputError, "--schedule"),
        (("compress", "--method", "wanda", "--schedule", "owl", "--pattern", "2:4"), InputError, "--pattern"),
        (("compress", "--method", "svd", "--rank-fraction", 0), DomainError, "--rank-fraction"),
        (("compress", "--method", "delete"), InputError, "--layers or --count"),
        (("compress", "--method", "delete", "--layers", "1", "--count", 1), InputError, "--layers or --count"),
        (("compress", "--method", "delete", "--layers", "x"), InputError, "--layers"),
        (("compress", "--method", "delete", "--layers", "0,1,2"), DomainError, "a block that is left"),
        (("compress", "--method", "delete", "--count", 3), DomainError, "--count"),
        (("compress", "--method", "delete", "--count", 1, "--criterion", "x"), InputError, "--criterion"),
    ],
    ids=lambda x: " ".join(map(str, x)) if isinstance(x, tuple) else "",
)
def test_bad_calls_are_refused_before_the_model_is_loaded(
    model_dirs, tmp_path, monkeypatch, words, error, message
):
    """Options that cannot work are refused with their names; nothing is loaded where that can be avoided."""
    if words != ("rank", "--count", 3):
        monkeypatch.setattr("peelverify.models.load.load_model", lambda *a, **k: pytest.fail("model was loaded"))
    out = ("--out", tmp_path / "out") if words[0] == "compress" else ()
    with pytest.raises(error, match=message):
        run(words[0], model_dirs["llama"], *words[1:], *out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_device_and_dtype_reach_the_model_and_are_stated(model_dirs, tmp_path, monkeypatch, dtype):
    """Every command loads on the device and in the dtype that is asked for, and its output says so."""
    from safetensors import safe_open

    from peelverify.models import load

    seen, plain = [], load.load_model
    monkeypatch.setattr(
        load, "load_model", lambda *a, **k: (seen.append((k.get("device"), k.get("dtype"))), plain(*a, **k))[1]
    )
    where, model = ("--device", "cpu", "--dtype", dtype), model_dirs["llama"]
    rank_data = json.loads(run("rank", model, *FAST, "--criterion", "block_influence,taylor,greedy", *where, "--json"))
    assert (rank_data["device"], rank_data["dtype"]) == ("cpu", dtype)
    assert f"{dtype} on cpu" in run("rank", model, *FAST, "--criterion", "last", *where).replace("\n", " ")
    rho_data = json.loads(run("rho", model, *FAST, "--draws", 1, *where, "--against", model, "--json"))
    assert (rho_data["device"], rho_data["dtype"]) == ("cpu", dtype)
    done = json.loads(run("compress", model, *FAST, "--method", "wanda", *where, "--out", tmp_path / "out", "--json"))
    assert done["computed"] == {"device": "cpu", "dtype": dtype}
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as handle:
        assert {str(handle.get_tensor(n).dtype) for n in handle.keys()} == {f"torch.{dtype}"}  # noqa: SIM118
    evaluation = json.loads(run("evaluate", model, tmp_path / "out", *FAST, "--repeats", 4, *where, "--json"))
    assert (evaluation["protocol"]["device"], evaluation["protocol"]["dtype"]) == ("cpu", dtype)
    assert len(seen) == 7 and set(seen) == {("cpu", dtype)}


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("meta", "float32", "--device needs"),
        ("nowhere", "float32", "--device needs"),
        ("cpu", "int4", "--dtype needs"),
        ("mps" if torch.cuda.is_available() else "cuda", "float32", "--device needs .*cpu is always there"),
        ("cuda:99", "float32", "--device needs"),
    ],
)
@pytest.mark.parametrize("command", ["rank", "rho", "compress", "evaluate", "study"])
def test_devices_that_are_not_there_are_refused_before_work(
    model_dirs, tmp_path, monkeypatch, command, device, dtype, message
):
    """One clear error, before anything is read or written."""
    monkeypatch.setattr("peelverify.models.load.load_model", lambda *a, **k: pytest.fail("model was loaded"))
    more = {"compress": ("--method", "rtn", "--out", tmp_path / "out"), "study": ("--out", tmp_path / "out")}
    words = [command, *([] if command == "study" else [model_dirs["llama"]]), *more.get(command, ())]
    if command == "study" and dtype != "float32":
        return  # it measures in float32 only
    with pytest.raises(InputError, match=message):
        run(*words, "--device", device, *([] if command == "study" else ["--dtype", dtype]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("rho",), ("compress", "--method", "rtn")], ids=["rho", "compress"])
def test_output_folders_in_use_are_refused_before_work(model_dirs, tmp_path, monkeypatch, command):
    """A folder with files stays as it is, and the model is not even read."""
    monkeypatch.setattr("peelverify.models.load.load_model", lambda *a, **k: pytest.fail("model was loaded"))
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(ArtifactError, match="exists already"):
        run(command[0], model_dirs["llama"], *command[1:], "--out", tmp_path)
    assert (tmp_path / "mine").read_text() == "keep"


def test_short_texts_are_refused(model_dirs, tmp_path):
    """A text shorter than one window says how much is needed."""
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(InputError, match="text of at least"):
        run("rho", model_dirs["llama"], *FAST, "--text", tmp_path / "short.txt")


def test_the_methods_offered_are_those_there_are():
    """The command's list, kept apart so that --help is fast, is that of the library."""
    from peelverify.compress import METHODS

    assert tuple(compress.METHODS) == tuple(METHODS)


@pytest.mark.parametrize("command", ["rho", "rank", "compress"])
def test_help_ends_with_an_example(command):
    """Every command shows a line to copy."""
    assert f"Example: peelverify {command}" in run(command, "--help").replace("\n ", "\n")
