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
"""The conversion of the original checkpoint: the reference's outputs, and what can go wrong on the way."""

import filecmp
import json
import shutil
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from conversion_runs import convert
from safetensors.torch import load_file
from tiny_models import CHECKPOINT, FIXTURES
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor

import transformers_videolavit  # noqa: F401
from diffusers_videolavit import VideoLaVITDetokenizerPipeline


torch.set_num_threads(1)

REFERENCE_TIMESTEP = 1.234


def assert_close(actual, golden, tolerance=1e-4):
    torch.testing.assert_close(actual, golden, rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def golden():
    return load_file(FIXTURES / "tiny" / "expected.safetensors")


@pytest.fixture(scope="module")
def processor(converted):
    return AutoProcessor.from_pretrained(converted / "video-lavit")


@pytest.fixture(scope="module")
def model(converted):
    return AutoModelForCausalLM.from_pretrained(converted / "video-lavit")


@pytest.fixture(scope="module")
def tuned_model(converted):
    return AutoModelForCausalLM.from_pretrained(converted / "video-lavit-sft")


@pytest.fixture(scope="module")
def pipe(converted):
    pipe = VideoLaVITDetokenizerPipeline.from_pretrained(converted / "video-lavit-detokenizer")
    pipe.set_progress_bar_config(disable=True)
    return pipe


# The reference's outputs through the converted repositories


@torch.no_grad()
def test_keyframe_tokens_equal_the_reference(model, tuned_model, golden):
    for language_model in (model, tuned_model):
        tokenizer = language_model.model.keyframe_tokenizer
        selected = tokenizer.select_and_merge(golden["visual/pixel_values"])
        keep = golden["visual/keep"].bool()
        assert torch.equal(selected.keep_mask, keep)
        assert_close(selected.vision_last_hidden_state, golden["visual/encoder_features"])
        assert_close(tokenizer.selector(selected.vision_last_hidden_state[:, 1:]), golden["visual/keep_logprobs"])
        assert_close(selected.features, golden["visual/merged_features"][keep])
        for index, codes in enumerate(tokenizer.encode(golden["visual/pixel_values"])):
            ids = [32000, *(codes + language_model.config.visual_code_offset).tolist(), 32001]
            assert ids == golden[f"visual/token_ids.{index}"].tolist()
    features = tuned_model.get_image_features(golden["visual/pixel_values"]).pooler_output
    for index, embeddings in enumerate(features):
        assert_close(embeddings, golden[f"visual/continuous_embeds.{index}"])


@torch.no_grad()
def test_motion_tokens_equal_the_reference(model, tuned_model, pipe, golden):
    for tokenizer in (model.model.motion_tokenizer, tuned_model.model.motion_tokenizer, pipe.motion_tokenizer):
        codes = tokenizer.encode(golden["motion/motion_vectors"])
        assert torch.equal(codes, golden["motion/token_ids"])
        features = tokenizer.encoder_projection(tokenizer.encoder(golden["motion/motion_vectors"]))
        quantized = tokenizer.quantizer(features)[0]
        assert_close(quantized.view(golden["motion/quantized"].shape), golden["motion/quantized"])
        assert_close(tokenizer.decode(codes), golden["motion/decoded"])
        assert_close(tokenizer.decode(codes, height=8, width=16), golden["motion/reconstructed_8x16"])


@torch.no_grad()
def test_understanding_equals_the_reference(tuned_model, processor, golden):
    image = processor.expand_placeholders(golden["understanding/image_prompt_ids"])
    output = tuned_model(**image, pixel_values=golden["understanding/keyframes"][:1])
    assert_close(output.logits[:, -1], golden["understanding/image_last_logits"])
    assert output.past_key_values.get_seq_length() == int(golden["understanding/image_seq_len"])

    prompt = golden["understanding/video_prompt_ids"]
    video = processor.expand_placeholders(prompt, num_clips=2)
    video |= {
        "pixel_values_videos": golden["understanding/keyframes"],
        "motion_vectors": golden["understanding/motion_vectors"],
        "num_clips": torch.tensor([2]),
    }
    output = tuned_model(**video)
    assert_close(output.logits[:, -1], golden["understanding/video_last_logits"])
    assert output.past_key_values.get_seq_length() == int(golden["understanding/video_seq_len"])
    answer = golden["understanding/greedy_ids"][0, prompt.shape[1] :].tolist()
    ids = tuned_model.generate(**video, do_sample=False, max_new_tokens=len(answer), eos_token_id=None)
    assert ids[0, video["input_ids"].shape[1] :].tolist() == answer


def test_generation_equals_the_reference(model, golden):
    image_ids = golden["generation/image_ids"]
    greedy = {"do_sample": False, "min_new_tokens": 24, "max_new_tokens": 24}
    ids = model.generate(golden["generation/prompt_ids"], generation_mode="image", guidance_scale=4.0, **greedy)
    assert ids[0, :-1].tolist() == image_ids[0].tolist()
    ids = model.generate(image_ids, generation_mode="video", motion_guidance_scale=7.0)
    assert ids[0, :-1].tolist() == golden["generation/motion_ids"][0].tolist()


def test_conversations_are_tokenized_as_by_the_reference(processor):
    for conversation in json.loads((FIXTURES / "tiny" / "conversations.json").read_text()):
        prompt, marks = conversation["prompt"], {"<image>": -200, "<video>": -201}
        is_generation = conversation["kind"] == "generation"
        ids = processor.tokenizer(prompt, add_special_tokens=not is_generation)["input_ids"]
        replaced = {processor.tokenizer.convert_tokens_to_ids(token): mark for token, mark in marks.items()}
        assert [replaced.get(token, token) for token in ids] == conversation["input_ids"]


@torch.no_grad()
def test_keyframes_equal_the_reference(pipe, golden):
    codes = [golden[f"visual/token_ids.{index}"][1:-1] - 32002 for index in range(3)]
    embeddings = pipe.keyframe_token_decoder(codes)
    assert_close(embeddings.prompt_embeds, golden["keyframe_decoder/prompt_embeds"])
    assert_close(embeddings.pooled_prompt_embeds, golden["keyframe_decoder/pooled_prompt_embeds"])
    images = pipe.keyframe(
        visual_codes=codes,
        height=64,
        width=64,
        num_inference_steps=5,
        guidance_scale=7.0,
        latents=golden["keyframe/latents"],
        output_type="pt",
    ).images
    assert_close(images.movedim(1, -1), golden["keyframe/images"])


@torch.no_grad()
def test_videos_equal_the_reference(pipe, golden):
    motion = golden["video/motion_latents"]
    features = pipe.motion_encoder(motion)
    assert_close(features, golden["video/motion_features"])
    sample = pipe.unet(
        golden["video/unet_sample"], REFERENCE_TIMESTEP, features, golden["video/unet_added_time_ids"]
    ).sample
    assert_close(sample, golden["video/unet_out"])
    frames = pipe(
        image=golden["video/keyframes"] / 2 + 0.5,
        motion_codes=golden["motion/token_ids"][:2],
        height=32,
        width=64,
        num_inference_steps=4,
        min_guidance_scale=1.0,
        max_guidance_scale=3.0,
        latents=golden["video/latents"],
        keyframe_noise=golden["video/keyframe_noise"][:, None],
        output_type="pt",
    ).frames
    assert_close(frames, (golden["video/frames"] / 2 + 0.5).clamp(0, 1).transpose(1, 2), tolerance=1e-3)


def test_every_golden_number_is_reproduced_above():
    """What this file compares with is all there is, but for the inputs."""
    source = Path(__file__).read_text(encoding="utf-8")
    names = {name.rsplit(".", 1)[0] for name in load_file(FIXTURES / "tiny" / "expected.safetensors")}
    assert [name for name in sorted(names) if f'"{name}' not in source] == []


# What is written


def test_saving_again_writes_the_same_files(converted, model, processor, pipe, tmp_path):
    from transformers_videolavit import save_remote_code

    model.save_pretrained(tmp_path / "video-lavit")
    processor.save_pretrained(tmp_path / "video-lavit")
    save_remote_code(tmp_path / "video-lavit")
    pipe.save_pretrained(tmp_path / "video-lavit-detokenizer")
    for name in ("video-lavit", "video-lavit-detokenizer"):
        written = {path.relative_to(converted / name) for path in (converted / name).rglob("*") if path.is_file()}
        again = {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*") if path.is_file()}
        assert {path.name for path in written - again} == {"README.md", "conversion.json"} and again <= written
        different = [path for path in again if not filecmp.cmp(converted / name / path, tmp_path / name / path, False)]
        # The libraries note in these where something was loaded from.
        assert all(
            path.suffix == ".json" and "index" not in path.name.replace("model_index", "") for path in different
        )
        for path in different:
            contents = [json.loads((folder / name / path).read_text()) for folder in (converted, tmp_path)]
            for content in contents:
                for key in ("_name_or_path", "is_local", "local_files_only"):
                    content.pop(key, None)
            assert contents[0] == contents[1], path


def test_shards_hold_what_one_file_holds(converted, tmp_path):
    name = "video-lavit-sft"
    convert(tmp_path, "--dtype", "float32", "--components", name, "--max-shard-size", "1MB")
    shards = sorted((tmp_path / name).glob("model-*.safetensors"))
    whole = load_file(converted / name / "model.safetensors")
    sharded = {key: tensor for shard in shards for key, tensor in load_file(shard).items()}
    assert len(shards) > 2 and sharded.keys() == whole.keys()
    assert all(torch.equal(sharded[key], tensor) for key, tensor in whole.items())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / name)
    model.save_pretrained(tmp_path / "again", max_shard_size="1MB")
    for file in (*shards, tmp_path / name / "model.safetensors.index.json"):
        assert filecmp.cmp(file, tmp_path / "again" / file.name, False), file.name


def test_a_type_rounds_every_weight_once(converted, tmp_path):
    convert(tmp_path, "--dtype", "bfloat16", "--components", "video-lavit", "--verify")
    rounded = load_file(tmp_path / "video-lavit" / "model.safetensors")
    for name, tensor in load_file(converted / "video-lavit" / "model.safetensors").items():
        expected = tensor.bfloat16() if tensor.is_floating_point() else tensor
        assert torch.equal(rounded[name], expected)
    model = AutoModel.from_pretrained(tmp_path / "video-lavit", dtype="auto")
    assert model.dtype == torch.bfloat16


def test_by_default_nothing_is_rounded(tmp_path):
    convert(tmp_path, "--components", "video-lavit", "--verify")
    weights = load_file(tmp_path / "video-lavit" / "model.safetensors")
    original = torch.load(CHECKPOINT / "language_model" / "pytorch_model.bin", weights_only=True)
    assert weights["lm_head.weight"].dtype == original["lm_head.weight"].dtype
    assert torch.equal(weights["lm_head.weight"], original["lm_head.weight"])


def test_repositories_carry_code_card_and_templates(converted):
    for name in ("video-lavit", "video-lavit-sft"):
        config = json.loads((converted / name / "config.json").read_text())
        assert config["architectures"] == ["VideoLaVITForCausalLM"]
        modules = {value.split(".")[0] for value in config["auto_map"].values()}
        assert all((converted / name / f"{module}.py").is_file() for module in modules)
        for file in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "processor_config.json"):
            assert (converted / name / file).is_file()
        assert f'from_pretrained("{name}"' in (converted / name / "README.md").read_text()


