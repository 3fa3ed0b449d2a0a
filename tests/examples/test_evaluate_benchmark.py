"""The benchmarks, on a few questions in their published layouts."""

import json
import shutil

import numpy as np
import pytest
import torch
from benchmark_layouts import LAYOUTS
from huggingface_hub import ModelCard, ModelCardData
from small_checkpoint import write_small_checkpoint
from torch import nn
from training_runs import kill_when, run, start
from videos import encode_video


class Means(nn.Module):
    """Mean and deviation of each channel, as class scores."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        return torch.cat((flat.mean(dim=2), flat.std(dim=2)), dim=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The small random model and its detokenizer, saved."""
    folder = tmp_path_factory.mktemp("models")
    write_small_checkpoint(folder)
    torch.jit.script(Means()).save(str(folder / "means.pt"))
    return folder


@pytest.fixture
def benchmark(tmp_path):
    """Writes a benchmark and runs it."""

    def run_benchmark(name, model=None, answers=None, **kwargs):
        from evaluate_benchmark import main

        if model is None:
            model = tmp_path / "unused_model"
            model.mkdir(exist_ok=True)
        if not (tmp_path / name).exists():
            LAYOUTS[name](tmp_path / name)
        settings = {
            "benchmark": name,
            "data": tmp_path / name,
            "model": model,
            "output_dir": tmp_path / "out",
            "device": "cpu",
        }
        settings |= kwargs
        if answers is not None:
            # What is answered is not asked again, so there is no need of a model.
            (tmp_path / "out").mkdir()
            lines = [json.dumps({"id": key, "answer": text}) for key, text in answers.items()]
            (tmp_path / "out" / "answers-00000.jsonl").write_text("\n".join(lines) + "\n")
        main([str(item) for key, value in settings.items() for item in (f"--{key}", value)])
        return json.loads((tmp_path / "out" / "result.json").read_text())

    return run_benchmark


@pytest.mark.parametrize(
    ("name", "answers", "expected"),
    [
        ("vqav2", {"10": "Two.", "20": "2", "30": "three"}, {"vqa_accuracy": 200 / 3, "count": 3}),
        ("gqa", {"100": "Left.", "101": "yes"}, {"exact_match": 50, "count": 2}),
        ("vizwiz", {"VizWiz_val_1.jpg": "two", "VizWiz_val_2.jpg": "unanswerable"}, {"vqa_accuracy": 50}),
        ("scienceqa_img", {"7": "B", "9": "A"}, {"accuracy": 50, "count": 2}),
        (
            "mme",
            {"existence/0001/0": "Yes", "existence/0001/1": "No", "landmark/0001/0": "Yes", "landmark/0001/1": "yes"},
            {"perception": 200 + 50, "cognition": 0},
        ),
        (
            "mmbench",
            # The right one of four moves from B to A, to D, to C; of two from A to B.
            {"241-0": "B", "241-1": "A", "241-2": "D", "241-3": "C", "252-0": "A", "252-1": "A"},
            {"circular_accuracy": 50, "vanilla_accuracy": 100 * 5 / 6, "count": 2},
        ),
        ("seed_bench", {"1": "B", "2": "(C)"}, {"accuracy": 50, "count": 2}),
        ("mm_vet", {"v1_0": "Two red ones", "v1_1": "three"}, {"elements_found": 50}),
        ("msvd_qa", {"0_0": "The dog", "1_0": "2"}, {"exact_match": 100}),
        ("msrvtt_qa", {"0_0": "cat", "1_0": "2"}, {"exact_match": 50}),
        ("activitynet_qa", {"0_0": "dog.", "1_0": "three"}, {"exact_match": 50}),
    ],
)
def test_answers_score_what_a_hand_computes(benchmark, tmp_path, name, answers, expected):
    result = benchmark(name, answers=answers)
    assert {key: result["scores"][key] for key in expected} == pytest.approx(expected)
    assert result["count"] == result["scored"] == len(answers) and len(result["data_sha256"]) == 64
    assert result["versions"]["torch"] == torch.__version__ and result["versions"]["codec"]["pyav"]
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert {line["id"]: line["answer"] for line in lines} == answers


