"""The README tells the truth: its Python snippets run, its commands and links exist."""

import re
import shutil
from pathlib import Path

import pytest
import torch


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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

    snippets = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert len(snippets) == 4
    names = {}
    for snippet in snippets:
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
