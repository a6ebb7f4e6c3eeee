"""What can be known before anything starts: every problem of a config in one message, without loading a model."""

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub.constants
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from cluster.plan import Plan
from configs.errors import UsageError
from configs.evaluation import Classifier as Judge
from configs.rewards import Reward
from configs.schema import Config, Data, Policy
from workers.extras import make_extra
from workers.labels import label_index
from workers.prompts import Row, make_prompts, read_rows

WEIGHTS = "model*.safetensors*|pytorch_model*.bin*"
MIN_FREE = 200e6
"""Bytes of disk without which no run is begun: a few checkpoints of a small model, and its report."""
TOKENIZER = "tokenizer.json|tokenizer_config.json|*.model|vocab.*"


def preflight(config: Config, resume: Path | None = None) -> Plan:
    """Check models, labels, adapter, data and output folder, and make the plan of the run.

    `resume` is the folder of a run that goes on; it then holds something already.

    Raises `UsageError` with all that is wrong.
    """
    names = [config.policy.model, config.policy.adapter, config.reward.model, config.data.path]
    if any(name and not Path(name).exists() for name in names) and not hub_is_reachable():
        go_offline()
    problems: list[str] = []
    for check in (
        check_policy,
        check_adapter,
        _check_reward,
        _check_judge,
        _check_extras,
        check_cluster,
        _check_trackers,
    ):
        collect(problems, check, config)
    if not resume:
        collect(problems, check_out, config)
    collect(problems, check_disk, resume or Path(config.out or "."))
    tokenizer = collect(problems, check_tokenizer, config)
    splits = collect(problems, _read_splits, config)
    plan = collect(problems, _make_plan, config, tokenizer, splits) if tokenizer and splits else None
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return plan


def check_training(config: Config, resume: Path | None = None) -> None:
    """The same for supervised fine-tuning, which asks for no reward. Raises `UsageError` with all that is wrong."""
    names = [config.policy.model, config.policy.adapter, config.data.path]
    if any(name and not Path(name).exists() for name in names) and not hub_is_reachable():
        go_offline()
    problems: list[str] = []
    for check in (check_policy, check_adapter, check_cluster, _check_workers):
        collect(problems, check, config)
    if not resume:
        collect(problems, check_out, config)
    collect(problems, check_disk, resume or Path(config.out or "."))
    tokenizer = collect(problems, check_tokenizer, config)
    for split in (config.data.train_split, config.data.validation_split):
        rows = collect(problems, read_rows, config.data, split)
        if tokenizer and rows is not None and not make_prompts(rows, config.data, tokenizer):
            problems.append(_too_few(config.data, split, 0, 1))
    if problems:
        raise UsageError(*dict.fromkeys(problems))


def _check_trackers(config: Config) -> None:
    """Raises `UsageError` naming each tracker whose package is not installed."""
    missing = [name for name in config.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(*[f"trackers: {name} is not installed; install it by: pip install {name}" for name in missing])


def _check_workers(config: Config) -> None:
    sft, inline = config.sft, config.cluster.backend == "inline"
    if sft.batch_size % sft.workers:
        raise UsageError(f"sft.batch_size ({sft.batch_size}) must be a multiple of sft.workers ({sft.workers})")
    if inline and sft.workers > 1:
        raise UsageError(f"sft.workers: {sft.workers}, but cluster.backend inline has one process; leave one out")


def collect(problems: list[str], check: Callable[..., Any], *arguments: Any) -> Any:
    """What a check returns; None, and what is wrong among `problems`, where it raises `UsageError`."""
    try:
        return check(*arguments)
    except UsageError as error:
        problems.extend(error.problems)


def hub_is_reachable() -> bool:
    """Whether a connection to the Hugging Face hub can be opened; a proxy is taken at its word."""
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    address = urlsplit(huggingface_hub.constants.ENDPOINT)
    return _answers(address.hostname, address.port or 443)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=3).close()
    except (OSError, UnicodeError):
        return False
    return True


def go_offline() -> None:
    """Take hub names from the local cache only, here and in processes started from here: trying takes half a minute."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True


def _load(field: str, name: str, load: Callable[..., Any], *files: str) -> Any:
    """`load(name)`, its failure turned into a problem of `field`; a directory must hold one file of each pattern."""
    folder = Path(name)
    if not folder.is_dir():
        return _load_from_hub(field, name, load)
    missing = [pattern for pattern in files if not any(any(folder.glob(p)) for p in pattern.split("|"))]
    if missing:
        listed = ", ".join(pattern.split("|")[0] for pattern in missing)
        raise UsageError(f"{field}: {name} holds no {listed}; give the directory that save_pretrained wrote")
    try:
        return load(name)
    except Exception as error:  # what a broken file makes the libraries raise has no common kind
        raise UsageError(f"{field}: {name} cannot be loaded: {error}") from error


def _load_from_hub(field: str, name: str, load: Callable[..., Any]) -> Any:
    try:
        return load(name)
    except Exception as error:
        raise UsageError(
            f"{field}: {name!r} is no directory (seen from {Path.cwd()}), and cannot be had from the Hugging Face hub "
            f"or its cache on this machine; check the name, the current folder and the network"
        ) from error


def check_policy(config: Config) -> None:
    """Raises `UsageError` where the policy is no encoder-decoder model with the layers that LoRA is to adapt."""
    name = config.policy.model
    model = _load("policy.model", name, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    if not model.is_encoder_decoder:
        raise UsageError(f"policy.model: {name} ({model.model_type}) is no encoder-decoder model")
    if getattr(model, "decoder_start_token_id", None) is None:
        raise UsageError(f"policy.model: the config of {name} has no decoder_start_token_id; set it")
    if config.policy.adapter:
        return
    layers = _layer_names(Path(name))
    wanted = config.policy.lora.target_modules
    missing = [t for t in wanted if not any(layer == t or layer.endswith(f".{t}") for layer in layers)]
    if layers and missing:
        raise UsageError(f"policy.lora.target_modules: {name} has no layer called {', '.join(missing)}")


def _layer_names(folder: Path) -> list[str]:
    """Names of the layers with weights in a local directory's safetensors files; of others nothing is known here."""
    names: list[str] = []
    for file in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                names += [name.removesuffix(".weight") for name in tensors.keys()]
        except SafetensorError as error:
            raise UsageError(f"policy.model: {file} cannot be read: {error}") from error
    return names


