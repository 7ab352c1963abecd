"""The study: disjoint text, stages that resume, statistics over models, a page that follows its results."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from peelverify.cli.app import main
from peelverify.compress.delete import delete_layers
from peelverify.compress.rank import rank_layers
from peelverify.compress.search import removal_path
from peelverify.errors import ArtifactError, DomainError, InputError
from peelverify.evaluate.loss import perplexity
from peelverify.evaluate.study import run as study_run
from peelverify.evaluate.study.document import study_document
from peelverify.evaluate.study.plan import PRESETS, Plan, read_json, write_atomic
from peelverify.evaluate.study.run import STAGES, collect, run_study
from peelverify.evaluate.study.stages import one_matrix_drifts, removal_losses
from peelverify.evaluate.study.tables import over_models, study_tables
from peelverify.evaluate.study.text import builtin_documents, study_windows
from peelverify.models import load_model, save_model
from peelverify.models.small import byte_tokenizer
from peelverify.rho.inject import inject_noise, residual_profile
from peelverify.rho.measure import measure_rho
from tests.families import small_family

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole study of the preset tiny with one model a family, through the command."""
    out = tmp_path_factory.mktemp("study") / "tiny"
    assert main(["study", "--preset", "tiny", "--seeds", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def view(model_dirs):
    """A small Llama."""
    return load_model(model_dirs["llama"])


def test_the_command_writes_tables_plots_and_a_page(folder) -> None:
    """Three families through every stage, every table as CSV, plots, results and page."""
    results = json.loads((folder / "results.json").read_text())
    assert [m["train"]["family"] for m in results["models"]] == ["llama", "gpt2", "qwen2"]
    assert all(set(STAGES) <= set(m) for m in results["models"])
    assert results["minutes"]["all"] > 0
    names = {t.name for t in study_tables(results)}
    assert names == {p.stem for p in (folder / "tables").glob("*.csv")}
    criteria = {"criteria", "against_greedy", "paired", "greedy_noise"}
    assert results["machine"]["devices"] == ["cpu"]
    assert names == criteria | {"models", "profiles", "prediction", "schedules", "again"}
    assert len(list((folder / "plots").glob("*.svg"))) == 5
    page = (folder / "study.md").read_text()
    assert page == study_document(results)
    assert "3 of 3 planned models" in page


def test_scores_of_the_prediction_are_those_of_their_names(folder) -> None:
    """Each score against each target by scipy, from the rows of matrices and what the stage before measured."""
    from scipy.stats import spearmanr

    results = json.loads((folder / "results.json").read_text())
    for model in results["models"]:
        rows, before = model["predict"]["matrices"], model["measure"]
        block = np.array([r["block"] for r in rows])
        introduced = np.array([r["introduced"] for r in rows])
        product = np.cumprod([1.0, *before["rho"]["rho_median"][::-1]])[::-1]
        assert before["rho"]["amplification"] == pytest.approx(product, rel=1e-9)
        view = load_model(folder / "models" / model["unit"])
        texts = study_windows(byte_tokenizer(), length=32, rank_tokens=128, final_tokens=256)
        noise = inject_noise(view, texts.rank[:1], draws=2, seed=model["seed"])
        injected = np.median(noise.amplification, axis=0)
        absolute = np.median(noise.absolute_amplification, axis=0)
        wanted = {
            "product": product[block],
            "introduced_times_product": introduced * product[block],
            "introduced": introduced,
            "injected": injected[block],
            "injected_absolute": absolute[block],
            "introduced_times_injected": introduced * injected[block],
        }
        assert set(wanted) == set(model["predict"]["tests"])
        for score, values in wanted.items():
            for target, found in model["predict"]["tests"][score].items():
                expected = spearmanr(values, [r[target] for r in rows]).statistic
                assert found["spearman"] == pytest.approx(expected, abs=1e-9), (score, target)
                assert found["blocks"] == 4


def test_greedy_chooses_again_on_further_draws(folder) -> None:
    """Each draw's sets are those of a search on its windows alone, judged on the final text, at the search's cost."""
    results = json.loads((folder / "results.json").read_text())
    plan = PRESETS["tiny"]
    texts = study_windows(
        byte_tokenizer(), length=32, rank_tokens=plan.rank_tokens, final_tokens=plan.final_tokens,
        draws=plan.rank_draws,
    )
    for model in results["models"]:
        found = model["rank"]["greedy_draws"]
        view = load_model(folder / "models" / model["unit"])
        assert len(found["sets"]) == plan.rank_draws == 1 + len(texts.draws)
        assert found["sets"][0] == model["rank"]["sets"]["greedy"]
        assert found["delta_loss"][0] == model["rank"]["delta_loss"]["greedy"]
        dense = perplexity(view, texts.final).loss
        for ids, sets, rises in zip(
            (texts.rank, *texts.draws), found["sets"], found["delta_loss"], strict=True
        ):
            kept = list(rank_layers(view, ids, "greedy", count=2).order[:2])
            assert [set(x) for x in sets] == [{kept[0]}, set(kept)]
            for gone, rise in zip(sets, rises, strict=True):
                small = perplexity(delete_layers(view, gone), texts.final).loss
                assert rise == pytest.approx(small - dense, abs=2e-5)


def test_costs_of_searches_count_what_they_ran(folder) -> None:
    """A shortlist pays for its gradients; a criterion without text pays nothing."""
    for model in json.loads((folder / "results.json").read_text())["models"]:
        cost = model["rank"]["block_evaluations"]
        view = load_model(folder / "models" / model["unit"])
        texts = study_windows(byte_tokenizer(), length=32, rank_tokens=128, final_tokens=256)
        scores = model["rank"]["scores"]["skip_score"]
        path = removal_path(view, texts.rank, 2, within=[int(t) for t in np.argsort(scores, kind="stable")][:3])
        assert cost["shortlist"] == [r.block_evaluations + 3 * 4 for r in path]
        assert cost["last"] == [0, 0]
        assert cost["taylor"] == [12, 12]


def test_the_unchanged_model_is_measured_with_other_noise(folder) -> None:
    """Rho again without compression is rho of other windows and another seed, set against the same interval."""
    model = json.loads((folder / "results.json").read_text())["models"][0]
    found, before = model["again"]["unchanged"], model["measure"]["rho"]
    view = load_model(folder / "models" / model["unit"])
    texts = study_windows(byte_tokenizer(), length=32, rank_tokens=128, final_tokens=256, draws=2)
    fresh = np.median(measure_rho(view, texts.draws[0], draws=2, seed=10_000).rho, axis=0)
    assert found["rho_median"] == pytest.approx(fresh, rel=1e-6)
    low, high = before["rho_interval_95_low"], before["rho_interval_95_high"]
    outside = sum(not a <= r <= b for a, r, b in zip(low, found["rho_median"], high, strict=True))
    assert found["outside_interval"] == outside


def test_slim_results_give_the_same_page(folder, tmp_path) -> None:
    """Without rows of matrices and early losses, to 6 digits: the tables differ by rounding only; twice is once."""
    page, slim = tmp_path / "page.md", tmp_path / "slim.json"
    assert main(["study", "--from", str(folder / "results.json"), "--document", str(page), "--slim", str(slim)]) == 0
    found, whole = json.loads(slim.read_text()), json.loads((folder / "results.json").read_text())
    assert slim.stat().st_size < (folder / "results.json").stat().st_size / 2
    assert page.read_text() == study_document(found)
    for a, b in zip(study_tables(found), study_tables(whole), strict=True):
        ours, theirs = (list(csv.reader(io.StringIO(t.csv()))) for t in (a, b))
        for left, right in zip(ours, theirs, strict=True):
            for x, y in zip(left, right, strict=True):
                try:
                    assert float(x) == pytest.approx(float(y), rel=1e-4, abs=1e-5)
                except ValueError:
                    assert x == y
    again = tmp_path / "again.json"
    assert main(["study", "--from", str(slim), "--document", str(page), "--slim", str(again)]) == 0
    assert again.read_text() == slim.read_text()
    assert page.read_text() == study_document(found)


def test_a_finished_study_runs_nothing_again(folder, monkeypatch) -> None:
    """A second call finds every stage and trains no model."""
    monkeypatch.setattr(study_run, "_train", None)
    before = (folder / "results.json").read_text()
    run_study(PRESETS["tiny"].changed(seeds=1), folder)
    assert (folder / "results.json").read_text() == before


def test_an_interrupted_study_goes_on_with_the_missing_stage(folder, tmp_path) -> None:
    """Without one stage file, that stage alone is run again, with the same outcome."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    gone = copy / "stages" / "gpt2-0.rank.json"
    before = read_json(gone)["result"]
    gone.unlink()
    lines: list[str] = []
    run_study(PRESETS["tiny"].changed(seeds=1), copy, say=lines.append)
    assert lines == ["gpt2-0: rank"]
    assert read_json(gone)["result"] == before


def test_trained_models_are_taken_from_an_earlier_study(folder, tmp_path, monkeypatch) -> None:
    """The same training options: models are copied with their seconds, and what is said of the text is that of this
    study. Other options or another text to train on: refused, nothing written.
    """
    monkeypatch.setattr(study_run, "_train", None)
    plan = PRESETS["tiny"].changed(seeds=1, rank_tokens=64)
    results = run_study(plan, tmp_path / "again", trained=folder, only=("train", "measure"))
    before = collect(folder)
    for here, there in zip(results["models"], before["models"], strict=True):
        assert here["train"] == there["train"] | {"taken": True, "text": here["measure"]["text"]}
        facts = here["train"]["text"]
        assert facts["windows"] == {"train": 96, "rank": 2, "final": 8}
        assert facts["ids_sha256"]["rank"] == here["measure"]["rank_loss"]["ids_sha256"]
        assert facts["ids_sha256"]["rank"] != there["train"]["text"]["ids_sha256"]["rank"]
        assert facts["ids_sha256"]["train"] == there["train"]["text"]["ids_sha256"]["train"]
        assert here["seconds"]["train"] == there["seconds"]["train"]
        weights = [p / "models" / here["unit"] / "model.safetensors" for p in (folder, tmp_path / "again")]
        assert weights[0].read_bytes() == weights[1].read_bytes()
    with pytest.raises(ArtifactError, match="another steps"):
        run_study(plan.changed(steps=13), tmp_path / "other", trained=folder)
    with pytest.raises(ArtifactError, match=r"plan\.json"):
        run_study(plan, tmp_path / "other", trained=tmp_path)
    assert not (tmp_path / "other").exists()
    altered = tmp_path / "altered"
    shutil.copytree(folder, altered)
    stage = altered / "stages" / "llama-0.train.json"
    stage.write_text(stage.read_text().replace(facts["ids_sha256"]["train"], "0" * 64))
    with pytest.raises(ArtifactError, match="other text"):
        run_study(plan, tmp_path / "third", trained=altered)
    assert not (tmp_path / "third" / "models").exists()


def test_a_plan_of_another_version_that_trains_alike_is_taken(folder, tmp_path, monkeypatch) -> None:
    """An earlier plan lacks an option that has nothing to do with training: its models are taken all the same."""
    monkeypatch.setattr(study_run, "_train", None)
    older = tmp_path / "older"
    shutil.copytree(folder, older)
    plan = json.loads((older / "plan.json").read_text())
    del plan["rank_draws"]
    (older / "plan.json").write_text(json.dumps(plan))
    only = PRESETS["tiny"].changed(seeds=1, families=("llama",))
    assert run_study(only, tmp_path / "new", trained=older, only=("train",))["models"][0]["train"]["taken"]
    with pytest.raises(ArtifactError, match="start a new study"):
        run_study(only, older)


def test_a_given_text_is_measured_on_and_training_keeps_its_own(tmp_path) -> None:
    """Families with --text: models are trained on the built-in text and measured on the given one."""
    text = tmp_path / "text.txt"
    text.write_text("measured here, trained elsewhere. " * 40)
    plan = PRESETS["tiny"].changed(seeds=1, families=("llama",), text=str(text), steps=4)
    results = run_study(plan, tmp_path / "out", only=("train", "measure"))
    facts = results["models"][0]["train"]["text"]
    assert facts["windows"]["train"] == 4 * plan.batch
    assert facts["source"].startswith("a given file")
    assert results["models"][0]["measure"]["final_loss"]["scored_tokens"] == 8 * 31


def test_other_plans_and_strange_folders_are_refused(folder, tmp_path) -> None:
    """A folder keeps its plan; a folder with other files is not written to; damage is named."""
    with pytest.raises(ArtifactError, match="another plan"):
        run_study(PRESETS["tiny"], folder)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="no study"):
        run_study(PRESETS["tiny"], tmp_path)
    with pytest.raises(ArtifactError, match="not the plan"):
        Plan.from_json({"schema": "other"})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"bad\.json"):
        read_json(tmp_path / "bad.json")


def test_time_runs_out_between_stages(tmp_path) -> None:
    """With no minutes left nothing starts, and the results say so."""
    lines: list[str] = []
    results = run_study(PRESETS["tiny"], tmp_path / "late", say=lines.append, minutes=1e-9)
    assert results["models"] == []
    assert any("run the same command again" in line for line in lines)
    assert "0 of 6 planned models" in study_document(results)


def test_given_models_are_taken_as_they_are(model_dirs, ids, tmp_path) -> None:
    """The path for published models: local directories, a text file, no training; one has a sliding window."""
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 60)
    mistral = save_model(small_family("mistral", ids), tmp_path / "mistral", tokenizer=byte_tokenizer())
    code = main(
        ["study", "--models", f"{model_dirs['gpt2']},{model_dirs['llama']},{mistral}", "--preset", "pretrained",
         "--text", str(text), "--window", "32", "--rank-tokens", "128", "--final-tokens", "256",
         "--out", str(tmp_path / "out")]
    )
    assert code == 0
    results = collect(tmp_path / "out")
    assert [m["train"]["family"] for m in results["models"]] == ["gpt2", "llama", "mistral"]
    assert not any(m["train"]["trained_here"] for m in results["models"])
    assert all("again" in m for m in results["models"])
    assert str(tmp_path) not in json.dumps(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "tiny"], "--out"),
        (["--out", "x", "--preset", "huge"], "--preset"),
        (["--out", "x", "--preset", "pretrained"], "--models"),
        (["--out", "x", "--families", "llama", "--models", "y"], "both"),
        (["--out", "x", "--families", "mamba"], "mamba"),
        (["--out", "x", "--families", "llama,llama"], "once"),
        (["--out", "x", "--minutes", "0"], "--minutes"),
        (["--out", "x", "--threads", "0"], "--threads"),
        (["--out", "x", "--seeds", "0"], "seeds"),
        (["--out", "x", "--models", "no-such-model-directory"], "no-such-model-directory"),
        (["--from", "no-such.json", "--document", "x.md"], "no-such.json"),
        (["--out", "x", "--slim", "y.json"], "--slim"),
    ],
)
def test_bad_calls_are_refused(options, message, tmp_path, monkeypatch, capsys) -> None:
    """One line that names the option; nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert main(["study", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_purposes_have_disjoint_documents() -> None:
    """No source file and no topic serves two purposes; together they are all."""
    parts = {p: builtin_documents(p) for p in ("train", "rank", "final")}
    for kind in (0, 1):
        sets = {p: set(d[kind]) - {""} for p, d in parts.items()}
        assert all(sets.values())
    topics = [set(d[1]) for d in parts.values()]
    from pydoc_data.topics import topics as every

    assert set.union(*topics) == set(every.values())
    assert len({id(k) for k in every}) == sum(len(d[1]) for d in parts.values())


def test_windows_are_as_many_as_asked_and_differ() -> None:
    """Rank and final windows share no window, and too little text is refused."""
    texts = study_windows(byte_tokenizer(), length=64, rank_tokens=640, final_tokens=1280, train_windows=30)
    assert (len(texts.rank), len(texts.final), len(texts.train)) == (10, 20, 30)
    rows = [tuple(r.tolist()) for part in (texts.rank, texts.final, texts.train) for r in part]
    assert len(set(rows)) == len(rows)


def test_further_draws_are_disjoint_and_like_the_first() -> None:
    """The first draw is what one draw gives; no window serves twice; each has as much English."""
    one = study_windows(byte_tokenizer(), length=64, rank_tokens=640, final_tokens=640)
    many = study_windows(byte_tokenizer(), length=64, rank_tokens=640, final_tokens=640, draws=4)
    assert torch.equal(one.rank, many.rank) and torch.equal(one.final, many.final)
    assert one.draws.shape == (0, 10, 64) and many.draws.shape == (3, 10, 64)
    rows = [tuple(r.tolist()) for part in (many.rank, *many.draws, many.final) for r in part]
    assert len(set(rows)) == len(rows) == 50
    assert many.facts["draws"] == 4
    assert many.facts["english_windows"] == {"rank": 5, "final": 5}


def test_where_the_text_ends_there_are_fewer_draws(tmp_path) -> None:
    """Of the built-in text as of a given one; the first draw and the figures come first."""
    long = study_windows(byte_tokenizer(), length=64, rank_tokens=1_000_000, final_tokens=64, draws=50)
    assert 1 <= len(long.draws) < 49 and long.facts["draws"] == 1 + len(long.draws)
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{i:03d} " for i in range(64)))
    given = study_windows(byte_tokenizer(), length=4, rank_tokens=40, final_tokens=80, text=str(text), draws=4)
    assert given.draws.shape == (3, 10, 4)
    every = torch.cat([given.rank, given.final, *given.draws])
    assert byte_tokenizer().decode(every.flatten()) == text.read_text()[:240]
    less = study_windows(byte_tokenizer(), length=4, rank_tokens=80, final_tokens=120, text=str(text), draws=4)
    assert less.draws.shape == (0, 20, 4)


def test_a_short_text_is_refused(tmp_path) -> None:
    """A given text must hold both parts."""
    text = tmp_path / "short.txt"
    text.write_text("a b c " * 20)
    with pytest.raises(InputError, match="windows"):
        study_windows(byte_tokenizer(), length=32, rank_tokens=64, final_tokens=128, text=str(text))


def test_drifts_equal_whole_compressed_models(view, ids) -> None:
    """Each row equals the drift and the loss of a model in which only that matrix is rounded."""
    from peelverify.compress.copies import copy_view, weight_rows, write_rows
    from peelverify.compress.quantize import round_to_nearest

    rows = {(r["block"], r["matrix"]): r for r in one_matrix_drifts(view, ids, 3)}
    assert len(rows) == sum(len(view.linears(t)) for t in range(view.depth))
    base = perplexity(view, ids).loss
    for key in ((0, "self_attn.v_proj"), (2, "mlp.down_proj")):
        small = copy_view(view)
        linear = small.linears(key[0])[key[1]]
        write_rows(linear, round_to_nearest(weight_rows(linear), 3).weight)
        profile = residual_profile(view, small, ids)
        assert rows[key]["relative"] == pytest.approx(profile.energy[-1], rel=1e-6)
        assert rows[key]["absolute"] == pytest.approx(profile.absolute_energy[-1], rel=1e-6)
        assert rows[key]["introduced"] == pytest.approx(profile.energy[key[0]], rel=1e-6)
        assert rows[key]["delta_loss"] == pytest.approx(perplexity(small, ids).loss - base, abs=1e-6)
        logits = [m.model(ids).logits.detach().double() for m in (view, small)]
        rms = math.sqrt(float((logits[1] - logits[0]).pow(2).mean()))
        assert rows[key]["logit_rms"] == pytest.approx(rms, rel=1e-4)


def test_removal_losses_are_those_of_deleted_models(view, ids, monkeypatch) -> None:
    """In parts or at once, the loss is that of the model with the blocks deleted."""
    from peelverify.evaluate.study import stages

    monkeypatch.setattr(stages, "_CHUNK", 64)  # two windows a part
    losses = removal_losses(view, ids, [[], [1], [0, 2]])
    for gone, parts in losses.items():
        small = delete_layers(view, gone) if gone else view
        assert len(parts) == 2
        assert np.mean(parts) == pytest.approx(perplexity(small, ids).loss, abs=1e-5)


def test_intervals_are_students_over_models() -> None:
    """Against scipy's interval; correlations stay inside -1 and 1; missing values are not zeros."""
    from scipy.stats import t

    values = [0.3, 0.5, 0.1, 0.9]
    found = over_models(values)
    low, high = t.interval(0.95, 3, loc=np.mean(values), scale=np.std(values, ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.sign == 0
    near = over_models([0.99, 0.999, 1.0], correlation=True)
    assert -1 <= near.low < near.mean < near.high <= 1
    assert near.sign == 1
    assert over_models([None, math.nan]) is None
    assert over_models([2.0, None]).models == 1
    assert over_models([2.0]).sign == 0


def test_csv_holds_every_number_in_full(folder) -> None:
    """A mean takes four columns; what the page rounds, the file keeps."""
    results = json.loads((folder / "results.json").read_text())
    table = next(t for t in study_tables(results) if t.name == "criteria")
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [r["criterion"] for r in rows] == [r[0] for r in table.rows]
    assert float(rows[0]["k = 1"]) == table.rows[0][1].mean
    assert rows[0]["k = 1 (models)"] == "3"


def test_findings_follow_the_sign(folder) -> None:
    """Turning every correlation round turns the sentence round; the page is not fixed text."""
    results = json.loads((folder / "results.json").read_text())
    for sign, words in ((1, "The sign is the expected one"), (-1, "The sign is the opposite")):
        for i, model in enumerate(results["models"]):
            model["predict"]["tests"]["product"]["relative"]["spearman"] = sign * (0.8 + 0.01 * i)
        assert words in study_document(results)


def test_a_schedule_with_other_zeros_is_called_out(folder) -> None:
    """The table says NO where totals do not match."""
    results = json.loads((folder / "results.json").read_text())
    assert not any("NO" in row for t in study_tables(results) for row in t.rows)
    next(r for r in results["models"][0]["compress"]["rows"] if r["schedule"] == "increasing")["zeros"] += 1
    assert any("NO" in row for t in study_tables(results) for row in t.rows)


def test_files_are_whole_or_absent(tmp_path) -> None:
    """A value that JSON cannot hold leaves the old file and no other."""
    write_atomic(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_atomic(tmp_path / "a.json", {"x": math.nan})
    assert read_json(tmp_path / "a.json") == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_plans_check_their_numbers() -> None:
    """Counts below what makes sense are refused by name."""
    with pytest.raises(DomainError, match="blocks"):
        Plan(blocks=1)
    assert Plan.from_json(json.loads(json.dumps(Plan().to_json()))) == Plan()
    assert [u.name for u in Plan().units()][:4] == ["llama-0", "gpt2-0", "qwen2-0", "llama-1"]


def test_a_damaged_results_file_is_an_error(tmp_path, capsys) -> None:
    """The page is not written from half a file."""
    (tmp_path / "r.json").write_text(json.dumps({"schema": "peelverify.study/1"}))
    assert main(["study", "--from", str(tmp_path / "r.json"), "--document", str(tmp_path / "d.md")]) == 2
    assert "damaged" in capsys.readouterr().err
    assert not (tmp_path / "d.md").exists()


def test_the_page_in_docs_is_that_of_its_results(tmp_path) -> None:
    """docs/study.md is what the command writes from docs/study.json."""
    assert main(["study", "--from", str(DOCS / "study.json"), "--document", str(tmp_path / "study.md")]) == 0
    assert (tmp_path / "study.md").read_text() == (DOCS / "study.md").read_text()


def test_studies_do_not_touch_the_generator(model_dirs, tmp_path) -> None:
    """The global generator of torch is left as it was."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    run_study(Plan(
        families=(), models=(str(model_dirs["llama"]),), window=32, rank_tokens=64, final_tokens=64, draws=1,
        random_orders=1, permutations=5, sparsities=(0.5,),
    ), tmp_path / "s", only=("train", "measure"))
    assert torch.equal(torch.rand(1), expected)