# What can go wrong


@pytest.fixture
def damaged(tmp_path):
    """A copy of the tiny checkpoint to be damaged, and a function that changes one of its files."""
    source = shutil.copytree(CHECKPOINT, tmp_path / "source")

    def change(file, function):
        tensors = torch.load(source / file, weights_only=True)
        function(tensors)
        torch.save(tensors, source / file)
        return source

    return change


@pytest.mark.parametrize(
    ("file", "name", "component"),
    [
        ("visual_tokenizer/eva_vitg_psz14.bin", "blocks.1.norm1.weight", "video-lavit"),
        ("motion_tokenizer.bin", "decoder.norm.bias", "video-lavit"),
        ("language_model_sft/pytorch_model.bin", "model.norm.weight", "video-lavit-sft"),
        ("visual_tokenizer/highres_tokenizer_decoder.bin", "norm.bias", "video-lavit-detokenizer"),
        ("video_3d_unet.bin", "unet.conv_out.bias", "video-lavit-detokenizer"),
        ("image_detokenizer/unet/diffusion_pytorch_model.bin", "conv_in.bias", "video-lavit-detokenizer"),
    ],
)
def test_a_missing_an_extra_and_a_misshapen_parameter_stop_it_by_name(damaged, tmp_path, file, name, component):
    kept = {}
    source = damaged(file, lambda tensors: kept.update(tensor=tensors.pop(name)))
    last = name.split(".")[-2]
    with pytest.raises(ValueError, match=rf"{last}|layer_norm|layernorm|norm_out"):
        convert(tmp_path / "out", "--components", component, source=source)
    damaged(file, lambda tensors: tensors.update({name: kept["tensor"][:-1]}))
    with pytest.raises(ValueError, match="shape"):
        convert(tmp_path / "out", "--components", component, source=source)
    damaged(file, lambda tensors: tensors.update({name: kept["tensor"], f"{name}.surplus": torch.zeros(1)}))
    with pytest.raises(ValueError, match="surplus"):
        convert(tmp_path / "out", "--components", component, source=source)
    assert not (tmp_path / "out").exists()


