"""LoRA layers of a model: made, filled from an adapter that fits them, and brought to a shape that several share."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model, get_peft_model_state_dict
from peft.utils.other import get_pattern_key
from torch import nn
from transformers import AutoModelForSeq2SeqLM

from configs.errors import UsageError
from configs.policy import Lora, PolicyConfig
from learner.adapter import Adapter, read_adapter, read_shape
from learner.pretrained import META, load_model, one_line
from learner.types import Tensors

PREFIX = "base_model.model."


def lora_config(config: PolicyConfig) -> PeftConfig:
    """The shape of the adapter: that of `policy.adapter` where one is given, else a new one."""
    return read_shape("policy.adapter", config.adapter) if config.adapter else new_shape(config.lora)


def new_shape(lora: Lora) -> LoraConfig:
    """The shape of an adapter that begins anew."""
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias="none",
        target_modules=list(lora.target_modules),
        task_type=TaskType.SEQ_2_SEQ_LM,
    )


def with_adapter(base: nn.Module, config: PolicyConfig) -> PeftModel:
    """The model with the layers of `policy.adapter` and their weights, or with new ones.

    Raises `UsageError` where it has no such layers, or the adapter's tensors are not those of its layers.
    """
    if config.adapter:
        adapter = read_adapter("policy.adapter", config.adapter)
        return fill(base, adapter, f"policy.adapter: {config.adapter}", config)
    return add_layers(base, new_shape(config.lora), "policy.lora.target_modules", config.model)


def add_layers(base: nn.Module, shape: LoraConfig, field: str, model: str) -> PeftModel:
    """The model with new LoRA layers. Raises `UsageError` naming `field` where it has not the layers to be adapted."""
    targets = shape.target_modules
    layers = [name for name, _ in base.named_modules()]
    named = [] if isinstance(targets, str) else targets
    if missing := sorted(t for t in named if not any(n == t or n.endswith(f".{t}") for n in layers)):
        raise UsageError(f"{field}: {model} has no layer called {', '.join(missing)}")
    try:
        return get_peft_model(base, shape)
    except Exception as error:  # as many kinds as there are layers that peft cannot adapt
        raise UsageError(f"{field}: {model} cannot be adapted: {one_line(error)}") from error


def fill(base: nn.Module, adapter: Adapter, field: str, config: PolicyConfig) -> PeftModel:
    """The model with the layers of an adapter and their weights.

    peft itself leaves a layer as it is where the file has no tensor for it, and passes over tensors of no layer.

    Raises `UsageError` naming `field` where names or shapes are not those of the model's own LoRA layers.
    """
    own = dict(base.named_parameters(remove_duplicate=False))
    given = {name: tensor for name, tensor in adapter.tensors.items() if not _is_base(name, tensor, own)}
    trained = replace(adapter.shape, inference_mode=False)  # with it, the layers would not be trained
    model = add_layers(base, trained, field, config.model)
    layers = get_peft_model_state_dict(model, save_embedding_layers=False)
    missing, stray = sorted(set(layers) - set(given)), sorted(set(given) - set(layers))
    if missing or stray:
        told = [f"lacks {len(missing)} of their {len(layers)} tensors ({missing[0]})"] if missing else []
        told += [f"has {len(stray)} that belong to none ({stray[0]})"] if stray else []
        raise UsageError(f"{field}: does not fit the LoRA layers of {config.model}: it {', and '.join(told)}")
    for name, tensor in layers.items():
        if tensor.shape != given[name].shape:
            raise UsageError(
                f"{field}: is of another model than {config.model}: {name} is {tuple(given[name].shape)}, "
                f"not {tuple(tensor.shape)}"
            )
        tensor.data.copy_(given[name])
    return model


def _is_base(name: str, tensor: torch.Tensor, own: dict[str, nn.Parameter]) -> bool:
    """True for a base model's weight that peft saved beside the adapter, as it does where an embedding is adapted."""
    base = own.get(name.removeprefix(PREFIX).replace(".base_layer.", "."))
    if base is None or base.shape != tensor.shape:
        return False
    narrow = min(base.dtype, tensor.dtype, key=lambda dtype: dtype.itemsize)  # either may have been rounded
    return base.is_meta or torch.equal(base.data.cpu().to(narrow), tensor.to(narrow))


