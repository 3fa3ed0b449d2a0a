"""The vector quantizer: nearest codes, k-means start, moving average, revival, precision and several processes."""

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from transformers_videolavit.vector_quantization import VectorQuantizer


CODEBOOK_SIZE, CODEBOOK_DIM = 12, 6


def make_quantizer(decay=0.9, revival_threshold=0.0, codebook=None, cluster_size=5.0):
    config = SimpleNamespace(
        codebook_size=CODEBOOK_SIZE,
        codebook_dim=CODEBOOK_DIM,
        codebook_decay=decay,
        codebook_revival_threshold=revival_threshold,
    )
    quantizer = VectorQuantizer(config)
    if codebook is not None:
        quantizer.codebook.copy_(codebook)
        quantizer.cluster_size.fill_(cluster_size)
        quantizer.is_initialized.fill_(True)
    return quantizer


@pytest.fixture
def codebook():
    torch.manual_seed(1)
    return normalize(torch.randn(CODEBOOK_SIZE, CODEBOOK_DIM), dim=-1)


@pytest.fixture
def features():
    torch.manual_seed(2)
    return 3 * torch.randn(4, 10, CODEBOOK_DIM)


def test_nearest_code(codebook, features):
    quantized, indices, loss = make_quantizer(codebook=codebook)(features)
    distances = torch.cdist(normalize(features, dim=-1).flatten(0, 1).double(), codebook.double())
    assert torch.equal(indices.flatten(), distances.argmin(-1))
    assert torch.equal(quantized, codebook[indices])
    # The squared distance of unit vectors, spread over their components.
    torch.testing.assert_close(loss, distances.min(-1).values.square().mean().float() / CODEBOOK_DIM)


def test_look_up(codebook):
    indices = torch.tensor([[3, 0, 3]])
    quantized, same_indices, loss = make_quantizer(codebook=codebook)(indices=indices)
    assert torch.equal(quantized, codebook[indices]) and torch.equal(same_indices, indices)
    assert loss is None


def test_only_the_direction_counts(codebook, features):
    quantizer = make_quantizer(codebook=codebook)
    scale = torch.rand(4, 10, 1) + 0.1
    assert torch.equal(quantizer(features * scale)[1], quantizer(features)[1])


def test_nothing_moves_without_update(codebook, features):
    quantizer = make_quantizer(codebook=codebook, revival_threshold=100.0)
    features.requires_grad_()
    quantized, _, loss = quantizer(features)
    assert torch.equal(quantizer.codebook, codebook) and (quantizer.cluster_size == 5).all()
    assert not quantized.requires_grad
    loss.backward()
    assert features.grad.abs().sum() > 0


def test_gradient_passes_straight_through(codebook, features):
    weights = torch.randn_like(features)
    features.requires_grad_()
    quantized, indices, _ = make_quantizer(codebook=codebook)(features, update_codebook=True)
    torch.testing.assert_close(quantized, codebook[indices])
    (quantized * weights).sum().backward()
    (expected,) = torch.autograd.grad((normalize(features, dim=-1) * weights).sum(), features)
    torch.testing.assert_close(features.grad, expected)


def test_commitment_gradient_does_not_reach_the_codebook(codebook, features):
    quantizer = make_quantizer(codebook=codebook)
    assert not any(tensor.requires_grad for tensor in quantizer.state_dict(keep_vars=True).values())


