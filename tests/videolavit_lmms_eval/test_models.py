"""The plug-in for lmms-eval, with stand-ins for what it takes from lmms-eval, whose pins conflict with ours."""

import json
import sys
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image
from small_checkpoint import write_small_checkpoint

from transformers_videolavit.video_decoding import VideoFileFrames


VIDEO = str(Path(__file__).parents[2] / "examples" / "media" / "big_buck_bunny.mp4")


@dataclass
class Instance:
    request_type: str
    arguments: tuple


class Model:
    """As `lmms_eval.api.model.lmms`."""

    def __init__(self):
        self.kept = []
        self.cache_hook = SimpleNamespace(add_partial=lambda *args: self.kept.append(args))
        self.task_dict = {}


@dataclass
class ChatMessages:
    """As `lmms_eval.protocol.ChatMessages`."""

    messages: list[dict]

    def to_hf_messages(self):
        return [
            {
                "role": message["role"],
                "content": [
                    {"type": block["type"], block["type"]: block["text" if block["type"] == "text" else "url"]}
                    for block in message["content"]
                ],
            }
            for message in self.messages
        ]


@dataclass
class ModelManifest:
    model_id: str
    chat_class_path: str
    aliases: tuple = field(default_factory=tuple)


@pytest.fixture
def lmms_eval(monkeypatch):
    modules = {
        "lmms_eval": {},
        "lmms_eval.api": {},
        "lmms_eval.api.instance": {"Instance": Instance},
        "lmms_eval.api.model": {"lmms": Model},
        "lmms_eval.models": {},
        "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
        "lmms_eval.protocol": {"ChatMessages": ChatMessages},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "videolavit_lmms_eval.models", raising=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_small_checkpoint(folder)
    return folder


def make_requests(model, docs, to_messages, settings):
    model.task_dict = {"task": {"test": docs}}
    return [
        Instance("generate_until", ("", to_messages, setting, number, "task", "test"))
        for number, setting in enumerate(settings)
    ]


def test_lmms_eval_finds_the_models_by_the_entry_point(lmms_eval):
    (entry,) = [entry for entry in entry_points(group="lmms_eval.models") if entry.name == "videolavit"]
    manifests = {manifest.model_id: manifest.chat_class_path for manifest in entry.load()()}
    for path in manifests.values():
        module, _, name = path.rpartition(".")
        assert not getattr(__import__(module, fromlist=[name]), name).is_simple
    assert list(manifests) == ["videolavit", "videolavit_generation"]


def test_answers_come_in_order_whatever_the_batch(lmms_eval, checkpoint):
    from videolavit_lmms_eval.models import VideoLaVIT

    docs = [
        {"text": "What?", "image": Image.new("RGB", (40, 30), "red")},
        {"text": "Who moves?", "video": VIDEO},
        {"text": "Why is it so?", "image": Image.new("RGB", (40, 30), "blue")},
    ]

    def to_messages(doc):
        kind = "image" if "image" in doc else "video"
        return [{"role": "user", "content": [{"type": kind, "url": doc[kind]}, {"type": "text", "text": doc["text"]}]}]

    settings = [{"max_new_tokens": 5}, {"max_new_tokens": 3}, {"max_new_tokens": 5}]
    answers = []
    for batch_size in ("1", "2"):
        model = VideoLaVIT(pretrained=str(checkpoint / "model"), device="cpu", batch_size=batch_size, max_clips="2")
        answers.append(model.generate_until(make_requests(model, docs, to_messages, settings)))
        assert len(model.kept) == 3
    assert answers[0] == answers[1] and all(isinstance(answer, str) for answer in answers[0])
    stopped = [{**setting, "until": [answers[0][0][:1]]} for setting in settings[:1]]
    assert model.generate_until(make_requests(model, docs, to_messages, stopped)) == [""]


def test_videos_are_written_as_vbench_names_them(lmms_eval, checkpoint, tmp_path):
    from videolavit_lmms_eval.models import VideoLaVITGeneration

    model = VideoLaVITGeneration(
        pretrained=str(checkpoint / "model"),
        detokenizer=str(checkpoint / "detokenizer"),
        output_dir=str(tmp_path),
        device="cpu",
        batch_size=2,
        height="64",
        width="64",
        num_inference_steps="1",
    )
    docs = [{"prompt": "a cat", "sample_index": number, "seed": number} for number in range(2)]

    def to_messages(doc):
        return [{"role": "user", "content": [{"type": "text", "text": doc["prompt"]}]}]

    outputs = model.generate_until(make_requests(model, docs, to_messages, [{}, {}]))
    paths = [json.loads(output)["videos"] for output in outputs]
    assert paths == [[str(tmp_path / "a cat-0.mp4")], [str(tmp_path / "a cat-1.mp4")]]
    assert len(list(VideoFileFrames(paths[0][0]))) == 24
    contents = [Path(path).read_bytes() for (path,) in paths]
    assert contents[0] != contents[1]
    # What is there is not made again, and another order gives the same.
    Path(paths[1][0]).unlink()
    model.generate_until(make_requests(model, docs, to_messages, [{}, {}]))
    assert Path(paths[0][0]).read_bytes() == contents[0] and Path(paths[1][0]).exists()


def test_likelihoods_are_refused(lmms_eval, checkpoint):
    from videolavit_lmms_eval.models import VideoLaVIT

    model = VideoLaVIT(pretrained=str(checkpoint / "model"), device="cpu")
    assert (model.rank, model.world_size) == (0, 1) and model.model.dtype == torch.float32
    for call in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(TypeError, match="Choose a"):
            call([])
