"""Data sets to shards of token ids: whole, killed, in several processes, with samples that cannot be read."""

import json
import os
import random
import time
from pathlib import Path

import datasets
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from training_runs import run, start
from transformers import AutoProcessor
from videos import encode_video

from transformers_videolavit import VideoLaVITForCausalLM


NUM_VIDEOS = 200


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small random model, with still smaller tokenizers, saved."""
    from small_random_model import build_processor, small_config

    folder = tmp_path_factory.mktemp("small")
    config = small_config()
    config.vision_config.image_size = 56
    config.motion_tokenizer_config.hidden_size = config.motion_tokenizer_config.intermediate_size = 8
    torch.manual_seed(0)
    model = VideoLaVITForCausalLM(config).eval()
    processor = build_processor(config)
    processor.num_image_tokens = config.num_image_tokens
    for part in (processor.image_processor, processor.video_processor):
        part.size = {"height": 56, "width": 56}
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, model, AutoProcessor.from_pretrained(folder)


def textured_frames(seed):
    """Eight frames of a texture that moves."""
    texture = (
        np.random.default_rng(seed).integers(0, 256, (8, 14, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    )
    return np.stack([texture[index : index + 32, 2 * index : 2 * index + 48] for index in range(8)])


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two hundred short videos with captions, of which one in twenty is broken in one of five ways; and the good ones' ids."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "clips").mkdir()
    rows, good = ["videoid,path,name"], set()
    for index in range(NUM_VIDEOS):
        path = folder / "clips" / f"{index}.mp4"
        content = encode_video(textured_frames(index), fps=6)
        if index % 20 == 7:
            kind = index // 20 % 5
            content = [content[: len(content) // 3], b"garbage" * 50, b"", None, content[:40] + b"x" * 200][kind]
        else:
            good.add(str(index))
        if content is not None:
            path.write_bytes(content)
        rows.append(f"{index},clips/{index}.mp4,video number {index}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder, good


def arguments(small, videos, output_dir, **kwargs):
    settings = {"model_name_or_path": small[0], "output_dir": output_dir}
    if "inputs" not in kwargs:
        settings["inputs"] = json.dumps([{"kind": "video", "path": str(videos[0] / "metadata.csv")}])
    settings |= {"unit_size": 16, "num_workers": 0, "device": "cpu", "batch_size": 16} | kwargs
    return [str(item) for name, value in settings.items() for item in (f"--{name}", value)]


def read(folder):
    shards = sorted(str(path) for path in Path(folder).glob("*.parquet"))
    rows = list(datasets.load_dataset("parquet", data_files=shards, split="train"))
    errors = [
        json.loads(line) for path in sorted(folder.glob("errors/*.jsonl")) for line in path.read_text().splitlines()
    ]
    return rows, errors


@pytest.fixture(scope="module")
def uninterrupted(small, videos, tmp_path_factory):
    """The output of a run in one process."""
    from tokenize_dataset import main

    folder = tmp_path_factory.mktemp("tokens")
    main(arguments(small, videos, folder))
    return folder


def test_every_good_video_is_there_once_and_every_bad_one_in_the_error_table(videos, uninterrupted):
    rows, errors = read(uninterrupted)
    assert sorted(row["id"] for row in rows) == sorted(videos[1])
    bad = {str(index) for index in range(NUM_VIDEOS)} - videos[1]
    assert sorted(error["id"] for error in errors) == sorted(bad)
    assert all(error["reason"] and error["source"].endswith(f"{error['id']}.mp4") for error in errors)
    summary = json.loads((uninterrupted / "summary.json").read_text())
    assert (summary["samples"], summary["errors"], summary["videos"]) == (len(rows), len(bad), len(rows))
    assert summary["tokens"] == sum(row["num_tokens"] for row in rows)


def test_tokens_are_those_of_the_model(small, videos, uninterrupted):
    _, model, processor = small
    (row,) = [row for row in read(uninterrupted)[0] if row["id"] == "11"]
    video = processor.video_processor(str(videos[0] / "clips" / "11.mp4"), clip_sampling="all", return_tensors="pt")
    assert row["motion_codes"] == model.model.motion_tokenizer.encode(video["motion_vectors"]).tolist()
    codes = model.model.keyframe_tokenizer.encode(video["pixel_values_videos"])
    assert row["visual_codes"] == [clip.tolist() for clip in codes]
    assert row["text"] == "video number 11" and row["start_times"] == [0.0]
    assert row["num_tokens"] == len(codes[0]) + 2 + 135 + 2


def test_a_stored_keyframe_is_what_the_encoder_saw(small, videos, uninterrupted):
    import io

    processor = small[2]
    (row,) = [row for row in read(uninterrupted)[0] if row["id"] == "11"]
    video = processor.video_processor(str(videos[0] / "clips" / "11.mp4"), clip_sampling="all", return_tensors="pt")
    image = Image.open(io.BytesIO(row["keyframes"][0]))
    pixel_values = processor.image_processor(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixel_values, video["pixel_values_videos"], rtol=0, atol=1e-6)


def test_shards_say_what_made_them(small, uninterrupted):
    from training.token_shards import read_metadata

    tokenization = json.loads((uninterrupted / "tokenization.json").read_text())
    shards = sorted(uninterrupted.glob("*.parquet"))
    assert len(shards) == 13 and all(read_metadata(path)["tokenization"] == tokenization for path in shards)
    assert tokenization["codec"]["encoder_threads"] == 1 and "libavcodec" in tokenization["codec"]
    assert len(tokenization["model_sha256"]) == 64 and tokenization["video_processor"]["fps"] == 6


def test_a_run_killed_three_times_has_no_gaps_and_no_duplicates(small, videos, uninterrupted, tmp_path):
    generator = random.Random(0)
    args = arguments(small, videos, tmp_path, num_workers=1)
    for attempt in range(1, 4):
        process = start("tokenize_dataset", *args)
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*.parquet"))) < 3 * attempt and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(0.05 * generator.random())
        kill(process)
    assert 9 <= len(list(tmp_path.glob("*.parquet"))) < 13 and not (tmp_path / "summary.json").exists()
    run("tokenize_dataset", *args)
    assert read(tmp_path) == read(uninterrupted)
    assert not list(tmp_path.rglob("*.incomplete"))


def kill(process):
    """Kills the program, upon which its workers end."""
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert workers and psutil.wait_procs(workers, timeout=30)[1] == []


def test_two_processes_give_what_one_gives(small, videos, uninterrupted, tmp_path):
    run("tokenize_dataset", *arguments(small, videos, tmp_path), num_processes=2)
    assert read(tmp_path) == read(uninterrupted)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (tmp_path, uninterrupted)]
    assert summaries[0] == summaries[1]


def test_a_worker_that_dies_costs_its_sample_only(small, tmp_path, monkeypatch):
    import tokenize_dataset
    from training.sources import Item

    args = tokenize_dataset.TokenizationArguments(str(small[0]), str(tmp_path), [{}], num_workers=2, prefetch=2)
    workers = tokenize_dataset.Workers(args)
    monkeypatch.setattr(tokenize_dataset, "_start_worker", _start_fragile_worker)
    monkeypatch.setattr(tokenize_dataset, "_prepare", _die_of_three)
    items = [Item(str(number), "video", "", None, "") for number in range(8)]
    results = list(workers(items))
    workers.close()
    assert [item.id for item, _ in results] == [str(number) for number in range(8)]
    assert [item.id for item, result in results if isinstance(result, Exception)] == ["3"]
    assert "died" in str(results[3][1])


def _start_fragile_worker(args):
    pass


def _die_of_three(item):
    if item.id == "3":
        os.abort()
    return f"prepared {item.id}"


def test_other_settings_do_not_mix_with_what_is_there(small, videos, uninterrupted):
    from tokenize_dataset import main

    with pytest.raises(ValueError, match="max_clips differ"):
        main(arguments(small, videos, uninterrupted, max_clips=3))


def test_shards_follow_their_inputs_when_these_change(small, tmp_path):
    from tokenize_dataset import main

    def tokenize(texts):
        (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        inputs = [{"kind": "text", "path": str(tmp_path / "texts.jsonl")}]
        settings = {"inputs": json.dumps(inputs), "model_name_or_path": small[0], "output_dir": tmp_path / "tokens"}
        settings |= {"num_workers": 0, "device": "cpu", "unit_size": 4}
        main([str(item) for name, value in settings.items() for item in (f"--{name}", value)])
        rows, errors = read(tmp_path / "tokens")
        assert json.loads((tmp_path / "tokens" / "summary.json").read_text())["samples"] == len(rows)
        return [row["text"] for row in rows], [int(error["id"]) for error in errors]

    texts = [f"text {number}" for number in range(6)]
    assert tokenize(texts) == (texts, [])
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tokens").glob("*.parquet")}
    # Appended: the first shard stays as it is. An empty text is an error.
    assert tokenize([*texts, "more", "", "even more"]) == ([*texts, "more", "even more"], [7])
    assert (tmp_path / "tokens" / "input-0-000000.parquet").stat().st_mtime_ns == times["input-0-000000.parquet"]
    assert tokenize(["first", *texts]) == (["first", *texts], [])
    assert tokenize(["other", "", "others"]) == (["other", "others"], [1])
    assert [path.name for path in (tmp_path / "tokens").glob("*.parquet")] == ["input-0-000000.parquet"]
    assert tokenize(["other", "second"]) == (["other", "second"], [])


def test_a_long_video_is_not_given_to_the_tokenizers_at_once(small, tmp_path, monkeypatch):
    from tokenize_dataset import main

    frames = np.concatenate([textured_frames(seed) for seed in range(15)])
    (tmp_path / "long.mp4").write_bytes(encode_video(frames, fps=6))
    (tmp_path / "videos.csv").write_text("path,caption\nlong.mp4,a long video\n")
    given, rows = [], []
    for part in (type(small[1].model.keyframe_tokenizer), type(small[1].model.motion_tokenizer)):
        encode = part.encode
        monkeypatch.setattr(
            part, "encode", lambda self, clips, encode=encode: given.append(len(clips)) or encode(self, clips)
        )
    for batch_size in (2, 8):
        output_dir = tmp_path / str(batch_size)
        inputs = [{"kind": "video", "path": str(tmp_path / "videos.csv")}]
        main(arguments(small, None, output_dir, batch_size=batch_size, inputs=json.dumps(inputs)))
        rows += read(output_dir)[0]
    assert len(rows[0]["motion_codes"]) == 5 and given == [2, 2, 1, 2, 2, 1, 5, 5]
    assert rows[0] == rows[1]


def test_a_dry_run_estimates_and_writes_nothing(small, videos, tmp_path, capsys):
    from tokenize_dataset import main

    main(arguments(small, videos, tmp_path / "none", dry_run=10))
    result = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "none").exists()
    assert result["samples"] + result["errors"] == 10 and result["tokens_per_second_of_video"] > 30
    assert result["estimate"]["samples"] == NUM_VIDEOS
    assert result["estimate"]["tokens"] == pytest.approx(result["tokens"] * NUM_VIDEOS / 10, abs=1)


def test_images_and_texts_of_every_layout(small, tmp_path):
    from tokenize_dataset import main

    generator = np.random.default_rng(0)
    for index in range(3):
        Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    rows = [{"image": f"{index}.png", "caption": f"image {index}"} for index in range(4)]
    (tmp_path / "images.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "texts.txt").write_text("a text\n\nanother text\n")
    inputs = [
        {"kind": "image", "path": str(tmp_path / "images.jsonl")},
        {"kind": "text", "path": str(tmp_path / "texts.txt")},
        {"kind": "image", "path": str(tmp_path / "broken.tar")},
    ]
    (tmp_path / "broken.tar").write_bytes(b"no tar")
    settings = {"inputs": json.dumps(inputs), "model_name_or_path": small[0], "output_dir": tmp_path / "tokens"}
    settings |= {"num_workers": 0, "device": "cpu", "keyframe_format": "jpeg"}
    main([str(item) for name, value in settings.items() for item in (f"--{name}", value)])
    rows, errors = read(tmp_path / "tokens")
    assert [(row["kind"], row["text"]) for row in rows] == [
        *(("image", f"image {index}") for index in range(3)),
        ("text", "a text"),
        ("text", "another text"),
    ]
    assert [len(row["visual_codes"]) for row in rows] == [1, 1, 1, 0, 0] and not any(
        row["motion_codes"] for row in rows
    )
    assert rows[0]["keyframes"][0][:2] == b"\xff\xd8"
    assert [error["id"] for error in errors if error["kind"] == "image"] == ["3", "broken.tar"]


def test_what_is_written_can_be_trained_on(small, uninterrupted, tmp_path):
    from pretrain import main

    settings = {"model_name_or_path": small[0], "train_files": uninterrupted / "*.parquet", "output_dir": tmp_path}
    settings |= {"max_steps": 1, "per_device_train_batch_size": 1, "max_length": 1000}
    main([*(str(item) for name, value in settings.items() for item in (f"--{name}", value)), "--use_cpu"])
    assert not torch.equal(VideoLaVITForCausalLM.from_pretrained(tmp_path).lm_head.weight, small[1].lm_head.weight)