def test_servers_get_what_they_read(benchmark, tmp_path):
    benchmark("vqav2", answers={"10": "two", "20": "red", "30": "three"})
    submission = json.loads((tmp_path / "out" / "submission.json").read_text())
    assert submission[1] == {"question_id": 20, "answer": "red"}
    shutil.rmtree(tmp_path / "out")
    benchmark("mm_vet", answers={"v1_0": "a", "v1_1": "b"})
    assert json.loads((tmp_path / "out" / "submission.json").read_text()) == {"v1_0": "a", "v1_1": "b"}
    shutil.rmtree(tmp_path / "out")
    benchmark("mmbench", answers={f"241-{shift}": "B" for shift in range(4)} | {"252-0": "A", "252-1": "B"})
    rows = (tmp_path / "out" / "submission.csv").read_text().splitlines()
    assert rows[0] == "index,question,A,B,C,D,prediction" and rows[2] == "241,What?,two,blue,four,red,B"
    assert rows[5] == "252,Yes or no?,yes,no,,,A"


def test_a_test_split_without_answers_is_only_submitted(benchmark, tmp_path):
    LAYOUTS["vqav2"](tmp_path / "vqav2")
    (tmp_path / "vqav2" / "v2_mscoco_val2014_annotations.json").unlink()
    result = benchmark("vqav2", answers={"10": "two", "20": "red", "30": "three"})
    assert result["scores"] == {} and result["scored"] == 0 and (tmp_path / "out" / "submission.json").exists()


@pytest.mark.parametrize("name", ["gqa", "msvd_qa"])
def test_a_model_answers_the_same_in_any_batch_and_process(benchmark, models, tmp_path, name):
    result = benchmark(name, model=models / "model", batch_size=2, max_new_tokens=6)
    arguments = {"benchmark": name, "data": tmp_path / name, "model": models / "model", "max_new_tokens": 6}
    arguments |= {"output_dir": tmp_path / "two", "device": "cpu", "batch_size": 1}
    run(
        "evaluate_benchmark",
        *(item for key, value in arguments.items() for item in (f"--{key}", value)),
        num_processes=2,
    )
    again = json.loads((tmp_path / "two" / "result.json").read_text())
    assert {key: again[key] for key in ("scores", "predictions_sha256", "data_sha256")} == {
        key: result[key] for key in ("scores", "predictions_sha256", "data_sha256")
    }


def test_a_killed_run_goes_on_where_it_was(benchmark, models, tmp_path):
    result = benchmark("vqav2", model=models / "model", batch_size=1, max_new_tokens=6)
    answers = (tmp_path / "out" / "answers-00000.jsonl").read_text().splitlines()
    arguments = {"benchmark": "vqav2", "data": tmp_path / "vqav2", "model": models / "model", "max_new_tokens": 6}
    arguments |= {"output_dir": tmp_path / "killed", "device": "cpu", "batch_size": 1}
    arguments = [item for key, value in arguments.items() for item in (f"--{key}", value)]
    kill_when(start("evaluate_benchmark", *arguments), tmp_path / "killed" / "settings.json")
    # As if it had been killed while it wrote the second line.
    (tmp_path / "killed" / "answers-00000.jsonl").write_text(answers[0] + "\n" + answers[1][:9])
    run("evaluate_benchmark", *arguments)
    again = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert again["predictions_sha256"] == result["predictions_sha256"] and again["scores"] == result["scores"]
    lines = (tmp_path / "killed" / "answers-00000.jsonl").read_text().splitlines()
    assert lines[0] == answers[0] and len(lines) == 4


def test_line_separators_within_an_answer_end_no_line(tmp_path):
    from accelerate import PartialState
    from benchmark_tasks.questions import Item
    from benchmark_tasks.runner import Predictions

    items = [Item("1", "Who?", None), Item("2", "What?", None)]
    answers = ["one\u2028two", "a\x85b\nc"]
    Predictions(tmp_path, PartialState(cpu=True), items).add(items, answers)
    again = Predictions(tmp_path, PartialState(cpu=True), items)
    assert again.todo == [] and again.collect() == answers


def test_a_judge_gives_the_number_of_open_answers(benchmark, tmp_path, monkeypatch):
    import evaluate_benchmark

    def judge(conversations):
        return [
            "{'pred': 'yes', 'score': 4}"
            if "Predicted Answer: dog" in user["content"]
            else "{'pred': 'no', 'score': 1}"
            for _, user in conversations
        ]

    monkeypatch.setattr(evaluate_benchmark, "build_judge", lambda args: judge)
    result = benchmark("msvd_qa", answers={"0_0": "dog", "1_0": "dog"})
    assert result["scores"]["accuracy"] == 100 and result["scores"]["score"] == 4
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setattr(evaluate_benchmark, "build_judge", lambda args: lambda rows: ["1.0", "0.3 or so"])
    scores = benchmark("mm_vet", answers={"v1_0": "a", "v1_1": "b"})["scores"]
    assert scores["score"] == pytest.approx(65) and scores["capabilities"] == {"math": 65, "ocr": 65}


