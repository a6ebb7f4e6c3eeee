"""The entry point: `python ray_job.py [COMMAND] [--config FILE] [--key value ...]`, also as a Ray job.

`python ray_job.py --help` lists the commands; without a command, `train` runs.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from types import FrameType
from typing import Any

from configs.errors import RunError, UsageError
from configs.installation import COMMAND


def _config(arguments: list[str]) -> tuple[Any, ...]:
    return _request(arguments)[:1]


def _request(arguments: list[str]) -> tuple[Any, ...]:
    from configs.load import load_request

    request = load_request(arguments)
    return request.config, request.resume


def _pairs_of(section: str) -> Callable[[list[str]], tuple[Any, ...]]:
    """As `_request`; --pairs and --ratings stand for settings of the section."""
    short = re.compile("^--(pairs|ratings)(?==|$)")
    return lambda arguments: _request([short.sub(rf"--{section}.\1", argument) for argument in arguments])


def _words_and_request(arguments: list[str]) -> tuple[Any, ...]:
    """The words before the first option, then as `_request`."""
    count = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return arguments[:count], *_request(arguments[count:])


def _arguments(arguments: list[str]) -> tuple[Any, ...]:
    return (arguments,)


@dataclass(frozen=True)
class Verb:
    """A command. Its module is imported after its arguments are found valid: --help and typos are answered at once."""

    name: str
    help: str
    function: str  # module:function
    read: Callable[[list[str]], tuple[Any, ...]] = _request
    """Turns the command line into the function's arguments. Raises `UsageError`."""


VERBS = (
    Verb("explore", "show an overview of the data set", "service.commands.explore:explore", _config),
    Verb("sft", "fine-tune an adapter on reference summaries", "service.commands.sft:sft"),
    Verb("train-reward", "learn a reward model from preferences: train-reward --pairs FILE",
         "service.commands.train_reward:train_reward", _pairs_of("reward_training")),
    Verb("train", "train by reinforcement learning, from config to report (default)", "service.commands.train:run"),
    Verb("dpo", "train on pairs of completions without a reward model: dpo --pairs FILE",
         "service.commands.dpo:dpo", _pairs_of("dpo")),
    Verb("evaluate", "compare policies on held-out dialogues: evaluate base sft=DIR rlhf=RUN RUN@12",
         "service.commands.evaluate:evaluate", _words_and_request),
    Verb("pipeline", "explore, evaluate the base model, sft, train, and evaluate all; skips finished stages",
         "service.commands.pipeline:run_pipeline", _config),
    Verb("bench", "time training steps, optionally against another command's", "service.commands.bench:bench", _config),
    Verb("report", "write the page of a run, or of several side by side: report RUN [RUN ...]",
         "service.commands.report:report", _arguments),
    Verb("pairs", "preferences: pairs import|export SOURCE --out FILE, judge SOURCE, delete-annotator SOURCE NAME",
         "service.commands.pairs:pairs", _arguments),
    Verb("doctor", "check whether a run would work", "service.commands.doctor:examine"),
    Verb("scale", "change the number of workers of a running run: scale RUN --reward 4",
         "service.commands.scale:scale", _arguments),
    Verb("reward", "change the reward of a running run: reward RUN --model DIR --weight 0.5",
         "service.commands.reward:reward", _arguments),
    Verb("serve", "serve runs and models over HTTP, with a page", "service.commands.serve:serve", _config),
    Verb("key", "create, list or revoke keys of the service: key create FILE NAME",
         "service.commands.key:key", _arguments),
)  # fmt: skip
COMMANDS = {verb.name: verb for verb in VERBS}


def main(arguments: list[str]) -> int:
    """Run a command line. Exit code 0; 1: the command failed or was interrupted; 2: it cannot start as given."""
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
    else:
        name = "train"
        if {"-h", "--help"} & set(arguments):
            print(_overview())  # the settings follow
    try:
        if name not in COMMANDS:
            raise UsageError(f"{name}: no such command; commands are: {', '.join(COMMANDS)}")
        values = COMMANDS[name].read(arguments)
        resolve_name(COMMANDS[name].function)(*values)
    except UsageError as error:
        print("\n".join(f"error: {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    except (RunError, OSError) as error:
        if error.__cause__:
            print(error.__cause__, file=sys.stderr)  # the worker's own traceback
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1
    return 0


def _overview() -> str:
    lines = [f"  {verb.name:<14}{verb.help}" for verb in VERBS]
    return "\n".join([f"usage: {COMMAND} [COMMAND] [--config FILE] [--key value ...]", "", "commands:", *lines, ""])


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # as for Ray's workers: user-defined reward functions live there (reward.extra)
    signal.signal(signal.SIGTERM, _stop)  # sent by `ray job stop` and batch systems: end as after Ctrl-C
    sys.exit(main(sys.argv[1:]))
