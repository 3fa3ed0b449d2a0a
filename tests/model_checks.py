"""Checks that every model passes, whatever it computes."""

import doctest

import torch
from transformers import PreTrainedModel


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4):
    """Equal within a tolerance relative to the largest expected value."""
    assert actual.shape == expected.shape
    difference = (actual.double() - expected.double()).abs().max()
    assert difference <= tolerance * expected.double().abs().max(), float(difference)


def assert_outputs_equal(first, second):
    """Two model outputs with the same fields and the same tensors, to the bit."""
    assert list(first) == list(second)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, equal_nan=True)


def check_example(method):
    """The example in a docstring gives what it says."""
    docstring = method.__doc__.replace("```python", "").replace("```", "")
    example = doctest.DocTestParser().get_doctest(docstring, {}, method.__qualname__, None, None)
    assert len(example.examples) > 3
    assert doctest.DocTestRunner().run(example).failed == 0


@torch.no_grad()
def check_save_and_load(model, inputs, path):
    """Saved and loaded twice, the model gives the same output; nothing is missing, nothing is left over."""
    model.eval()
    expected = model(**inputs)
    for attempt in range(2):
        model.save_pretrained(path / str(attempt))
        model, loading_info = type(model).from_pretrained(path / str(attempt), output_loading_info=True)
        assert not any(loading_info.values())
        assert not model.training
        assert_outputs_equal(model(**inputs), expected)


@torch.no_grad()
def check_disk_offload(model, run, path):
    """Weights that wait on disk, whole modules at a time, change nothing."""
    model.eval().save_pretrained(path / "model")
    offloaded = type(model).from_pretrained(path / "model", device_map={"": "disk"}, offload_folder=path / "offload")
    assert {parameter.device.type for parameter in offloaded.parameters()} == {"meta"}
    for first, second in zip(run(offloaded), run(model), strict=True):
        assert torch.equal(first, second)


@torch.no_grad()
def check_half_precision(model, inputs, path):
    """The model loads and runs in either half precision, and takes float32 input there."""
    model.save_pretrained(path)
    for dtype in (torch.bfloat16, torch.float16):
        half = type(model).from_pretrained(path, dtype=dtype)
        assert all(parameter.dtype == dtype for parameter in half.parameters())
        for value in half(**inputs).values():
            if torch.is_tensor(value) and value.is_floating_point():
                assert value.isfinite().all()


@torch.no_grad()
def check_missing_weights(model, path, monkeypatch):
    """A model loaded without a single weight is initialised as a new one is."""
    model_class = type(model)
    initialize = PreTrainedModel._initialize_weights

    def initialize_with_seed(self, module, *args):
        torch.manual_seed(0)  # a new module has drawn random numbers before, one on the meta device has not
        initialize(self, module, *args)

    monkeypatch.setattr(PreTrainedModel, "_initialize_weights", initialize_with_seed)
    model.save_pretrained(path, state_dict={"unrelated": torch.zeros(1)})
    new = model_class(model.config).state_dict()
    loaded = model_class.from_pretrained(path).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in new.items())


@torch.no_grad()
def check_tuple_equals_dict(model, inputs):
    model.eval()
    output = model(**inputs)
    as_tuple = model(**inputs, return_dict=False)
    assert isinstance(as_tuple, tuple)
    for first, second in zip(as_tuple, output.to_tuple(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


@torch.no_grad()
def check_attention_implementations(model, inputs, field):
    """Eager and SDPA attention give the same result, set when the model exists already."""
    model.eval()
    outputs = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        assert model.config._attn_implementation == implementation
        outputs[implementation] = model(**inputs)[field]
    assert_close(outputs["sdpa"], outputs["eager"], 1e-5)


def compute_gradients(model, compute_loss):
    model.zero_grad()
    torch.manual_seed(0)
    compute_loss(model).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def check_gradient_checkpointing(model, compute_loss):
    """Recomputed activations give the same gradients, none of them zero, and are really recomputed."""
    model.train()
    # The state of a codebook moves with every training step.
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    expected = compute_gradients(model, compute_loss)
    assert expected and all(gradient.abs().sum() > 0 for gradient in expected.values())
    for name, buffer in model.named_buffers():
        buffer.copy_(state[name])
    model.gradient_checkpointing_enable()
    layer = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False) is True][-1]
    forwards = []
    handle = next(iter(layer.children())).register_forward_hook(lambda *args: forwards.append(1))
    gradients = compute_gradients(model, compute_loss)
    handle.remove()
    model.gradient_checkpointing_disable()
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)
    assert len(forwards) == 2