def write_protocol(models, path, num_frames):
    protocol = {"network": "means", "weights": str(models / "means.pt"), "size": [16, 16], "num_frames": num_frames}
    protocol |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "seed": 0}
    path.write_text(json.dumps(protocol))
    return path


@pytest.mark.parametrize("name", ["coco", "msrvtt", "ucf101"])
def test_what_is_generated_is_kept_and_measured(benchmark, models, tmp_path, name):
    settings = {"model": models / "model", "detokenizer": models / "detokenizer", "num_inference_steps": 1, "seed": 5}
    # In single precision, a model that was never trained shows rounding in single pixels.
    settings["dtype"] = "float64"
    settings["fid_protocol"] = write_protocol(models, tmp_path / "fid.json", 1)
    settings["fvd_protocol"] = write_protocol(models, tmp_path / "fvd.json", 4)
    settings["inception_protocol"] = write_protocol(models, tmp_path / "inception.json", 4)
    settings |= {"inception_splits": 2, "prompts": tmp_path / "prompts.json", "height": 64, "width": 64}
    result = benchmark(name, **settings)
    files = sorted((tmp_path / "out" / "generated").iterdir())
    assert len(files) == result["count"] == {"coco": 2, "msrvtt": 2, "ucf101": 4}[name]
    frames = np.load(files[0])["frames"]
    assert frames.dtype == np.uint8 and frames.shape == ((1 if name == "coco" else 24), 64, 64, 3)
    expected = {"coco": {"fid"}, "msrvtt": {"fvd", "fid"}, "ucf101": {"inception_score", "fvd"}}[name]
    assert set(result["scores"]) == expected
    for score in result["scores"].values():
        assert len(score["protocol"]["weights_sha256"]) == 64 and score["low"] <= score["high"]
    if name == "ucf101":
        assert result["scores"]["fvd"]["real"] == 3 and result["scores"]["fvd"]["generated"] == 4
    # One that is missing is made again in another batch, the same up to rounding.
    before = np.load(files[1])["frames"].astype(int)
    files[1].unlink()
    again = benchmark(name, batch_size=1, **settings)["scores"]
    assert abs(np.load(files[1])["frames"] - before).max() <= 1
    for metric, score in again.items():
        number = metric if metric in score else "distance"
        assert score[number] == pytest.approx(result["scores"][metric][number], rel=1e-3)


def test_a_number_goes_into_the_model_card(benchmark, tmp_path):
    card = ModelCard.from_template(ModelCardData(license="mit"), template_str="---\n{{ card_data }}\n---\n\n# Model\n")
    card.save(tmp_path / "README.md")
    for answers in ({"100": "right", "101": "yes"}, {"100": "left", "101": "two"}):
        benchmark("gqa", answers=answers, model_card=tmp_path / "README.md")
        shutil.rmtree(tmp_path / "out")
    (entry,) = ModelCard.load(tmp_path / "README.md").data.eval_results
    assert (entry.dataset_type, entry.metric_name, entry.metric_value) == ("gqa", "exact_match", 100)


def test_predictions_of_another_run_are_not_taken(benchmark, tmp_path):
    benchmark("gqa", answers={"100": "left", "101": "yes"})
    with pytest.raises(ValueError, match=r"predictions of a run with \{'max_clips': 8\}"):
        benchmark("gqa", max_clips=4)


def test_predictions_of_a_model_or_of_questions_that_have_changed_are_not_taken(benchmark, tmp_path):
    (tmp_path / "unused_model").mkdir()
    (tmp_path / "unused_model" / "model.safetensors").write_bytes(b"weights")
    result = benchmark("gqa", answers={"100": "left", "101": "yes"})
    assert benchmark("gqa", limit=1)["identity"] == result["identity"]
    (tmp_path / "unused_model" / "model.safetensors").write_bytes(b"trained further")
    with pytest.raises(ValueError, match=r"predictions of a run with \{'model_identity': '[0-9a-f]{64}'\}"):
        benchmark("gqa")
    (tmp_path / "unused_model" / "model.safetensors").write_bytes(b"weights")
    path = tmp_path / "gqa" / "testdev_balanced_questions.json"
    path.write_text(path.read_text().replace("Is it red?", "Is it blue?"))
    with pytest.raises(ValueError, match=r"predictions of a run with \{'questions_sha256'"):
        benchmark("gqa")


