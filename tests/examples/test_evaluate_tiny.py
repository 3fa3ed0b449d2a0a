"""The evaluation of a model of the small world, from its checkpoint to its card, on small random weights."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from small_checkpoint import write_small_checkpoint

from transformers_videolavit import VideoLaVITForCausalLM


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from release_tiny import main

    folder = tmp_path_factory.mktemp("tiny")
    write_small_checkpoint(folder)
    (folder / "times.json").write_text('{"pretrain": 12.5}')
    parts = ("--pretrained", folder / "model", "--instruct", folder / "model", "--detokenizer", folder / "detokenizer")
    parts += ("--visual_guidance_scale", 1.5, "--min_visual_tokens", 2, "--max_guidance_scale", 1.0)
    parts += ("--continuous_keyframe", "true")
    main(
        [str(item) for item in (*parts, "--times", folder / "times.json", "--output_dir", folder / "videolavit-tiny")]
    )
    return folder / "videolavit-tiny"


def test_a_release_is_in_half_precision_but_for_its_codebooks(checkpoint):
    with safe_open(checkpoint / "video-lavit" / "model.safetensors", framework="pt") as weights:
        dtypes = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    single = {name for name, dtype in dtypes.items() if dtype == "F32"}
    # What decides on codes stays as it was trained.
    assert any("quantizer.codebook" in name for name in single) and all("quantizer" in name for name in single)
    assert {dtypes[name] for name in dtypes.keys() - single} <= {"F16", "BOOL"}
    model = VideoLaVITForCausalLM.from_pretrained(checkpoint / "video-lavit", dtype=torch.float32)
    assert model.config.num_clip_tokens == 391
    assert model.generation_config.visual_guidance_scale == 1.5 and model.generation_config.min_visual_tokens == 2
    configurations = "".join(path.read_text() for path in checkpoint.rglob("*.json"))
    assert "_name_or_path" not in configurations and "auto_map" not in configurations
    assert not list((checkpoint / "video-lavit").glob("*.py"))
    index = json.loads((checkpoint / "video-lavit-detokenizer" / "model_index.json").read_text())
    assert index["max_guidance_scale"] == 1.0 and index["keyframe_guidance_scale"] == 7.0
    assert index["continuous_keyframe"] is True
    with safe_open(
        checkpoint / "video-lavit-detokenizer" / "unet" / "diffusion_pytorch_model.safetensors", framework="pt"
    ) as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_a_release_that_is_too_large_is_refused(tmp_path, capsys):
    from release_tiny import main

    write_small_checkpoint(tmp_path)
    parts = (
        "--pretrained",
        tmp_path / "model",
        "--instruct",
        tmp_path / "model",
        "--detokenizer",
        tmp_path / "detokenizer",
    )
    with pytest.raises(SystemExit):
        main([str(item) for item in (*parts, "--output_dir", tmp_path / "release", "--max_megabytes", 0.1)])
    assert re.search(r"the weights take [0-9.]+ MB, more than `--max_megabytes` 0.1", capsys.readouterr().err)
    assert not (tmp_path / "release").exists()


def test_every_part_is_measured_once_and_written_into_the_card(checkpoint, tmp_path, capsys):
    from evaluate_tiny import PARTS, main

    numbers = {"num_reconstructions": 2, "num_question_videos": 2, "num_generations": 2, "num_long_videos": 1}
    numbers |= {"num_token_rate_clips": 1, "num_inference_steps": 1}
    numbers |= {"num_benchmark_videos": 2, "num_clip_steps": 1}
    arguments = [
        "--checkpoint",
        checkpoint,
        "--without_motion",
        checkpoint,
        "--output_dir",
        tmp_path,
        "--device",
        "cpu",
    ]
    arguments += ["--motion_tokenizers", checkpoint / "video-lavit-detokenizer" / "motion_tokenizer"]
    arguments = list(
        map(str, [*arguments, *(item for name, value in numbers.items() for item in (f"--{name}", value))])
    )
    main([*arguments, "--parts", "questions", "token_rates"])
    first = json.loads((tmp_path / "results.json").read_text())
    assert list(first["parts"]) == ["questions", "token_rates"]
    (checkpoint / "training.md").write_text("In two runs.\n")
    (checkpoint / "analysis.md").write_text("Weights are random.\n")
    main([*arguments, "--write_card"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["parts"]) == set(PARTS)
    assert {name: results["parts"][name] for name in first["parts"]} == first["parts"]
    assert "questions: measured already" in capsys.readouterr().out

    assert results["parts"]["text_to_video"]["with motion tokens"]["all"]["count"] == 2
    by_size = results["parts"]["image_to_video"]["by_size"]
    assert sum(shares["identity"]["count"] for shares in by_size.values()) == 2
    assert len(results["parts"]["token_rates"]["motion_tokens"]) == 2
    assert list(results["parts"]["long_video"]["none"]) == ["clip 2", "clip 3", "clip 4"]
    assert results["parts"]["token_rates"]["frame_by_frame"][-1]["pictures"] == 24

    assert results["parts"]["benchmarks"]["checkpoint"]["clipsim"]["count"] == 2
    assert results["parts"]["benchmarks"]["damaged"]["fvd"]["protocol"]["network"].startswith("stand-in")

    card = ModelCard.load(checkpoint / "README.md")
    measured = {result.metric_name: result.metric_value for result in card.data.eval_results}
    motion = results["parts"]["questions"]["with motion tokens"]["by_type"]["motion"]["value"]
    assert measured["questions about motion"] == round(100 * motion, 2)
    assert "## Training\n\nIn two runs.\n" in card.text
    assert "### What the results come from\n\nWeights are random.\n" in card.text
    tokens = results["parts"]["token_rates"]["motion_tokens"][0]["tokens"]
    counts = " | ".join(f"{size}, {shares['identity']['count']} videos" for size, shares in by_size.items())
    assert card.text.count(f"| right | {counts} |") == 2
    assert f"| {tokens} (of this model) |" in card.text and f"| {tokens} |" in card.text
    assert "| pretrain | 12.5 |" in card.text and (checkpoint / "media" / "text_to_video.png").exists()
    for name in (
        "Reconstruction",
        "Questions about videos",
        "Text to video",
        "Image to video",
        "Videos of four clips",
        "Tokens",
        "The benchmarks' program",
    ):
        assert f"### {name}\n" in card.text


def test_processes_side_by_side_keep_each_others_parts(checkpoint, monkeypatch, tmp_path):
    import evaluate_tiny

    arguments = ["--checkpoint", str(checkpoint), "--output_dir", str(tmp_path), "--parts"]

    def first(evaluation):
        # Another process ends while this one measures.
        evaluate_tiny.main([*arguments, "second"])
        return {"value": 1}

    monkeypatch.setattr(evaluate_tiny, "Evaluation", lambda arguments: None)
    parts = {"first": first, "second": lambda evaluation: {"value": 2}}
    parts = {name: evaluate_tiny.Part(measure, (), ()) for name, measure in parts.items()}
    monkeypatch.setattr(evaluate_tiny, "PARTS", parts)
    evaluate_tiny.main([*arguments, "first"])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["parts"] == {"first": {"value": 1}, "second": {"value": 2}}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_the_snippets_of_the_card_run(checkpoint, monkeypatch):
    template = (ROOT / "model_cards" / "videolavit-tiny.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", template, re.DOTALL | re.MULTILINE)
    assert len(snippets) == 3
    monkeypatch.chdir(checkpoint.parent)
    shutil.copy(ROOT / "examples" / "media" / "big_buck_bunny.mp4", "clip.mp4")
    names = {}
    for snippet in snippets:
        exec(compile(snippet.replace("num_inference_steps=12", "num_inference_steps=1"), "card", "exec"), names)
    assert len(names["frames"]) == 24 and names["image"].size == (64, 64)


def test_what_a_part_depends_on_decides_whether_it_is_measured_anew(tmp_path, monkeypatch, capsys):
    import evaluate_tiny

    def write_weights(name, weights):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "model.safetensors").write_bytes(weights)

    for name in ("video-lavit", "video-lavit-sft", "fewer"):
        write_weights(name, b"weights")
    parts = {
        "questions": (evaluate_tiny.ANSWERS, ("num_question_videos",)),
        "token_rates": (evaluate_tiny.GENERATES, ("motion_tokenizers",)),
    }
    parts = {name: evaluate_tiny.Part(lambda evaluation: {}, *depends) for name, depends in parts.items()}
    monkeypatch.setattr(evaluate_tiny, "Evaluation", lambda arguments: None)
    monkeypatch.setattr(evaluate_tiny, "PARTS", parts)
    described = []
    monkeypatch.setattr(evaluate_tiny.card, "describe_results", lambda parts: described.append(set(parts)) or "")

    def measured_already(*arguments, chosen=("questions", "token_rates")):
        paths = ["--checkpoint", str(tmp_path), "--output_dir", str(tmp_path / "results")]
        evaluate_tiny.main([*paths, *arguments, "--parts", *chosen])
        return [line.removesuffix(": measured already") for line in capsys.readouterr().out.strip().splitlines()]

    assert measured_already() == []
    assert measured_already("--num_question_videos", "2") == ["token_rates"]
    others = ("--num_question_videos", "2", "--motion_tokenizers", str(tmp_path / "fewer"))
    assert measured_already(*others) == ["questions"]
    assert measured_already(*others) == ["questions", "token_rates"]

    write_weights("fewer", b"others")
    assert measured_already(*others) == ["questions"]
    write_weights("video-lavit-sft", b"others")
    assert measured_already(*others) == ["token_rates"]
    # What was measured of other weights is not kept, though it is not measured anew.
    write_weights("video-lavit", b"others")
    assert measured_already(*others, chosen=("questions",)) == ["questions"] and described[-1] == {"questions"}
    # Nor is anything of other libraries.
    monkeypatch.setattr(evaluate_tiny.card, "versions", lambda: {"torch": "another"})
    assert measured_already(*others, chosen=("token_rates",)) == [] and described[-1] == {"token_rates"}
