"""The README tells the truth: its Python snippets run, its commands and links exist."""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
import torch


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
# What makes each training program of the README short.
BRIEF = {
    "small_world": ["--num_videos", "4", "--num_images", "4", "--num_objects", "1"],
    "tokenize_dataset": ["--num_workers", "0"],
    "assemble_model": ["--text_vocab_size", "400"],
    "train_video_detokenizer": ["--sample_steps", "1", "--per_device_train_batch_size", "1"],
    "train_keyframe_detokenizer": ["--sample_steps", "1"],
    "pretrain": ["--per_device_train_batch_size", "1"],
}
BRIEF_TRAINING = (
    "--max_steps 2 --eval_steps 2 --save_steps 2 --per_device_train_batch_size 2 --dataloader_num_workers 0"
)


@pytest.fixture
def small_random_model(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import small_random_model

    return small_random_model


def test_python_snippets_run_one_after_another(small_random_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["small_random_model.py", "--output_dir", "."])
    small_random_model.main()
    shutil.copy(ROOT / "examples" / "media" / "big_buck_bunny.mp4", "clip.mp4")

    # The last one is about what the training commands have made.
    assert len(SNIPPETS) == 5
    names = {}
    for snippet in SNIPPETS[:-1]:
        exec(compile(snippet, "README.md", "exec"), names)

    config = names["model"].config
    assert names["model"].dtype == torch.bfloat16
    printed = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed[-5:] == ["text", "image", "motion", "image", "motion"]
    assert len(names["visual_codes"]) == len(names["motion_codes"]) == 2
    assert names["motion_codes"].shape == (2, config.motion_tokenizer_config.num_motion_tokens)
    assert names["motion"].shape == (2, 2, 24, 40, 72)
    assert len(names["frames"]) == 47


def test_commands_and_links_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\w+)|`make (\w+)`", README, re.MULTILINE)
    targets = {first or second for first, second in commands}
    assert {"demo", "test", "benchmark"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert "exec make test" in (ROOT / ".ci" / "run").read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_training_commands_make_a_model_that_answers_and_generates(tmp_path, monkeypatch):
    """All of them, one after another, with a few small videos and two steps each."""
    monkeypatch.chdir(tmp_path)
    for folder in ("examples", "checkpoints"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    lines = "".join(block for block in blocks if "data/train" in block).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.strip()]
    programs = []
    for command in commands:
        index = next(index for index, word in enumerate(command) if word.startswith("examples/"))
        program, args = Path(command[index]).stem, command[index + 1 :]
        assert command[:index] in (["python"], ["accelerate", "launch"]) and (ROOT / command[index]).is_file()
        args += BRIEF_TRAINING.split() if "--config" in args else []
        monkeypatch.setattr("sys.argv", [program, *args, *BRIEF.get(program, [])])
        runpy.run_path(command[index], run_name="__main__")
        programs.append(program)
    trained = {path.stem for path in (ROOT / "examples").glob("train_*.py")} | {
        "pretrain",
        "finetune_full",
        "finetune_lora",
        "merge_lora",
    }
    # Of the model that is trained by `make tiny`.
    trained -= {
        "train_tiny",
        "train_small_world_encoder",
        "train_small_world_selector",
        "train_small_world_answers",
        "train_small_world_motion",
    }
    assert trained <= set(programs)

    names = {}
    snippet = SNIPPETS[-1].replace("width=64)", "width=64, num_inference_steps=1, keyframe_num_inference_steps=1)")
    exec(compile(snippet, "README.md", "exec"), names)
    assert len(names["frames"]) == 24 and names["frames"][0].size == (64, 64)

    for folder in ("outputs/instruct", "outputs/merged"):
        model = names["VideoLaVITForCausalLM"].from_pretrained(folder, dtype=torch.float32)
        processor = names["VideoLaVITProcessor"].from_pretrained(folder)
        content = [{"type": "video", "path": str(next((tmp_path / "data" / "train" / "videos").iterdir()))}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": [*content, {"type": "text", "text": "What colour is the object?"}]}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        assert model.generate(**inputs, max_new_tokens=4).shape[1] > inputs["input_ids"].shape[1]
