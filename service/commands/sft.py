"""`ray_job.py sft`: supervised fine-tuning of an adapter, from config to a folder that holds it."""

import json
import threading
import time
from pathlib import Path

from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file

from cluster.preflight.preflight import check_training
from configs.errors import RunError
from configs.installation import COMMAND
from configs.schema import Config
from learner.adapter import tensors_sha256
from learner.sft import RESULT, read_log
from service.run.folder import new_folder, take, write_config
from service.run.progress import Display, Phase, silence_libraries

GLANCE = 0.3
"""Seconds between two looks at what the workers have written."""


def sft(config: Config, resume: Path | None = None) -> Path:
    """Fine-tune an adapter, or go on with it; returns the folder, the last line of standard output.

    Raises `UsageError` before anything starts, `RunError` where it fails.
    """
    silence_libraries()
    display = Display(Console(stderr=True))
    with display.phase("checking model and data"):
        check_training(config, resume)
    path = resume or (Path(config.out) if config.out else new_folder())
    path.mkdir(parents=True, exist_ok=True)
    with take(path):
        display.folder = path
        if resume and is_complete(path):
            display.say(f"{path} is complete: nothing is left to do")
        else:
            _train(config, path, display)
            display.done()
    print(path)
    return path


def _train(config: Config, path: Path, display: Display) -> None:
    from cluster.sft import run_sft  # here, since Ray Train takes seconds to load

    write_config(path, config)
    began, done = time.perf_counter(), threading.Event()
    seen = len(read_log(path))
    if seen:
        display.say(f"going on with {path} from its newest checkpoint")
    with display.phase("fine-tuning") as phase:
        follower = threading.Thread(target=_follow, args=(path, seen, done, display, phase))
        follower.start()
        try:
            run_sft(config, path)
        except (RunError, KeyboardInterrupt):
            display.say(f"what was done is kept; go on by: {COMMAND} sft --resume {path}")
            raise
        finally:
            done.set()
            follower.join()
    result = json.loads((path / RESULT).read_bytes())
    figures = ", ".join(f"{name} {value:.2f}" for name, value in result["validation"].items())
    display.say(f"{result['steps']} steps in {time.perf_counter() - began:.0f} s; on the validation split: {figures}")
    display.say(f"train from it by: {COMMAND} --policy.adapter {path / 'adapter'}")


def _follow(path: Path, seen: int, done: threading.Event, display: Display, phase: Phase) -> None:
    """Show what the workers write, wherever they are."""
    while True:
        last = done.wait(GLANCE)
        lines = read_log(path)
        # After a worker was lost the file is shorter: it went back to a checkpoint.
        for line in lines[min(seen, len(lines)) :]:
            display.say(_shown(line))
            phase.reach(line["step"], line["of"])
        seen = len(lines)
        if last:
            return


def _shown(line: dict) -> str:
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
    """Whether a training came to its end here, and the adapter is the one it made."""
    try:
        made = json.loads((folder / RESULT).read_bytes())["adapter_sha256"]
        return made == tensors_sha256(load_file(folder / "adapter/adapter_model.safetensors"))
    except (OSError, ValueError, KeyError, SafetensorError):
        return False
