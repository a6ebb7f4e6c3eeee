"""LoRA layers of a model: adding them, loading an adapter into them, and fitting adapters into a common shape."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model, get_peft_model_state_dict
from peft.utils.other import get_pattern_key
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from configs.errors import UsageError
from configs.policy import Lora, PolicyConfig
from learner.adapter import Adapter, read_adapter, read_shape
from learner.family import lora_targets
from learner.pretrained import META, load_model, one_line
from learner.types import Tensors

PREFIX = "base_model.model."


def lora_config(config: PolicyConfig) -> PeftConfig:
    """The shape of `policy.adapter` if one is given, else of a new adapter."""
    if config.adapter:
        return read_shape("policy.adapter", config.adapter)
    return new_shape(with_named_targets(config).lora)


def target_modules(config: PolicyConfig) -> tuple[str, ...]:
    """The layers that `policy.lora.target_modules` names; for `auto`, those of the model's family."""
    named = config.lora.target_modules
    return lora_targets(AutoConfig.from_pretrained(config.model)) if named == "auto" else named


def with_named_targets(config: PolicyConfig) -> PolicyConfig:
    """The config with the names that `auto` stands for."""
    return config.model_copy(update={"lora": config.lora.model_copy(update={"target_modules": target_modules(config)})})


def new_shape(lora: Lora) -> LoraConfig:
    """The shape of a new adapter, whose layers are named."""
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias="none",
        target_modules=list(lora.target_modules),
        task_type=TaskType.SEQ_2_SEQ_LM,
    )


def with_adapter(base: nn.Module, config: PolicyConfig) -> PeftModel:
    """The model with the layers and weights of `policy.adapter`, or with new LoRA layers.

    Raises `UsageError` if the model lacks these layers, or the adapter's tensors do not fit them.
    """
    if config.adapter:
        adapter = read_adapter("policy.adapter", config.adapter)
        return fill(base, adapter, f"policy.adapter: {config.adapter}", config)
    return add_layers(base, lora_config(config), "policy.lora.target_modules", config.model)


def add_layers(base: nn.Module, shape: LoraConfig, field: str, model: str) -> PeftModel:
    """The model with new LoRA layers. Raises `UsageError` naming `field` if it lacks a target layer."""
    targets = shape.target_modules
    layers = [name for name, _ in base.named_modules()]
    named = [] if isinstance(targets, str) else targets
    if missing := sorted(t for t in named if not any(n == t or n.endswith(f".{t}") for n in layers)):
        raise UsageError(f"{field}: {model} has no layer called {', '.join(missing)}")
    try:
        return get_peft_model(base, shape)
    except Exception as error:  # peft raises many kinds for layers that it cannot adapt
        raise UsageError(f"{field}: {model} cannot be adapted: {one_line(error)}") from error


def fill(base: nn.Module, adapter: Adapter, field: str, config: PolicyConfig) -> PeftModel:
    """The model with the layers and weights of an adapter.

    peft itself silently skips layers that the file has no tensor for, and tensors that belong to no layer.

    Raises `UsageError` naming `field` if names or shapes do not match the model's LoRA layers.
    """
    own = dict(base.named_parameters(remove_duplicate=False))
    given = {name: tensor for name, tensor in adapter.tensors.items() if not _is_base_weight(name, tensor, own)}
    trained = replace(adapter.shape, inference_mode=False)  # otherwise the layers would be frozen
    model = add_layers(base, trained, field, config.model)
    layers = get_peft_model_state_dict(model, save_embedding_layers=False)
    missing, extra = sorted(set(layers) - set(given)), sorted(set(given) - set(layers))
    if missing or extra:
        problems = [f"lacks {len(missing)} of their {len(layers)} tensors ({missing[0]})"] if missing else []
        problems += [f"has {len(extra)} that belong to none of them ({extra[0]})"] if extra else []
        raise UsageError(f"{field}: does not fit the LoRA layers of {config.model}: it {' and '.join(problems)}")
    for name, tensor in layers.items():
        if tensor.shape != given[name].shape:
            raise UsageError(
                f"{field}: was trained for another model than {config.model}: {name} is {tuple(given[name].shape)}, "
                f"not {tuple(tensor.shape)}"
            )
        tensor.data.copy_(given[name])
    return model


def _is_base_weight(name: str, tensor: torch.Tensor, own: dict[str, nn.Parameter]) -> bool:
    """True for a base weight that peft saved with the adapter, as it does when an embedding is adapted."""
    base = own.get(name.removeprefix(PREFIX).replace(".base_layer.", "."))
    if base is None or base.shape != tensor.shape:
        return False
    narrow = min(base.dtype, tensor.dtype, key=lambda dtype: dtype.itemsize)  # either may have been rounded
    return base.is_meta or torch.equal(base.data.cpu().to(narrow), tensor.to(narrow))


