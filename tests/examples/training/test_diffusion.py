"""What the diffusion detokenizers' trainer does with its moving average."""

from pathlib import Path

import torch
from torch import nn


class Weight(nn.Module):
    """A weight that grows by the learning rate in each step; in evaluation the best one is 1.3."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x):
        loss = -self.weight if self.training else (self.weight - 1.3).square()
        return {"loss": loss.sum() + 0 * x.sum()}


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"x": torch.zeros(1)}


def make_trainer(output_dir, **kwargs):
    from training.arguments import VideoLaVITTrainingArguments
    from training.diffusion import MovingAverageTrainer
    from training.trainer import prepare_run

    settings = {"max_steps": 12, "eval_steps": 2, "save_steps": 2, "logging_steps": 1, "eval_strategy": "steps"}
    settings |= {"learning_rate": 0.1, "lr_scheduler_type": "constant", "weight_decay": 0.0, "report_to": "none"}
    settings |= {"per_device_train_batch_size": 1, "use_cpu": True, "disable_tqdm": True} | kwargs
    args = VideoLaVITTrainingArguments(output_dir=str(output_dir), **settings)
    checkpoint = prepare_run(args)
    trainer = MovingAverageTrainer(
        model=Weight(), args=args, train_dataset=Samples(), eval_dataset=Samples(), ema_decay=0.5
    )
    return trainer, checkpoint


def evaluated(trainer):
    return [log["eval_loss"] for log in trainer.state.log_history if "eval_loss" in log]


def test_the_averages_are_evaluated_and_training_keeps_its_own_weights(tmp_path):
    trainer, _ = make_trainer(tmp_path / "with")
    trainer.train()
    for step, loss in zip(range(2, 13, 2), evaluated(trainer), strict=True):
        averages = torch.load(tmp_path / "with" / f"checkpoint-{step}" / "ema.pt", weights_only=True)["shadow_params"]
        assert loss == (averages[0] - 1.3).square().item()
    without, _ = make_trainer(tmp_path / "without", eval_strategy="no")
    without.train()
    assert torch.equal(trainer.model.weight, without.model.weight)
    assert torch.equal(trainer.ema.shadow_params[0], without.ema.shadow_params[0])


def test_the_averages_of_the_best_checkpoint_are_those_that_are_saved(tmp_path):
    from training.trainer import train_and_save

    def run():
        trainer, checkpoint = make_trainer(tmp_path, load_best_model_at_end=True)

        def save(folder):
            trainer.use_moving_average()
            torch.save(trainer.model.weight.detach(), folder / "weight.pt")

        train_and_save(trainer, checkpoint, save)
        return trainer, torch.load(tmp_path / "weight.pt")

    trainer, weight = run()
    losses = evaluated(trainer)
    assert min(losses) < losses[-2] and losses[-1] == min(losses) == (weight - 1.3).square().item()
    best = Path(trainer.state.best_model_checkpoint)
    assert torch.equal(weight, torch.load(best / "ema.pt", weights_only=True)["shadow_params"][0])
    # Also where the run was killed before it could save them.
    (tmp_path / "weight.pt").unlink()
    assert torch.equal(run()[1], weight)
