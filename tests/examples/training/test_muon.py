"""Muon, against PyTorch's, against singular values, and AdamW beside it."""

import copy

import pytest
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(8, 16, 3)
        self.conv = nn.Conv2d(16, 8, 3)
        self.norm = nn.GroupNorm(4, 8)
        self.token_embedding = nn.Embedding(32, 16)
        self.narrow = nn.Linear(8, 4)
        self.wide = nn.Linear(8, 64)


def groups_of(model, **kwargs):
    from training.muon import parameter_groups

    return parameter_groups(model, 0.02, 0.001, **kwargs)


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8), (1, 16, 16), (2, 16, 144), (2, 144, 16)])
def test_orthogonalized_matrices_keep_their_directions_and_lose_their_scales(shape):
    from training.muon import orthogonalize

    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    core = u.mT @ orthogonalize(matrices) @ vh.mT
    values = core.diagonal(dim1=-2, dim2=-1)
    assert (values > 0.3).all() and (values < 1.3).all()
    torch.testing.assert_close(core, torch.diag_embed(values), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(2, 16, 144), (2, 144, 16)])
def test_gram_matrices_give_what_the_iteration_on_the_matrices_gives(shape, monkeypatch):
    from training import muon

    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = muon.orthogonalize(matrices)
    monkeypatch.setattr(muon, "GRAM_RATIO", 100)
    torch.testing.assert_close(result, muon.orthogonalize(matrices), atol=1e-5, rtol=0)


def test_only_maps_between_features_are_muons_and_only_weights_decay():
    model = Network()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        (group["use_muon"], group["lr"], group["weight_decay"]): {
            names[id(parameter)] for parameter in group["params"]
        }
        for group in groups_of(model, weight_decay=0.1)
    }
    assert found == {
        (True, 0.02, 0.1): {"conv.weight", "wide.weight"},
        (False, 0.001, 0.1): {"conv_in.weight", "token_embedding.weight", "narrow.weight"},
        (False, 0.001, 0.0): {
            *("conv_in.bias", "conv.bias", "norm.weight", "norm.bias", "narrow.bias", "wide.bias"),
        },
    }


def test_matrices_move_as_with_pytorchs_muon_and_kernels_as_matrices():
    from training.muon import MuonWithAuxAdam

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(16, 36, generator=generator)
    ours = [nn.Parameter(start.clone()), nn.Parameter(start.reshape(16, 4, 3, 3).clone())]
    theirs = nn.Parameter(start.clone())
    optimizer = MuonWithAuxAdam([{"params": ours, "use_muon": True, "weight_decay": 0.1}], lr=0.02)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(16, 36, generator=generator)
        ours[0].grad, ours[1].grad, theirs.grad = gradient, gradient.reshape(16, 4, 3, 3), gradient.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours[1].flatten(1), ours[0])
    # PyTorch's iterates in bfloat16.
    change, expected = (ours[0] - start).detach(), (theirs - start).detach()
    assert (change - expected).norm() < 0.03 * expected.norm()


def test_the_rest_moves_as_with_adamw():
    from training.muon import MuonWithAuxAdam

    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizers = [
        MuonWithAuxAdam([{"params": list(ours.parameters())}], **settings),
        torch.optim.AdamW(theirs.parameters(), **settings),
    ]
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        for model, optimizer in zip((ours, theirs), optimizers):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(dict(ours.named_parameters()), dict(theirs.named_parameters()))


def test_its_state_can_be_saved_and_loaded():
    from training.muon import MuonWithAuxAdam

    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))

    def train(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (model.wide(x).square().mean() + model.narrow(x).square().mean()).backward()
            optimizer.step()

    model = Network()
    optimizer = MuonWithAuxAdam(groups_of(model), lr=0.001)
    train(model, optimizer, 2)
    resumed = copy.deepcopy(model)
    other = MuonWithAuxAdam(groups_of(resumed), lr=0.001)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, 2)
    train(resumed, other, 2)
    torch.testing.assert_close(resumed.state_dict(), model.state_dict(), atol=0, rtol=0)
