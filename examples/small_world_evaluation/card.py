# Copyright 2026 The transformers-videolavit authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The model card of a model of the small world, whose numbers come from the evaluation's results alone."""

import hashlib
import json
import os
import platform
import shutil
from pathlib import Path

import av
import diffusers
import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .benchmarks import DAMAGE
from .generation import ATTRIBUTES


TEMPLATE = Path(__file__).parents[2] / "model_cards" / "videolavit-tiny.md"
PICTURES = ("text_to_video", "image_to_video", "long_video")
DATASET = "the small world, combinations that training never shows"


def fingerprint(checkpoint: Path) -> str:
    """Digest of all weights in a folder."""
    digest = hashlib.sha256()
    for path in sorted(checkpoint.rglob("*.safetensors")):
        digest.update(path.relative_to(checkpoint).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of the libraries that results depend on."""
    modules = {"torch": torch, "transformers": transformers, "diffusers": diffusers, "av": av}
    return {"python": platform.python_version(), **{name: module.__version__ for name, module in modules.items()}}


def describe_results(parts: dict) -> str:
    """
    The results in Markdown.

    Args:
        parts (`dict`): What each part of the evaluation measured.
    """
    sections = [_describe_targets(parts)]
    for name, describe in _SECTIONS.items():
        if name in parts:
            sections.append(describe(parts[name]))
    return "\n\n".join(section for section in sections if section)


def _percent(result: dict) -> str:
    return f"{100 * result['value']:.1f} % ({100 * result['low']:.1f} to {100 * result['high']:.1f})"


def _number(result: dict, digits: int = 2) -> str:
    return f"{result['value']:.{digits}f} ({result['low']:.{digits}f} to {result['high']:.{digits}f})"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets(parts: dict) -> list[tuple[str, float, float, str]]:
    """What was aimed at: (name, measured, target, the measured number with its interval). Shares are in percent."""
    found = []

    def add(name: str, result: dict, target: float, unit: str) -> None:
        scale, text = (100, _percent(result)) if unit == "%" else (1, f"{_number(result, 1)} {unit}")
        found.append((name, scale * result["value"], target, text))

    if "questions" in parts:
        answers = parts["questions"]["with motion tokens"]["by_type"]
        add("questions about motion", answers["motion"], 90, "%")
        add("questions about appearance", answers["appearance"], 95, "%")
    if "text_to_video" in parts:
        made = parts["text_to_video"]["with motion tokens"]
        add("text to video, all attributes right", made["all"], 70, "%")
        add("text to video, direction", made["direction"], 90, "%")
    if "image_to_video" in parts:
        add("image to video, direction", parts["image_to_video"]["direction"], 90, "%")
    if "reconstruction" in parts:
        gain = parts["reconstruction"]["gain_moving"]["keyframe and motion tokens"]
        add("reconstruction, moving pixels, above the keyframe repeated", gain, 6, "dB")
    return found


def _describe_targets(parts: dict) -> str:
    rows = [
        [name, text, f"{target:g}", "yes" if measured >= target else "**no**"]
        for name, measured, target, text in targets(parts)
    ]
    if "long_video" in parts:
        drift = parts["long_video"]
        for clip, values in drift["DDIM inversion"].items():
            ours, without = values["background"]["value"], drift["none"][clip]["background"]["value"]
            text = f"{ours:.1f}, {without:.1f} without"
            rows.append([f"drift of the background, {clip}", text, "lower", "yes" if ours < without else "**no**"])
    return _table(["held-out combinations", "measured, 95 % interval", "target", "reached"], rows) if rows else ""


def _describe_reconstruction(result: dict) -> str:
    rows = [
        [name, _number(values["psnr"]), _number(values["psnr_moving"]), _number(values["ssim"], 3)]
        for name, values in result["ways"].items()
    ]
    motion = result["motion"]
    return (
        "### Reconstruction\n\n"
        + _table(["frames from", "PSNR, dB", "PSNR of moving pixels, dB", "SSIM"], rows)
        + f"\n\nOf the motion field, {_number(motion['relative_error'])} of the mean length is lost in the tokens: a signal-to-noise ratio "
        f"of {_number(motion['signal_to_noise'], 1)} dB."
    )


def _describe_questions(result: dict) -> str:
    names = list(result)
    types = ["appearance", "motion"]
    rows = [[f"**{kind}**", *(_percent(result[name]["by_type"][kind]) for name in names)] for kind in types]
    for group in ("by_number", "by_attribute"):
        rows += [
            [asked, *(_percent(result[name][group][asked]) for name in names)] for asked in result[names[0]][group]
        ]
    return "### Questions about videos\n\nShare of answers that are right to the word.\n\n" + _table(
        ["asked for", *names], rows
    )


def _table_by_size(by_size: dict) -> str:
    header = ["right", *(f"{size}, {shares['direction']['count']} videos" for size, shares in by_size.items())]
    attributes = next(iter(by_size.values()))
    return _table(header, [[name, *(_percent(shares[name]) for shares in by_size.values())] for name in attributes])


def _describe_text_to_video(result: dict) -> str:
    names = list(result)
    rows = [[right, *(_percent(result[name][right]) for name in names)] for right in (*ATTRIBUTES, "all")]
    return (
        "### Text to video\n\nShare of videos whose pixels show, to a program that finds and follows the object, what was asked for.\n\n"
        + _table(["right", *names], rows)
        + f"\n\n{names[0].capitalize()}, by the object's size:\n\n"
        + _table_by_size(result[names[0]]["by_size"])
    )


def _describe_image_to_video(result: dict) -> str:
    rows = [[name, _percent(result[name])] for name in ("direction", "speed", "identity")]
    error = f"\n\nDirections are off by {_number(result['direction_error'], 1)} degrees."
    return (
        "### Image to video\n\n"
        + _table(["right", "share"], rows)
        + error
        + "\n\nBy the object's size:\n\n"
        + _table_by_size(result["by_size"])
    )


def _describe_long_video(result: dict) -> str:
    rows = [
        [name, clip, _number(values["background"], 1), _number(values["colour"], 1), _percent(values["same_object"])]
        for name, clips in result.items()
        for clip, values in clips.items()
    ]
    header = [
        "a keyframe starts from",
        "against clip 1",
        "background",
        "colour of the object",
        "same colour and shape",
    ]
    return (
        "### Videos of four clips\n\nRoot mean square difference of the background (0 to 255), distance of the object's colours (0 to 442).\n\n"
        + _table(header, rows)
    )


def _describe_token_rates(result: dict) -> str:
    own, *others = result["motion_tokens"]
    counts = [f"{own['tokens']} (of this model)" if others else str(own["tokens"])]
    counts += [str(values["tokens"]) for values in others]
    motion = [
        [count, _number(values["signal_to_noise"], 1), _number(values["psnr"])]
        for count, values in zip(counts, result["motion_tokens"])
    ]
    frames = [
        [str(values["pictures"]), _number(values["tokens_per_second"], 1), _number(values["psnr"])]
        for values in result["frame_by_frame"]
    ]
    return (
        f"### Tokens\n\nA second of video takes {_number(result['tokens_per_second'], 1)} tokens, a keyframe "
        f"{_number(result['visual_tokens'], 1)}.\n\nFrames from a keyframe and a number of motion tokens:\n\n"
        + _table(
            ["motion tokens of a clip", "signal-to-noise ratio of the motion, dB", "PSNR of the frames, dB"], motion
        )
        + "\n\nFrames from pictures with tokens of their own, each shown until the next:\n\n"
        + _table(["pictures of a clip", "tokens a second", "PSNR of the frames, dB"], frames)
    )


def _describe_benchmarks(result: dict) -> str:
    rows = [
        [title, *(_number(result[name][metric], digits) for name in ("checkpoint", "damaged"))]
        for title, metric, digits in (
            ("MSVD-QA's layout: right answers, %, higher is better", "accuracy", 1),
            ("MSR-VTT's layout: CLIPSIM, higher is better", "clipsim", 3),
            ("MSR-VTT's layout: FVD, lower is better", "fvd", 4),
        )
    ]
    return (
        "### The benchmarks' program\n\n`examples/evaluate_benchmark.py` on scenes of the small world, with this model and with a copy "
        f"that has noise of {DAMAGE:g} deviations in the weights of its language model. CLIPSIM is of a small CLIP that was trained "
        "on the small world, FVD of features that stand in for I3D's: these numbers compare with no published ones.\n\n"
        + _table(["measured", "this model", "damaged"], rows)
    )


_SECTIONS = {
    "reconstruction": _describe_reconstruction,
    "questions": _describe_questions,
    "text_to_video": _describe_text_to_video,
    "image_to_video": _describe_image_to_video,
    "long_video": _describe_long_video,
    "token_rates": _describe_token_rates,
    "benchmarks": _describe_benchmarks,
}


def write_card(checkpoint: Path, results: dict, pictures: Path) -> Path:
    """
    Writes the card, and beside it the pictures and the results it tells of.

    Args:
        checkpoint (`Path`): Folder of the model's three repositories. Where it has `training.md`, on how this one was trained, or
            `analysis.md`, on what the results come from, the card holds them.
        results (`dict`): Results of the evaluation.
        pictures (`Path`): Folder of its pictures.
    """
    media = checkpoint / "media"
    media.mkdir(exist_ok=True)
    shown = []
    for name in PICTURES:
        if (pictures / f"{name}.png").exists():
            for suffix in (".png", ".mp4"):
                shutil.copyfile(pictures / f"{name}{suffix}", media / f"{name}{suffix}")
            shown.append((name, (pictures / f"{name}.txt").read_text(encoding="utf-8")))
    times_path = checkpoint / "times.json"
    times = json.loads(times_path.read_text()) if times_path.exists() else {}
    written = {name: checkpoint / f"{name}.md" for name in ("training", "analysis")}
    evaluations = [
        EvalResult(
            task_type="video-text-to-text" if name.startswith("questions") else "text-to-video",
            dataset_type="small-world",
            dataset_name=DATASET,
            metric_type="psnr" if "reconstruction" in name else "accuracy",
            metric_name=name,
            metric_value=round(measured, 2),
        )
        for name, measured, _, _ in targets(results["parts"])
    ]
    data = ModelCardData(
        license="apache-2.0",
        language="en",
        library_name="transformers",
        pipeline_tag="any-to-any",
        tags=["video-lavit", "text-to-video", "video-text-to-text"],
        model_name="videolavit-tiny",
        eval_results=evaluations,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        evaluation=describe_results(results["parts"]),
        versions=results["common"]["versions"],
        pictures=dict(shown),
        times=times,
        **{name: path.read_text(encoding="utf-8").strip() if path.exists() else "" for name, path in written.items()},
    )
    (checkpoint / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    path = checkpoint / "README.md"
    temporary = path.with_suffix(".incomplete")
    card.save(temporary)
    os.replace(temporary, path)
    return path