def check_adapter(config: Config) -> None:
    """Raises `UsageError` where the policy's adapter is not there, or is in a format that was not accepted."""
    if config.policy.adapter:
        from peft import PeftConfig  # here, since it takes seconds to load and few runs need it this early

        files = "adapter_config.json", "adapter_model.safetensors|adapter_model.bin"
        _load("policy.adapter", config.policy.adapter, PeftConfig.from_pretrained, *files)
        check_format(config.policy)


def check_format(policy: Policy) -> None:
    """Warns of an adapter that exists as .bin only. Raises `UsageError` where that was not accepted."""
    folder = Path(policy.adapter or "")
    if not policy.adapter or not folder.is_dir() or (folder / "adapter_model.safetensors").is_file():
        return
    if not policy.adapter_bin:
        raise UsageError(
            f"policy.adapter: {folder} has an adapter_model.bin only, a format that could hold code; nothing but its "
            f"tensors would be read: accept that by --policy.adapter_bin true, or convert it to safetensors"
        )
    print(f"warning: policy.adapter: {folder}/adapter_model.bin is read as tensors only", file=sys.stderr)


def _check_reward(config: Config) -> None:
    _check_classifier("reward", config.reward)


def _check_judge(config: Config) -> None:
    if isinstance(judge := config.evaluation.second_judge, Judge):
        _check_classifier("evaluation.second_judge", judge)


def _check_classifier(field: str, config: Reward | Judge) -> None:
    """Raises `UsageError` where the model cannot be loaded, or has no such label."""
    model = _load(f"{field}.model", config.model, AutoConfig.from_pretrained, "config.json", WEIGHTS)
    try:
        label_index(model.id2label, config.label)
    except (ValueError, AttributeError) as error:
        raise UsageError(str(error).replace("reward.label", f"{field}.label")) from error
    _load(f"{field}.model", config.model, AutoTokenizer.from_pretrained, TOKENIZER)


def _check_extras(config: Config) -> None:
    for extra in config.reward.extra:
        try:
            make_extra(extra)
        except ValueError as error:
            raise UsageError(f"reward.extra: {extra.name}: {error}") from error


def check_out(config: Config) -> None:
    """Make the folder now: whether that can be done is only known by doing it."""
    if config.out is None:
        return
    try:
        Path(config.out).mkdir(parents=True, exist_ok=True)
        used = any(Path(config.out).iterdir())
    except (OSError, ValueError) as error:
        raise UsageError(f"out: {config.out!r} cannot be made a folder: {error}") from error
    if used:
        raise UsageError(f"out: {config.out} exists and is not an empty folder; name a new one")


def check_disk(folder: Path) -> None:
    """Raises `UsageError` where the disk of the folder is nearly full."""
    there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(there).free
    if free < MIN_FREE:
        raise UsageError(f"out: {free / 1e6:.0f} MB are free on the disk of {there}; make room or name another folder")


def check_cluster(config: Config) -> None:
    """Ray itself would try a wrong address for many minutes."""
    address = config.cluster.address or os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if config.cluster.backend == "ray" and port.isdigit() and not _answers(host, int(port)):
        raise UsageError(
            f"cluster.address: nothing answers at {address}; give the address that `ray start --head` printed"
        )


def check_tokenizer(config: Config) -> PreTrainedTokenizerBase:
    """The policy's tokenizer. Raises `UsageError`."""
    return _load("policy.model", config.policy.model, AutoTokenizer.from_pretrained, TOKENIZER)


def _read_splits(config: Config) -> list[list[Row]]:
    """Rows of the training and of the held-out split."""
    data = config.data
    if data.train_split == data.eval_split:
        raise UsageError(
            f"data.eval_split: {data.eval_split!r} is also the training split; judge on held-out dialogues"
        )
    group_by = getattr(config.algorithm, "group_by", None)
    return [read_rows(data, split, group_by) for split in (data.train_split, data.eval_split)]


def _too_few(data: Data, split: str, count: int, needed: int) -> str:
    return (
        f"data: {count} dialogues of {data.path} ({split}) have {data.min_chars}-{data.max_chars} characters and at "
        f"most {data.max_prompt_tokens} tokens, {needed} are needed; widen the filter (data.min_chars, data.max_chars) "
        f"or lower rollout.batch_size"
    )


def _make_plan(config: Config, tokenizer: PreTrainedTokenizerBase, splits: list[list[Row]]) -> Plan:
    data, group_by = config.data, getattr(config.algorithm, "group_by", None)
    train, held_out = (make_prompts(rows, data, tokenizer, group_by) for rows in splits)
    for split, prompts, needed in [
        (data.train_split, train, config.rollout.batch_size // config.group_size),
        (data.eval_split, held_out, 2),
    ]:
        if len(prompts) < needed:
            raise UsageError(_too_few(data, split, len(prompts), needed))
    unknown = set(getattr(config.algorithm, "group_weights", {})) - {prompt.group for prompt in train}
    if unknown:
        raise UsageError(f"algorithm.group_weights: no prompt is in a group called {', '.join(sorted(unknown))}")
    return Plan(config, train, held_out)
