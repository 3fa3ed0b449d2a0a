"""Files as VBench names them."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_checkpoint import write_small_checkpoint

from transformers_videolavit.video_decoding import VideoFileFrames
from videolavit_lmms_eval.vbench import video_path, write_video


def test_a_file_has_the_name_of_its_prompt():
    assert video_path(Path("folder"), "a dog, running", 3) == Path("folder/a dog, running-3.mp4")


@pytest.mark.parametrize("prompt", ["", "this/that", "x" * 260])
def test_prompts_that_are_no_names_are_refused(prompt):
    with pytest.raises(ValueError, match="cannot be a name"):
        video_path(Path("folder"), prompt, 0)


def test_a_video_comes_back_almost_as_it_was(tmp_path):
    frames = np.full((6, 32, 32, 3), 0.25)
    frames[:, :16] = 0.75
    write_video(tmp_path / "new" / "video.mp4", frames, 6)
    read = np.stack(
        [frame.to_ndarray(format="rgb24") for frame in VideoFileFrames(str(tmp_path / "new" / "video.mp4"))]
    )
    assert read.shape == (6, 32, 32, 3) and np.abs(read / 255 - frames)[:, 2:14].max() < 0.03
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["video.mp4"]


def test_prompts_have_as_many_videos_as_vbench_wants(tmp_path):
    from generate_vbench import VBenchArguments, read_prompts

    entries = [{"prompt_en": "a", "dimension": ["color"]}, {"prompt_en": "b", "dimension": ["temporal_flickering"]}]
    entries.append({"prompt_en": "b", "dimension": ["scene"]})
    (tmp_path / "info.json").write_text(json.dumps(entries))
    (tmp_path / "prompts.txt").write_text("a\n\nb \n")
    common = {"model": "m", "detokenizer": "d", "output_dir": "o"}
    assert read_prompts(VBenchArguments(str(tmp_path / "info.json"), **common)) == [("a", 5), ("b", 25)]
    assert read_prompts(VBenchArguments(str(tmp_path / "prompts.txt"), **common)) == [("a", 5), ("b", 5)]
    (tmp_path / "prompts.txt").write_text("\n")
    with pytest.raises(ValueError, match="has no prompts"):
        read_prompts(VBenchArguments(str(tmp_path / "prompts.txt"), **common))


def test_a_folder_is_filled_once(tmp_path):
    from generate_vbench import main

    write_small_checkpoint(tmp_path)
    (tmp_path / "prompts.txt").write_text("a cat\n")
    settings = {
        "prompts": tmp_path / "prompts.txt",
        "model": tmp_path / "model",
        "detokenizer": tmp_path / "detokenizer",
    }
    settings |= {"output_dir": tmp_path / "out", "videos_per_prompt": 2, "device": "cpu", "num_inference_steps": 1}
    settings |= {"height": 64, "width": 64}
    arguments = [str(item) for name, value in settings.items() for item in (f"--{name}", value)]
    main(arguments)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert sorted(times) == ["a cat-0.mp4", "a cat-1.mp4"]
    main(arguments)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == times