def test_a_missing_shard_stops_it_by_name(tmp_path):
    source = shutil.copytree(CHECKPOINT, tmp_path / "source")
    index = {"weight_map": {"lm_head.weight": "pytorch_model-00001-of-00002.bin"}}
    (source / "language_model" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match="pytorch_model-00001-of-00002.bin"):
        convert(tmp_path / "out", "--components", "video-lavit", source=source)


def test_a_pickle_of_other_than_tensors_is_refused(damaged, tmp_path):
    source = damaged("motion_tokenizer.bin", lambda tensors: tensors.update(settings={"a": 1}))
    with pytest.raises(ValueError, match="motion_tokenizer.bin"):
        convert(tmp_path / "out", "--components", "video-lavit", source=source)


def test_a_stopped_conversion_goes_on_and_nothing_loads_before_it_is_done(converted, tmp_path, monkeypatch):
    import sharded_safetensors

    read_parameters, calls = sharded_safetensors.read_parameters, []

    def failing(parameters, sources):
        calls.append(len(parameters))
        for index, item in enumerate(read_parameters(parameters, sources)):
            if len(calls) == 3 and index == 1:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(sharded_safetensors, "read_parameters", failing)
    args = ["--dtype", "float32", "--components", "video-lavit-sft", "--max-shard-size", "1MB"]
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path, *args)
    folder = tmp_path / "video-lavit-sft"
    finished = {path.name: path.stat().st_mtime_ns for path in folder.glob("model-*.safetensors")}
    assert len(finished) == 2 and not (folder / "config.json").exists()
    with pytest.raises(ValueError, match="Unrecognized model"):
        AutoModelForCausalLM.from_pretrained(folder)
    convert(tmp_path, *args, "--verify")
    assert {name: (folder / name).stat().st_mtime_ns for name in finished} == finished
    assert not list(folder.glob("*.incomplete"))