def test_starts_from_kmeans():
    torch.manual_seed(0)
    centers = torch.eye(CODEBOOK_DIM).repeat(2, 1)
    centers[CODEBOOK_DIM:] *= -1  # 12 directions, far apart
    sizes = torch.arange(30, 30 + CODEBOOK_SIZE)
    features = centers.repeat_interleave(sizes, dim=0) + 0.01 * torch.randn(int(sizes.sum()), CODEBOOK_DIM)
    quantizer = make_quantizer(decay=1.0)
    # Lloyd's algorithm can stay in a local minimum, so start it with a vector of each cluster.
    first = torch.cat((torch.zeros(1, dtype=torch.long), sizes.cumsum(0)[:-1]))
    rest = torch.tensor(sorted(set(range(len(features))) - set(first.tolist())))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randperm", lambda n, **kwargs: torch.cat((first, rest)))
        _, indices, loss = quantizer(features, update_codebook=True)
    assert bool(quantizer.is_initialized)
    torch.testing.assert_close(quantizer.cluster_size, sizes.float())
    means = torch.stack([normalize(part, dim=-1).mean(0) for part in features.split(sizes.tolist())])
    torch.testing.assert_close(quantizer.codebook, normalize(means, dim=-1))
    assert torch.equal(indices, torch.arange(CODEBOOK_SIZE).repeat_interleave(sizes))
    assert loss < 1e-4


def test_kmeans_starts_once_and_lowers_the_error(features):
    torch.manual_seed(0)
    quantizer = make_quantizer(decay=1.0)
    random_start = make_quantizer(codebook=normalize(features.flatten(0, 1)[:CODEBOOK_SIZE], dim=-1))
    _, _, loss = quantizer(features, update_codebook=True)
    assert loss < random_start(features)[2]
    codebook = quantizer.codebook.clone()
    quantizer(features.flip(-1), update_codebook=True)
    # A decay of 1 is no movement, and k-means is over.
    torch.testing.assert_close(quantizer.codebook, codebook)


def test_fewer_features_than_codes():
    torch.manual_seed(0)
    quantizer = make_quantizer()
    features = torch.randn(5, CODEBOOK_DIM)
    quantized, _, loss = quantizer(features, update_codebook=True)
    torch.testing.assert_close(quantized, normalize(features, dim=-1))
    assert loss < 1e-6 and quantizer.codebook.isfinite().all()


def test_moving_average_of_counts_has_its_closed_form(codebook, features):
    decay, steps = 0.9, 7
    quantizer = make_quantizer(decay=decay, codebook=codebook)
    # Every step sends the same number of vectors to each code: the codes themselves, in different multiplicity.
    counts = torch.arange(CODEBOOK_SIZE)
    batch = codebook.repeat_interleave(counts, dim=0)
    for _ in range(steps):
        quantizer(batch, update_codebook=True)
    torch.testing.assert_close(quantizer.cluster_size, decay**steps * 5 + (1 - decay**steps) * counts.float())
    torch.testing.assert_close(quantizer.codebook, codebook)


def test_code_turns_towards_the_mean_of_its_vectors():
    """In the plane of a code and its vectors, the angle between them follows a recursion in closed form."""
    decay, steps = 0.8, 6
    codebook = torch.eye(CODEBOOK_DIM).repeat(2, 1)
    codebook[CODEBOOK_DIM:] *= -1
    angle = 0.6
    target = torch.zeros(CODEBOOK_DIM)
    target[0], target[1] = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    # Two vectors whose mean has the direction of the target.
    spread = torch.zeros(CODEBOOK_DIM)
    spread[2] = 0.1
    batch = torch.stack((target + spread, target - spread))
    quantizer = make_quantizer(decay=decay, codebook=codebook)
    for _ in range(steps):
        _, indices, _ = quantizer(batch, update_codebook=True)
        assert indices.tolist() == [0, 0]
        # normalize(decay · e + (1 - decay) · target), at an angle from the target
        angle = torch.atan2(
            decay * torch.sin(torch.tensor(angle)), decay * torch.cos(torch.tensor(angle)) + 1 - decay
        ).item()
    torch.testing.assert_close(torch.acos(quantizer.codebook[0] @ target), torch.tensor(angle), atol=1e-4, rtol=0)
    torch.testing.assert_close(quantizer.codebook.norm(dim=-1), torch.ones(CODEBOOK_SIZE))
    torch.testing.assert_close(quantizer.codebook[1:], codebook[1:])  # codes without vectors stay