def holds_base_weights(adapter: Adapter) -> bool:
    """True if weights of the base model were saved with the adapter."""
    return any(".lora_" not in name for name in adapter.tensors)


def check_fits(adapter: Adapter, field: str, config: PolicyConfig) -> None:
    """Raise `UsageError` naming `field` unless an adapter fits the policy's model.

    Weights are loaded only if base weights were saved with the adapter, to check that they are the same.
    """
    device = torch.device("cpu") if holds_base_weights(adapter) else META
    fill(load_model(AutoModelForSeq2SeqLM, "policy.model", config.model, device, "float32"), adapter, field, config)


def unreached(model: PeftModel) -> list[str]:
    """Adapted layers that receive no gradient, such as an embedding that the model reads under another name.

    `model` must be on the meta device, where a pass costs nothing.
    """
    ids = torch.ones(1, 2, dtype=torch.long, device=META)
    try:
        with torch.enable_grad():
            total = model(input_ids=ids, decoder_input_ids=ids).logits.sum()
            if total.requires_grad:  # False if none of the layers is reached
                total.backward()
    except (NotImplementedError, RuntimeError):  # a model that branches on values, which meta tensors lack
        return []
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    return sorted({layer_of(name) for name in idle})


def never_reached(config: PolicyConfig, layers: Sequence[str]) -> str:
    """The error message for a policy with layers that would never learn."""
    where = "policy.adapter" if config.adapter else "policy.lora.target_modules"
    return (
        f"{where}: {', '.join(layers)} never receives a gradient in {config.model}, because the model uses these "
        f"weights under another name; adapt other layers"
    )


def layer_of(name: str) -> str:
    """Name of the layer that an adapter's tensor belongs to."""
    return name.removeprefix(PREFIX).partition(".lora_")[0]


def common_shape(adapters: Sequence[Adapter]) -> Lora:
    """The smallest shape that all adapters fit into; their own if they share one."""
    ranks = [max([adapter.shape.r, *_ranks(adapter)]) for adapter in adapters]
    modules = dict.fromkeys(module for adapter in adapters for module in _modules(adapter))
    alpha = adapters[ranks.index(max(ranks))].shape.lora_alpha
    if alpha < 1 or alpha != int(alpha):
        alpha = max(ranks)  # any value works: `fit` compensates for it
    return Lora(r=max(ranks), alpha=int(alpha), dropout=0.0, target_modules=tuple(modules))


def _ranks(adapter: Adapter) -> Iterator[int]:
    return (len(tensor) for name, tensor in adapter.tensors.items() if _is_lora_a(name))


def _modules(adapter: Adapter) -> list[str]:
    """An adapter's target modules by name, also if it gives them as a regular expression."""
    targets = adapter.shape.target_modules
    return sorted({layer_of(name) for name in adapter.tensors} if isinstance(targets, str) else targets)


def _is_lora_a(name: str) -> bool:
    """True for matrix A, [r, in], which is applied first; B is [out, r]."""
    return ".lora_A" in name or ".lora_embedding_A" in name


def scaling(shape: LoraConfig, layer: str, rank: int) -> float:
    """The factor by which peft multiplies the product of a layer's two matrices."""
    alpha = shape.alpha_pattern.get(get_pattern_key(shape.alpha_pattern.keys(), layer), shape.lora_alpha)
    return alpha / (math.sqrt(rank) if shape.use_rslora else rank)


def fit(adapter: Adapter, template: Tensors, into: Lora) -> Tensors:
    """The adapter padded to the shape of `template`: added ranks and layers are zero, the product B A is the same.

    Raises `UsageError` if the adapter has layers that the template lacks, hence belongs to another model.
    """
    fitted = {name: torch.zeros_like(target) for name, target in template.items()}
    for name, tensor in adapter.tensors.items():
        if name not in template:
            if ".lora_" in name:
                raise UsageError(f"an adapter was trained for another model than policy.model, which has no {name}")
            continue  # a base weight, see `fill`
        is_a, target = _is_lora_a(name), fitted[name]
        rank = tensor.shape[0 if is_a else 1]
        part = target[:rank] if is_a else target[:, :rank]
        if part.shape != tensor.shape:
            raise UsageError(
                f"an adapter was trained for another model than policy.model: {name} is {tuple(tensor.shape)}"
            )
        part.copy_(tensor if is_a else tensor * (scaling(adapter.shape, layer_of(name), rank) / (into.alpha / into.r)))
    return fitted
