"""Arguments from a YAML file and the command line."""

from pathlib import Path

import pytest
import yaml


CONFIGS = Path(__file__).parents[3] / "examples" / "configs"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "output_dir: out\nlearning_rate: 1e-4\nmax_steps: 7\nlearning_rates: {merger: 5.0e-5}\nuse_cpu: true\n"
    )
    return path


def parse(*args):
    from training.arguments import VideoLaVITTrainingArguments, parse_arguments

    return parse_arguments([VideoLaVITTrainingArguments], [str(arg) for arg in args])[0]


def test_the_yaml_file_gives_values_that_the_command_line_overrides(config):
    args = parse("--config", config)
    assert (args.learning_rate, args.max_steps, args.learning_rates) == (1e-4, 7, {"merger": 5e-5})
    assert parse("--config", config, "--learning_rate", "3e-4").learning_rate == 3e-4


def test_max_train_steps_is_another_name_of_max_steps(config):
    assert parse("--config", config, "--max_train_steps", 3).max_steps == 3


def test_learning_rates_can_be_given_as_json(config):
    assert parse("--config", config, "--learning_rates", '{"head": 1e-3}').learning_rates == {"head": 1e-3}


def test_an_unknown_argument_in_the_yaml_file_is_refused_by_name(config):
    config.write_text("output_dir: out\nlearning_rat: 1\n")
    with pytest.raises(ValueError, match="learning_rat"):
        parse("--config", config)
    config.write_text("- a\n- b\n")
    with pytest.raises(ValueError, match="mapping"):
        parse("--config", config)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_names_arguments_that_its_program_has(path):
    import importlib

    program = path.stem.rsplit("_", 1)[0]
    program = program if program == "pretrain" or program.startswith("finetune") else f"train_{program}"
    module = importlib.import_module(program)
    from transformers import HfArgumentParser

    parser = HfArgumentParser(module.ARGUMENTS)
    names = {action.dest for action in parser._actions}
    assert set(yaml.safe_load(path.read_text())) <= names