def test_dead_codes_are_revived_from_the_batch(codebook):
    torch.manual_seed(0)
    quantizer = make_quantizer(decay=0.5, revival_threshold=1.0, codebook=codebook)
    alive = codebook[:3].repeat_interleave(10, dim=0)
    for step in range(3):
        quantizer(alive, update_codebook=True)
        revived = (quantizer.codebook[3:] != codebook[3:]).any(-1)
        # 5 · 0.5³ is the first moving average under 1.
        assert revived.all() if step == 2 else not revived.any()
    nearest = (quantizer.codebook[3:] @ codebook[:3].T).max(dim=-1).values
    torch.testing.assert_close(nearest, torch.ones(CODEBOOK_SIZE - 3))
    torch.testing.assert_close(quantizer.cluster_size[3:], torch.ones(CODEBOOK_SIZE - 3))
    torch.testing.assert_close(quantizer.codebook[:3], codebook[:3])


def test_code_usage(codebook):
    quantizer = make_quantizer(codebook=codebook)
    perplexity, usage = quantizer.code_usage(torch.arange(CODEBOOK_SIZE).repeat(3, 2))
    torch.testing.assert_close(perplexity, torch.tensor(float(CODEBOOK_SIZE)))
    assert usage == 1
    perplexity, usage = quantizer.code_usage(torch.zeros(4, dtype=torch.long))
    assert perplexity == 1
    torch.testing.assert_close(usage, torch.tensor(1 / CODEBOOK_SIZE))


def test_same_codes_under_autocast(codebook, features):
    quantizer = make_quantizer(codebook=codebook)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantized, indices, loss = quantizer(features, update_codebook=False)
    assert quantized.dtype == loss.dtype == torch.float32
    assert torch.equal(indices, quantizer(features)[1])


def test_half_precision_features_keep_their_type(codebook, features):
    quantizer = make_quantizer(codebook=codebook)
    quantized, indices, loss = quantizer(features.bfloat16())
    assert quantized.dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert torch.equal(indices, quantizer(features.bfloat16().float())[1])


PROCESS = """
import importlib.util
import sys
from types import SimpleNamespace

import torch

# The module alone: the package would import a good part of transformers.
spec = importlib.util.spec_from_file_location("vector_quantization", sys.argv[3])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
VectorQuantizer = module.VectorQuantizer
torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
torch.manual_seed(rank)
config = SimpleNamespace(codebook_size=12, codebook_dim=6, codebook_decay=0.9, codebook_revival_threshold=0.0)
batch = torch.load(f"{folder}/batch.pt")
# The processes have different numbers of vectors, as images keep different numbers of patches.
own = batch["features"][:7] if rank == 0 else batch["features"][7:]

shared = VectorQuantizer(config)
shared.load_state_dict(batch["state"])
for _ in range(3):
    shared(own, update_codebook=True)

new = VectorQuantizer(config)
new.revival_threshold = 4.0
for _ in range(3):
    new(own, update_codebook=True)
torch.save({"shared": shared.state_dict(), "new": new.state_dict()}, f"{folder}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_processes_share_one_codebook(codebook, features, tmp_path):
    features = features.flatten(0, 1)
    quantizer = make_quantizer(codebook=codebook)
    torch.save({"features": features, "state": quantizer.state_dict()}, tmp_path / "batch.pt")
    script = textwrap.dedent(PROCESS)
    module = sys.modules[VectorQuantizer.__module__].__file__
    environment = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(rank), str(tmp_path), module], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))

    # As if one process had seen all vectors.
    for _ in range(3):
        quantizer(features, update_codebook=True)
    for name, tensor in quantizer.state_dict().items():
        torch.testing.assert_close(first["shared"][name], tensor)
    for kind in ("shared", "new"):
        assert all(torch.equal(tensor, second[kind][name]) for name, tensor in first[kind].items())
    assert bool(first["new"]["is_initialized"])
    # Started and revived from vectors of both processes.
    unit_features = normalize(features, dim=-1)
    is_feature = torch.cdist(first["new"]["codebook"], unit_features).amin(dim=1) < 1e-5
    assert is_feature.any()
