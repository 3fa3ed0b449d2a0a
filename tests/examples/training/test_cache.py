"""Samples that are made once and kept."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from transformers import TrainingArguments


class Numbers(torch.utils.data.Dataset):
    """Items that count how often they are made."""

    def __init__(self, length=5):
        self.files = [str(index) for index in range(length)]
        self.made = []

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        self.made.append(index)
        return {"value": torch.full((3,), float(index)), "rest": torch.zeros(100)}


def keep_value(batch):
    assert 1 <= len(batch["value"]) <= 2
    return {"value": 2 * batch["value"]}


@pytest.fixture
def args(tmp_path):
    return TrainingArguments(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )


def cached(dataset, folder, args, **settings):
    from training.cache import CachedSamples

    return CachedSamples(dataset, folder, keep_value, settings, args)


def test_samples_are_made_once_and_come_back_as_they_were_kept(tmp_path, args):
    dataset = Numbers()
    for _ in range(2):
        samples = cached(dataset, tmp_path / "cache", args)
        assert len(samples) == 5 and dataset.made == [0, 1, 2, 3, 4]
        assert all(torch.equal(samples[index]["value"], torch.full((3,), 2.0 * index)) for index in range(5))
        assert samples[0].keys() == {"value"}


def test_only_what_is_missing_is_made_again(tmp_path, args):
    cached(Numbers(), tmp_path / "cache", args)
    (tmp_path / "cache" / "00000003.safetensors").unlink()
    # What a killed run left half-written is no sample.
    (tmp_path / "cache" / "00000003.0-of-1.incomplete").write_bytes(b"half")
    dataset = Numbers()
    samples = cached(dataset, tmp_path / "cache", args)
    assert dataset.made == [3] and torch.equal(samples[3]["value"], torch.full((3,), 6.0))


class SlowNumbers(Numbers):
    def __getitem__(self, index):
        time.sleep(0.1)
        return super().__getitem__(index)


def test_of_runs_side_by_side_one_makes_the_samples(tmp_path, args):
    # Slow enough for the second run to look for samples while the first makes them.
    datasets = [SlowNumbers(), SlowNumbers()]
    with ThreadPoolExecutor() as executor:
        runs = list(executor.map(lambda dataset: cached(dataset, tmp_path / "cache", args), datasets))
    assert sorted(len(dataset.made) for dataset in datasets) == [0, 5]
    assert all(torch.equal(samples[4]["value"], torch.full((3,), 8.0)) for samples in runs)


def test_runs_that_start_at_the_same_moment_do_not_get_in_each_others_way(tmp_path, args, monkeypatch):
    replace = os.replace

    def replace_late(source, target):
        # Time for the other run to come between writing and renaming.
        time.sleep(0.1)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_late)
    barrier = Barrier(2)

    def run(dataset):
        barrier.wait()
        return cached(dataset, tmp_path / "cache", args)

    with ThreadPoolExecutor() as executor:
        for samples in executor.map(run, [Numbers(), Numbers()]):
            assert torch.equal(samples[4]["value"], torch.full((3,), 8.0))
    assert not list((tmp_path / "cache").glob("*.incomplete"))


def test_a_cache_of_other_files_or_settings_is_refused(tmp_path, args):
    cached(Numbers(), tmp_path / "cache", args, size=8)
    for dataset, settings in ((Numbers(), {"size": 9}), (Numbers(4), {"size": 8})):
        with pytest.raises(ValueError, match="a cache of other files or settings"):
            cached(dataset, tmp_path / "cache", args, **settings)


class Frames(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.full((2, 3), float(index))


class Named(Frames):
    def __getitem__(self, index):
        return {"frames": super().__getitem__(index), "label": torch.tensor(index)}


class Uneven(Frames):
    def __getitem__(self, index):
        return {"frames": torch.zeros(index + 1)}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_samples_in_memory_are_those_of_the_data_set(args, num_workers, monkeypatch):
    from training.cache import InMemorySamples

    monkeypatch.setattr(InMemorySamples, "chunk_size", 2)
    args.dataloader_num_workers = num_workers
    frames, named = InMemorySamples(Frames(), args), InMemorySamples(Named(), args)
    assert len(frames) == len(named) == 5
    for index, item in zip((4, 0, 4), frames.__getitems__([4, 0, 4])):
        assert torch.equal(item, Frames()[index]) and torch.equal(frames[index], item)
    for index, item in zip((3, 1), named.__getitems__([3, 1])):
        assert item.keys() == {"frames", "label"}
        assert torch.equal(item["frames"], Frames()[index]) and item["label"] == index
    loader = torch.utils.data.DataLoader(named, batch_size=5)
    (batch,) = loader
    assert torch.equal(batch["label"], torch.arange(5))


def test_samples_of_several_shapes_cannot_be_kept_in_memory(args):
    from training.cache import InMemorySamples

    with pytest.raises(ValueError, match="same shapes can be kept in memory"):
        InMemorySamples(Uneven(), args)