def test_images_and_videos_of_a_detokenizer_that_has_changed_are_not_taken(benchmark, models, tmp_path):
    shutil.copytree(models / "detokenizer", tmp_path / "detokenizer")
    settings = {"model": models / "model", "detokenizer": tmp_path / "detokenizer", "num_inference_steps": 1}
    settings |= {"fid_protocol": write_protocol(models, tmp_path / "fid.json", 1), "height": 64, "width": 64}
    benchmark("coco", **settings)
    path = tmp_path / "detokenizer" / "keyframe_scheduler" / "scheduler_config.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ValueError, match="predictions of a run with \\{'detokenizer_identity'"):
        benchmark("coco", **settings)


def test_real_videos_are_measured_at_the_rate_of_generated_ones(models, tmp_path, caplog, monkeypatch):
    import evaluate_benchmark
    from benchmark_tasks import TASKS, GenerationItem
    from benchmark_tasks.runner import generated_path

    # Each second has a brightness of its own.
    frames = np.repeat(np.arange(40, 240, 50), 24)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3)
    for name, part in (("long", frames), ("short", frames[:30])):
        (tmp_path / f"{name}.mp4").write_bytes(encode_video(part.astype(np.uint8), fps=24))
    real = evaluate_benchmark.read_real(tmp_path / "long.mp4", "video", 6)
    np.testing.assert_allclose(real.mean(axis=(1, 2, 3)), np.repeat(np.arange(40, 240, 50), 6), atol=3)
    # One that is too short at this rate does not count.
    items = [
        GenerationItem(str(index), "", tmp_path / f"{name}.mp4")
        for index, name in enumerate(("long", "short", "long"))
    ]
    for item in items:
        np.savez(generated_path(tmp_path, item), frames=real)
    metric = evaluate_benchmark.FrechetDistance(
        evaluate_benchmark.read_protocol(str(write_protocol(models, tmp_path / "fvd.json", 16)))
    )
    monkeypatch.setattr(evaluate_benchmark.logger, "propagate", True)
    scores = evaluate_benchmark.score_generated(None, TASKS["ucf101"], items, tmp_path, {"fvd": metric}, 6)
    assert (scores["fvd"]["real"], scores["fvd"]["generated"]) == (2, 3)
    assert scores["fvd"]["distance"] == pytest.approx(0, abs=1e-6)
    assert "short.mp4' is left out of FVD" in caplog.text


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("taste", {}, "`benchmark` must be one of vqav2"),
        ("gqa", {"judge_url": "http://localhost"}, "`judge_url` needs `judge_model`"),
        ("gqa", {"data": "nothing"}, "'nothing' is no folder"),
        ("msrvtt", {}, "needs `data`, a folder in the published layout, and `detokenizer`"),
        ("msrvtt", {"detokenizer": "any"}, "give the network of at least one"),
    ],
)
def test_what_cannot_be_run_is_refused_early(tmp_path, name, kwargs, message):
    from evaluate_benchmark import main

    settings = {"benchmark": name, "model": "none", "output_dir": tmp_path / "out", "data": tmp_path, "device": "cpu"}
    with pytest.raises(ValueError, match=message):
        main([str(item) for key, value in (settings | kwargs).items() for item in (f"--{key}", value)])


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in ("ucf101", "coco", "msrvtt")])
def test_a_folder_of_another_layout_is_refused(benchmark, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="published layout"):
        benchmark(name)


def test_prompts_of_ucf101_and_protocols_have_no_defaults(models, tmp_path):
    from benchmark_tasks.generation_tasks import read_ucf101
    from evaluate_benchmark import read_protocol

    LAYOUTS["ucf101"](tmp_path / "ucf101")
    with pytest.raises(ValueError, match="give `prompts`"):
        read_ucf101(tmp_path / "ucf101", 0, None)
    (tmp_path / "few.json").write_text(json.dumps({"videos_per_class": 1, "prompts": {"Archery": "x"}}))
    with pytest.raises(ValueError, match="no prompt of \\['Diving'\\]"):
        read_ucf101(tmp_path / "ucf101", 0, tmp_path / "few.json")
    path = write_protocol(models, tmp_path / "protocol.json", 4)
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "size"}))
    with pytest.raises(ValueError, match="\\['size'\\] are missing"):
        read_protocol(str(path))


def test_captions_are_drawn_by_the_seed(tmp_path):
    from benchmark_tasks.generation_tasks import read_coco

    LAYOUTS["coco"](tmp_path)
    drawn = [[item.prompt for item in read_coco(tmp_path, seed, None)] for seed in range(8)]
    assert (
        drawn[0] == [item.prompt for item in read_coco(tmp_path, 0, None)] and len({tuple(row) for row in drawn}) > 3
    )