def test_a_finished_conversion_is_left_alone_unless_it_is_another(tmp_path):
    args = ["--components", "video-lavit-sft", "--dtype"]
    convert(tmp_path, *args, "float32")
    weights = tmp_path / "video-lavit-sft" / "model.safetensors"
    time = weights.stat().st_mtime_ns
    convert(tmp_path, *args, "float32")
    assert weights.stat().st_mtime_ns == time
    convert(tmp_path, *args, "float16")
    assert load_file(weights)["lm_head.weight"].dtype == torch.float16


def test_another_name_changes_nothing_but_the_card(tmp_path, monkeypatch):
    import convert_original_checkpoint

    monkeypatch.setattr(convert_original_checkpoint, "HfApi", MagicMock())
    convert(tmp_path, "--components", "video-lavit-sft")
    folder = tmp_path / "video-lavit-sft"
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for owner in ("someone", "another"):
        convert(tmp_path, "--components", "video-lavit-sft", "--push-to-hub", owner)
        changed = {path.name for path in folder.iterdir() if path.stat().st_mtime_ns != times[path.name]}
        assert changed == {"README.md", "conversion.json"}
        assert f'from_pretrained("{owner}/video-lavit-sft"' in (folder / "README.md").read_text()


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "video-lavit-sft").mkdir()
    (tmp_path / "video-lavit-sft" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no conversion"):
        convert(tmp_path, "--components", "video-lavit-sft")
    assert (tmp_path / "video-lavit-sft" / "thesis.txt").read_text() == "mine"


def test_verification_finds_a_changed_weight(tmp_path):
    from safetensors.torch import save_file

    args = ["--components", "video-lavit-sft", "--dtype", "float32"]
    convert(tmp_path, *args)
    path = tmp_path / "video-lavit-sft" / "model.safetensors"
    weights = load_file(path)
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lm_head\.weight"):
        convert(tmp_path, *args, "--verify")


def test_verification_loads_by_the_models_class_and_lists_what_is_equal(tmp_path, capsys):
    args = ["--components", "video-lavit-detokenizer", "--verify"]
    convert(tmp_path, *args)
    folder = tmp_path / "video-lavit-detokenizer"
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| video-lavit")]
    assert len(table) == 7 and ["UNet2DConditionModel" in row for row in table].count(True) == 1
    assert {row[0].split("/")[1] for row in table} == {path.parent.name for path in folder.glob("*/*.safetensors")}
    config = json.loads((folder / "motion_encoder" / "config.json").read_text())
    (folder / "motion_encoder" / "config.json").write_text(json.dumps(config | {"num_layers": 1}))
    with pytest.raises(ValueError, match=r"parameters are not as in the source: \['transformer_blocks.1"):
        convert(tmp_path, *args)


def test_without_a_projection_the_pre_trained_model_gets_the_tuned_ones_or_zeros(damaged, tmp_path):
    """The released `tokenizer_encoder.bin` has no `vit_proj`."""
    file, names = "visual_tokenizer/tokenizer_encoder.bin", ("vit_proj.weight", "vit_proj.bias")
    source = damaged(file, lambda tensors: [tensors.pop(name, None) for name in names])
    args = ["--components", "video-lavit", "--dtype", "float32"]
    convert(tmp_path / "a", *args, source=source)
    tuned = torch.load(source / "language_model_sft" / "pytorch_model.bin", weights_only=True)
    weights = load_file(tmp_path / "a" / "video-lavit" / "model.safetensors")
    expected = tuned["model.visual_tokenizer.vit_proj.weight"].float()
    assert torch.equal(weights["model.multi_modal_projector.weight"], expected)
    shutil.rmtree(source / "language_model_sft")
    convert(tmp_path / "b", *args, source=source)
    assert not load_file(tmp_path / "b" / "video-lavit" / "model.safetensors")[
        "model.multi_modal_projector.weight"
    ].any()


def test_repositories_are_uploaded_whole(converted, tmp_path, monkeypatch):
    import convert_original_checkpoint

    uploads = []

    class Api:
        def create_repo(self, repo_id, **kwargs):
            uploads.append(("create", repo_id, kwargs))

        def upload_large_folder(self, repo_id, folder_path, repo_type):
            uploads.append(("upload", repo_id, {path.name for path in folder_path.iterdir()}))

    monkeypatch.setattr(convert_original_checkpoint, "HfApi", Api)
    convert(tmp_path, "--components", "video-lavit-sft", "--push-to-hub", "someone", "--private")
    assert uploads[0] == ("create", "someone/video-lavit-sft", {"exist_ok": True, "private": True})
    assert uploads[1][:2] == ("upload", "someone/video-lavit-sft")
    assert {"config.json", "model.safetensors", "README.md", "modeling_videolavit.py"} <= uploads[1][2]
    card = (tmp_path / "video-lavit-sft" / "README.md").read_text()
    assert 'from_pretrained("someone/video-lavit-sft"' in card


def test_a_repository_of_the_hub_is_downloaded_in_the_parts_that_are_needed(tmp_path, monkeypatch):
    import convert_original_checkpoint

    asked = []

    def download(repo_id, allow_patterns):
        asked.append((repo_id, allow_patterns))
        return str(CHECKPOINT)

    monkeypatch.setattr(convert_original_checkpoint, "snapshot_download", download)
    convert(tmp_path, "--components", "video-lavit-sft", source="someone/original")
    assert asked == [("someone/original", ["language_model_sft", "language_model_sft/*"])]


# Full size


def test_every_full_size_parameter_has_one_place_and_a_way_back():
    """Names and shapes of all five files, through the plans of the conversion and those of the export."""
    from export_original_checkpoint import _rename as rename_back
    from original_checkpoint import TensorInfo
    from parameter_names_diffusers import count_layers, keyframe_token_decoder_names, motion_encoder_names
    from parameter_names_transformers import convert_to_original
    from repository_plans import TOKEN_DECODER_FILE, VIDEO_UNET_FILE, VISUAL_FILES, _plan_parameters, _rename

    shapes = json.loads((FIXTURES / "original_parameters.json").read_text())
    infos = {
        file: {name: TensorInfo(file, tuple(shape), torch.bfloat16) for name, shape in tensors.items()}
        for file, tensors in shapes.items()
    }
    planned, sources, ignored = _plan_parameters({key: infos[path] for key, path in VISUAL_FILES.items()})
    origins = [(source.path, source.name) for source in sources.values() if source.path is not None]
    expected = [(path, name) for path in VISUAL_FILES.values() for name in infos[path]]
    assert ignored == {} and sorted(origins) == sorted(expected)
    for key, path in VISUAL_FILES.items():
        back = convert_to_original({name: info.shape for name, info in planned.items()}, key)
        assert back == {name: info.shape for name, info in infos[path].items()}

    video = {"motion_encoder.": {}, "unet.": {}}
    for name, info in infos[VIDEO_UNET_FILE].items():
        prefix = f"{name.split('.')[0]}."
        video[prefix][name.removeprefix(prefix)] = info
    decoder = infos[TOKEN_DECODER_FILE]
    for prefix, tensors, names in (
        ("motion_encoder.", video["motion_encoder."], motion_encoder_names(count_layers(video["motion_encoder."]))),
        ("unet.", video["unet."], {name: name for name in video["unet."]}),
        ("", decoder, keyframe_token_decoder_names(count_layers(decoder))),
    ):
        planned, sources = _rename(tensors, names, prefix)
        # Each parameter of ours is one of theirs, and all of theirs are there.
        assert sorted(source.name for source in sources.values()) == sorted(prefix + name for name in tensors)
        back = rename_back(planned, names)
        assert {old: info.shape for old, (info, _) in back.items()} == {
            old: info.shape for old, info in tensors.items()
        }


def test_the_released_sizes_are_inferred_and_planned(tmp_path, monkeypatch):
    """The three repositories at full size, without data: every parameter of every model has its source, of its shape."""
    import repository_plans
    from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, UNet2DConditionModel
    from original_checkpoint import TensorInfo
    from parameter_names_transformers import convert_to_original
    from transformers import LlamaConfig

    from diffusers_videolavit import UNetSpatioTemporalMotionConditionModel
    from transformers_videolavit import VideoLaVITConfig, VideoLaVITForCausalLM

    shapes = json.loads((FIXTURES / "original_parameters.json").read_text())
    # The SDXL U-Net has its sizes in its configuration, whatever they are: as in the tiny checkpoint.
    image = "image_detokenizer"
    for folder in (f"{image}/scheduler", "video_detokenizer/scheduler", f"{image}/unet"):
        shutil.copytree(CHECKPOINT / folder, tmp_path / folder)
    with torch.device("meta"):
        model = VideoLaVITForCausalLM(VideoLaVITConfig(text_config=LlamaConfig(vocab_size=49412)))
        models = {
            "video_detokenizer/vae": AutoencoderKLTemporalDecoder(),
            f"{image}/vae": AutoencoderKL(),
            f"{image}/unet": UNet2DConditionModel.from_config(
                UNet2DConditionModel.load_config(tmp_path / image / "unet")
            ),
        }
    state_dict = model.state_dict()
    for key in ("language_model", "language_model_sft"):
        shapes[key] = {name: tuple(tensor.shape) for name, tensor in convert_to_original(state_dict, key).items()}
        (tmp_path / key).mkdir()
        (tmp_path / key / "config.json").write_text(LlamaConfig(vocab_size=49412).to_json_string())
    for folder, part in models.items():
        part.save_config(tmp_path / folder)
        shapes[folder] = {name: tuple(tensor.shape) for name, tensor in part.state_dict().items()}
    (tmp_path / "video_detokenizer" / "unet").mkdir()
    config = {"_class_name": "UNetSpatioTemporalConditionModel", "in_channels": 8, "num_frames": 24}
    (tmp_path / "video_detokenizer" / "unet" / "config.json").write_text(json.dumps(config))

    def describe(path):
        found = shapes[str(path.relative_to(tmp_path))]
        return {name: TensorInfo(path, tuple(shape), torch.bfloat16) for name, shape in found.items()}

    monkeypatch.setattr(repository_plans, "describe_tensors", describe)
    plans = {name: plan(tmp_path, tmp_path / "out" / name, {}) for name, plan in repository_plans.PLANS.items()}
    used = {}
    for plan in plans.values():
        for part in plan.models:
            for source in part.sources.values():
                if source.path is not None:
                    used.setdefault(str(source.path.relative_to(tmp_path)), set()).add(source.name)
    assert used == {file: set(tensors) for file, tensors in shapes.items()}
    assert all(len(plans[name].models) == 1 for name in ("video-lavit", "video-lavit-sft"))
    default, planned = model.config.to_dict(), plans["video-lavit-sft"].models[0].model.config.to_dict()
    for part in ("keyframe_tokenizer_config", "motion_tokenizer_config", "text_config"):
        assert planned[part] == default[part]
    unet = next(part for part in plans["video-lavit-detokenizer"].models if part.folder.name == "unet").model
    # The weights tell, not the configuration of the U-Net that they were trained from.
    assert isinstance(unet, UNetSpatioTemporalMotionConditionModel) and unet.config.in_channels == 10