def holds_base_weights(adapter: Adapter) -> bool:
    """True where weights of the base model lie beside the adapter's own."""
    return any(".lora_" not in name for name in adapter.tensors)


def check_fits(adapter: Adapter, field: str, config: PolicyConfig) -> None:
    """Raises `UsageError` naming `field` where an adapter is not one of the policy's model.

    Weights are loaded only where some of the base model's lie beside the adapter, to see that they are the same.
    """
    device = torch.device("cpu") if holds_base_weights(adapter) else META
    fill(load_model(AutoModelForSeq2SeqLM, "policy.model", config.model, device, "float32"), adapter, field, config)


def unreached(model: PeftModel) -> list[str]:
    """Layers whose adapter no gradient comes to, such as an embedding that the model reads by another name.

    `model` is one on the device meta, where a pass costs nothing.
    """
    ids = torch.ones(1, 2, dtype=torch.long, device=META)
    try:
        with torch.enable_grad():
            total = model(input_ids=ids, decoder_input_ids=ids).logits.sum()
            if total.requires_grad:  # not where none of the layers is reached
                total.backward()
    except (NotImplementedError, RuntimeError):  # a model that looks at numbers: there are none here
        return []
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    return sorted({layer_of(name) for name in idle})


def never_reached(config: PolicyConfig, layers: Sequence[str]) -> str:
    """What is wrong with a policy of which these layers would never learn."""
    where = "policy.adapter" if config.adapter else "policy.lora.target_modules"
    return (
        f"{where}: {', '.join(layers)} never receives a gradient in {config.model}, because the model uses these "
        f"weights under another name; adapt other layers"
    )


def layer_of(name: str) -> str:
    """Name of the layer that a tensor of an adapter belongs to."""
    return name.removeprefix(PREFIX).partition(".lora_")[0]


def common_shape(adapters: Sequence[Adapter]) -> Lora:
    """The smallest shape that each of the adapters fits into; their own where all have the same."""
    ranks = [max([adapter.shape.r, *_ranks(adapter)]) for adapter in adapters]
    modules = dict.fromkeys(module for adapter in adapters for module in _modules(adapter))
    alpha = adapters[ranks.index(max(ranks))].shape.lora_alpha
    if alpha < 1 or alpha != int(alpha):
        alpha = max(ranks)  # any number does: `fit` makes up for it
    return Lora(r=max(ranks), alpha=int(alpha), dropout=0.0, target_modules=tuple(modules))


def _ranks(adapter: Adapter) -> Iterator[int]:
    return (len(tensor) for name, tensor in adapter.tensors.items() if _is_down(name))


def _modules(adapter: Adapter) -> list[str]:
    """The layers of an adapter as names that match no fewer."""
    targets = adapter.shape.target_modules
    return sorted({layer_of(name) for name in adapter.tensors} if isinstance(targets, str) else targets)


def _is_down(name: str) -> bool:
    """True for the matrix that is read first, [r, in]; the other one is [out, r]."""
    return ".lora_A" in name or ".lora_embedding_A" in name


def scaling(shape: LoraConfig, layer: str, rank: int) -> float:
    """What peft multiplies the product of a layer's two matrices by."""
    alpha = shape.alpha_pattern.get(get_pattern_key(shape.alpha_pattern.keys(), layer), shape.lora_alpha)
    return alpha / (math.sqrt(rank) if shape.use_rslora else rank)


def fit(adapter: Adapter, template: Tensors, into: Lora) -> Tensors:
    """The adapter in the shape of `template`: more ranks and layers that add nothing, and the same product B A.

    Raises `UsageError` where the adapter has layers that the template has not: it is of another model.
    """
    fitted = {name: torch.zeros_like(target) for name, target in template.items()}
    for name, tensor in adapter.tensors.items():
        if name not in template:
            if ".lora_" in name:
                raise UsageError(f"an adapter is of another model than policy.model, which has no {name}")
            continue  # a weight of the base, see `fill`
        down, target = _is_down(name), fitted[name]
        rank = tensor.shape[0 if down else 1]
        part = target[:rank] if down else target[:, :rank]
        if part.shape != tensor.shape:
            raise UsageError(f"an adapter is of another model than policy.model: {name} is {tuple(tensor.shape)}")
        part.copy_(tensor if down else tensor * (scaling(adapter.shape, layer_of(name), rank) / (into.alpha / into.r)))
    return fitted
