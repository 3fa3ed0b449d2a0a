"""What the trainer of the training programs adds to transformers' own."""

import json

import pytest
import torch
from torch import nn


class Regression(nn.Module):
    """Two linear layers that learn a linear map; a metric that is the number of the sample."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 1)

    def forward(self, x, y, number):
        loss = nn.functional.mse_loss(self.second(self.first(x))[:, 0], y)
        return {"loss": loss, "number": number.float().mean()}


class Samples(torch.utils.data.Dataset):
    def __init__(self, size=12):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(size, 4, generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.x[index].sum(), "number": torch.tensor(index)}


def make_trainer(output_dir, callbacks=(), **kwargs):
    from training.arguments import VideoLaVITTrainingArguments
    from training.trainer import VideoLaVITTrainer, prepare_run

    settings = {"max_steps": 6, "logging_steps": 1, "save_steps": 2, "learning_rate": 0.1, "weight_decay": 0.1}
    settings |= {"per_device_train_batch_size": 2, "use_cpu": True, "disable_tqdm": True} | kwargs
    args = VideoLaVITTrainingArguments(output_dir=str(output_dir), **settings)
    checkpoint = prepare_run(args)
    trainer = VideoLaVITTrainer(
        Regression(),
        args,
        train_dataset=Samples(),
        eval_dataset=Samples(),
        metric_names=["number"],
        callbacks=list(callbacks),
    )
    return trainer, checkpoint


def losses(trainer):
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def test_metrics_of_the_output_are_logged_as_means_since_the_last_log(tmp_path):
    trainer, _ = make_trainer(tmp_path, logging_steps=6)
    trainer.train()
    # Six steps of two samples are one epoch: each of the numbers 0 ... 11 once.
    (log,) = [log for log in trainer.state.log_history if "loss" in log]
    assert log["number"] == pytest.approx(5.5)


def test_samples_in_memory_are_trained_on_as_others(tmp_path, monkeypatch):
    usual, _ = make_trainer(tmp_path / "usual")
    in_memory, _ = make_trainer(tmp_path / "memory", in_memory=True, dataloader_num_workers=1)
    # Nothing is read once training has begun.
    monkeypatch.setattr(in_memory, "eval_dataset", None)
    usual.train()
    monkeypatch.setattr(Samples, "__getitem__", None)
    in_memory.train()
    assert losses(in_memory) == losses(usual)


def test_counts_weigh_metrics_and_absent_ones_do_not_count(tmp_path):
    trainer, _ = make_trainer(tmp_path)
    nan, one, three = torch.tensor(float("nan")), torch.tensor(1), torch.tensor(3)
    trainer.record_metrics({"a": torch.tensor(2.0), "b": nan}, {"a": one, "b": torch.tensor(0)})
    trainer.record_metrics({"a": torch.tensor(6.0), "b": nan}, {"a": three, "b": torch.tensor(0)})
    assert trainer._pop_metrics() == {"a": 5.0}
    assert trainer._pop_metrics() == {}


def test_evaluation_logs_the_training_loss_and_the_metrics(tmp_path):
    trainer, _ = make_trainer(tmp_path)
    metrics = trainer.evaluate()
    with torch.no_grad():
        samples = Samples()
        expected = nn.functional.mse_loss(trainer.model.second(trainer.model.first(samples.x))[:, 0], samples.x.sum(1))
    assert metrics["eval_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert metrics["eval_number"] == pytest.approx(5.5, rel=0.2)


def test_learning_rates_of_groups_follow_the_names_and_keep_the_weight_decay(tmp_path):
    trainer, _ = make_trainer(tmp_path, learning_rates={"first": 0.01, "bias": 0.02})
    optimizer = trainer.create_optimizer()
    rates = {
        name: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
        for name, other in trainer.model.named_parameters()
        if other is parameter
    }
    assert rates == {
        "first.weight": (0.01, 0.1),
        "first.bias": (0.01, 0.0),
        "second.weight": (0.1, 0.1),
        "second.bias": (0.02, 0.0),
    }


def test_a_run_goes_on_from_its_last_complete_checkpoint_to_the_same_losses(tmp_path):
    uninterrupted, checkpoint = make_trainer(tmp_path / "a", num_train_epochs=2, max_steps=10)
    assert checkpoint is None
    uninterrupted.train()

    from transformers import TrainerCallback

    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    interrupted, _ = make_trainer(tmp_path / "b", [Interrupt()], max_steps=10)
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    # What a run leaves that is killed while it saves.
    incomplete = tmp_path / "b" / "checkpoint-5"
    incomplete.mkdir()
    (incomplete / "trainer_state.json").write_text("{")

    resumed, checkpoint = make_trainer(tmp_path / "b", max_steps=10)
    assert checkpoint == str(tmp_path / "b" / "checkpoint-4") and not incomplete.exists()
    resumed.train(resume_from_checkpoint=checkpoint)
    assert losses(resumed) == losses(uninterrupted)
    for name, weight in uninterrupted.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name])


def test_old_checkpoints_go_only_when_the_new_one_is_complete(tmp_path, monkeypatch):
    from training import trainer as trainer_module

    seen = []
    rotate = trainer_module.rotate_checkpoints

    def checked_rotate(**kwargs):
        complete = sorted(path.parent.name for path in tmp_path.glob("checkpoint-*/complete"))
        seen.append(complete)
        rotate(**kwargs)

    monkeypatch.setattr(trainer_module, "rotate_checkpoints", checked_rotate)
    trainer, _ = make_trainer(tmp_path, save_total_limit=1)
    trainer.train()
    assert seen == [["checkpoint-2"], ["checkpoint-2", "checkpoint-4"], ["checkpoint-4", "checkpoint-6"]]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]


def test_checkpoints_can_be_named_or_ignored(tmp_path):
    trainer, _ = make_trainer(tmp_path)
    trainer.train()
    named = str(tmp_path / "checkpoint-2")
    assert make_trainer(tmp_path, resume_from_checkpoint=named)[1] == named
    with pytest.raises(ValueError, match="checkpoint-3"):
        make_trainer(tmp_path, resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert make_trainer(tmp_path, overwrite_checkpoints=True)[1] is None
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_final_model_is_moved_into_place_when_it_is_whole(tmp_path):
    from training.trainer import save_at_once

    def save(folder):
        (folder / "config.json").write_text("{}")
        (folder / "part").mkdir()
        (folder / "part" / "weights").write_text("new")

    def fail(folder):
        (folder / "config.json").write_text("half")
        raise OSError("disk full")

    save_at_once(tmp_path, save)
    with pytest.raises(OSError, match="disk full"):
        save_at_once(tmp_path, fail)
    assert (tmp_path / "config.json").read_text() == "{}" and (tmp_path / "part" / "weights").read_text() == "new"
    save_at_once(tmp_path, save)
    assert not (tmp_path / ".incomplete").exists()


def test_train_and_save_writes_model_metrics_and_card(tmp_path):
    from huggingface_hub import ModelCard
    from training.trainer import train_and_save

    trainer, checkpoint = make_trainer(tmp_path, dataset_name="made-up", eval_strategy="steps", eval_steps=3)
    train_and_save(trainer, checkpoint, tags=["test"], description="A linear map.", usage='load("{model}")')
    assert (tmp_path / "model.safetensors").exists() and not (tmp_path / ".incomplete").exists()
    assert json.loads((tmp_path / "train_results.json").read_text())["train_loss"] > 0
    assert json.loads((tmp_path / "eval_results.json").read_text())["eval_loss"] > 0
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.tags == ["video-lavit", "test"] and card.data.datasets == "made-up"
    assert "A linear map." in card.text and f'load("{tmp_path.name}")' in card.text
    assert "6 optimizer steps" in card.text and "| learning_rate | 0.1 |" in card.text
    assert "| Training Loss | Epoch | Step | Validation Loss |" in card.text


def test_a_run_that_ended_before_its_final_model_is_not_trained_further(tmp_path):
    from training.trainer import train_and_save

    trainer, checkpoint = make_trainer(tmp_path)
    train_and_save(trainer, checkpoint)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    again, checkpoint = make_trainer(tmp_path)
    assert checkpoint == str(tmp_path / "checkpoint-6")
    train_and_save(again, checkpoint)
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert losses(again) == losses(trainer) and again.state.global_step == 6
    longer, checkpoint = make_trainer(tmp_path, max_steps=8)
    train_and_save(longer, checkpoint)
    assert len(losses(longer)) == 8


def test_a_run_goes_on_when_it_is_started_again_with_more_epochs(tmp_path):
    from training.trainer import train_and_save

    settings = {"max_steps": -1, "lr_scheduler_type": "constant"}
    trainer, checkpoint = make_trainer(tmp_path / "a", num_train_epochs=3, **settings)
    train_and_save(trainer, checkpoint)
    # Six steps are one epoch.
    for epochs, steps in ((1, 6), (1.5, 9), (1.5, 9), (3, 18), (2, 18)):
        longer, checkpoint = make_trainer(tmp_path / "b", num_train_epochs=epochs, **settings)
        train_and_save(longer, checkpoint)
        assert longer.state.global_step == steps == len(losses(longer))
    assert losses(longer) == losses(trainer)
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == (tmp_path / "a" / "model.safetensors").read_bytes()


def test_a_run_that_ended_before_its_final_model_has_its_best_one(tmp_path):
    from training.trainer import train_and_save

    # The learning rate is too large: the loss grows.
    settings = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "learning_rate": 100.0}
    trainer, checkpoint = make_trainer(tmp_path, **settings)
    train_and_save(trainer, checkpoint)
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").unlink()
    train_and_save(*make_trainer(tmp_path, **settings))
    assert (tmp_path / "model.safetensors").read_bytes() == weights


def test_workers_that_are_not_told_of_epochs_are_refused(tmp_path, monkeypatch):
    settings = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    make_trainer(tmp_path, **settings)
    monkeypatch.setattr(Samples, "set_epoch", lambda self, epoch: None, raising=False)
    with pytest.raises(ValueError, match="dataloader_persistent_workers"):
        make_trainer(tmp_path, **settings)


def test_the_output_folder_is_uploaded_without_checkpoints(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from training import trainer as trainer_module

    calls = []

    class Api:
        def __init__(self, token=None):
            calls.append(token)

        def create_repo(self, name, **kwargs):
            calls.append((name, kwargs))
            return SimpleNamespace(repo_id=f"someone/{name}")

        def upload_folder(self, **kwargs):
            calls.append(kwargs)

    monkeypatch.setattr(trainer_module, "HfApi", Api)
    args = SimpleNamespace(
        hub_token="hf_x", hub_model_id=None, hub_private_repo=True, output_dir=str(tmp_path / "motion-tokenizer")
    )
    trainer_module.push_folder(args)
    assert calls[:2] == ["hf_x", ("motion-tokenizer", {"private": True, "exist_ok": True})]
    assert calls[2]["repo_id"] == "someone/motion-tokenizer" and calls[2]["folder_path"] == args.output_dir
    assert "checkpoint-*" in calls[2]["ignore_patterns"]


def test_the_flash_kernel_can_be_left_out(tmp_path):
    from training.arguments import VideoLaVITTrainingArguments
    from training.trainer import prepare_run

    for flash_sdp in (False, True):
        prepare_run(
            VideoLaVITTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", flash_sdp=flash_sdp)
        )
        assert torch.backends.cuda.flash_sdp_enabled() == flash_sdp


def test_muon_has_its_own_learning_rate(tmp_path):
    from training.muon import MuonWithAuxAdam

    trainer, _ = make_trainer(tmp_path, muon_learning_rate=0.02, adam_beta2=0.95)
    trainer.model.middle = nn.Linear(8, 8)
    optimizer = trainer.create_optimizer()
    assert isinstance(optimizer, MuonWithAuxAdam)
    (group,) = (group for group in optimizer.param_groups if group["use_muon"])
    assert [id(parameter) for parameter in group["params"]] == [id(trainer.model.middle.weight)]
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.1)
    others = [group for group in optimizer.param_groups if not group["use_muon"]]
    assert {(group["lr"], group["betas"]) for group in others} == {(0.1, (0.9, 0.95))}
    assert trainer.create_optimizer() is optimizer


@pytest.mark.parametrize("enabled", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_muon_does_not_go_with_sharded_weights(enabled, tmp_path, monkeypatch):
    from transformers import Trainer

    # Whatever enables it: an argument, or the configuration of `accelerate launch`.
    create = Trainer.create_accelerator_and_postprocess

    def create_sharded(self):
        create(self)
        setattr(self, enabled, True)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", create_sharded)
    with pytest.raises(ValueError, match="muon_learning_rate"):
        make_trainer(tmp_path, muon_learning_rate=0.1)
