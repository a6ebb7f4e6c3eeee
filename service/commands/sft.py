"""`ray_job.py sft`: supervised fine-tuning of an adapter."""

import json
import time
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file

from cluster.preflight.data import data_lines
from cluster.preflight.preflight import check_training
from configs.errors import RunError
from configs.installation import COMMAND
from configs.schema import Config
from learner.adapter import tensors_sha256
from learner.sft import LOG, RESULT
from learner.trainer_log import read_log
from service.run.folder import new_folder, write_config
from service.run.followed import followed
from service.run.lock import lock_folder
from service.run.phase import Phase
from service.run.progress import Display, silence_libraries


def sft(config: Config, resume: Path | None = None) -> Path:
    """Fine-tune an adapter, or resume a folder's fine-tuning; prints and returns the folder.

    Raises `UsageError` before anything starts, `RunError` if it fails.
    """
    silence_libraries()
    display = Display(Console(stderr=True))
    with display.phase("checking model and data"):
        splits = check_training(config, resume)
    path = resume or (Path(config.out) if config.out else new_folder())
    path.mkdir(parents=True, exist_ok=True)
    with lock_folder(path), display.failure_logged():
        display.folder = path
        if resume and is_complete(path):
            display.say(f"{path} is complete: nothing left to do")
        else:
            for line in data_lines(splits):
                display.say(line)
            _train(config, path, display)
            display.done()
    print(path)
    return path


def _train(config: Config, path: Path, display: Display) -> None:
    from cluster.sft import run_sft  # here, because Ray Train takes seconds to load

    write_config(path, config)
    began = time.perf_counter()
    if read_log(path / LOG):
        display.say(f"resuming {path} from its newest checkpoint")
    with display.phase("fine-tuning") as phase, followed(lambda: read_log(path / LOG), _shown, display, phase):
        try:
            run_sft(config, path)
        except (RunError, KeyboardInterrupt):
            display.say(f"progress is saved; resume with: {COMMAND} sft --resume {path}")
            raise
    result = json.loads((path / RESULT).read_bytes())
    metrics = ", ".join(f"{name} {value:.2f}" for name, value in result["validation"].items())
    display.say(f"{result['steps']} steps in {time.perf_counter() - began:.0f} s; on the validation split: {metrics}")
    display.say(f"train from it with: {COMMAND} --policy.adapter {path / 'adapter'}")


def _shown(line: dict, phase: Phase) -> str:
    phase.reach(line["step"], line["of"])
    if "trainable" in line:
        share = 100 * line["trainable"] / line["total"]
        return (
            f"trainable model parameters: {line['trainable']:,}; all model parameters: {line['total']:,}; "
            f"percentage of trainable model parameters: {share:.2f}%"
        )
    place = f"step {line['step']}/{line['of']}"
    if "eval_rougeL" in line:
        return f"{place}  validation ROUGE-L {line['eval_rougeL']:.2f}  loss {line['eval_loss']:.3f}"
    return f"{place}  loss {line['loss']:.3f}  learning rate {line['learning_rate']:.2g}"


def is_complete(folder: Path) -> bool:
    """True if fine-tuning has finished in the folder and its adapter has not changed since."""
    try:
        made = json.loads((folder / RESULT).read_bytes())["adapter_sha256"]
        return made == tensors_sha256(load_file(folder / "adapter/adapter_model.safetensors"))
    except (OSError, ValueError, KeyError, SafetensorError):
        return False
