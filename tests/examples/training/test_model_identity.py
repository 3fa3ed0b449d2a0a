"""What a model's name stands for."""

import json


def test_a_folder_is_known_by_what_is_loaded_from_it(tmp_path):
    from training.model_identity import identify_model

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "generation_config.json").write_text("{}")
    before = identify_model(str(tmp_path))
    (tmp_path / "README.md").write_text("What training leaves next to a model.")
    (tmp_path / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "model.safetensors").write_bytes(b"other weights")
    assert identify_model(str(tmp_path)) == before
    (tmp_path / "generation_config.json").write_text('{"guidance_scale": 3}')
    changed = identify_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"trained further")
    assert len({before, changed, identify_model(str(tmp_path))}) == 3


def test_a_pipeline_is_known_by_its_parts(tmp_path):
    from training.model_identity import identify_model

    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline", "unet": ["diffusers", "UNet"]}))
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    before = identify_model(str(tmp_path))
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"trained further")
    assert identify_model(str(tmp_path)) != before


def test_a_repository_is_known_by_its_commit(monkeypatch):
    from training import model_identity

    commits = {"main": "a" * 40, "old": "b" * 40}
    monkeypatch.setattr(
        model_identity,
        "snapshot_download",
        lambda name, revision, allow_patterns: f"/cache/{name}/snapshots/{commits[revision or 'main']}",
    )
    assert model_identity.identify_model("someone/model") == "a" * 40
    assert model_identity.identify_model("someone/model", "old") == "b" * 40
