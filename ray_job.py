"""The one entry point: `python ray_job.py [COMMAND] [--config FILE] [--key value ...]`, also as a Ray job.

Commands: explore (the data), sft (supervised fine-tuning), train (reinforcement learning; the default), evaluate
(policies side by side), pipeline (all of these in turn), report (of runs, as a page), bench (how fast is it?), doctor
(will it run?), scale (more or fewer workers for a run that is at work), serve (over HTTP, with a page), key (for that).
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from configs.errors import RunError, UsageError

# What a command needs is loaded when it is known to be right, so that a mistyped key and --help answer at once.


def train(arguments: list[str]) -> None:
    """Run a config from start to report, or go on with a run."""
    from configs.load import load_request

    request = load_request(arguments)
    from service.commands.train import run

    run(request.config, request.resume)


def explore(arguments: list[str]) -> None:
    """Show the data set at a glance."""
    from configs.load import load_request

    request = load_request(arguments)
    from service.commands.explore import explore

    explore(request.config)


def sft(arguments: list[str]) -> None:
    """Fine-tune an adapter on dialogues and summaries."""
    from configs.load import load_request

    request = load_request(arguments)
    from service.commands.sft import sft

    sft(request.config, request.resume)


def evaluate(arguments: list[str]) -> None:
    """Judge policies on held-out dialogues: `evaluate base sft=DIR rlhf=RUN RUN@12 [--key value ...]`."""
    from configs.load import load_request

    count = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    request = load_request(arguments[count:])
    from service.commands.evaluate import evaluate

    evaluate(arguments[:count], request.config, request.resume)


def pipeline(arguments: list[str]) -> None:
    """Explore, judge the bare model, fine-tune, reinforce and judge them all; what is done already is left out."""
    from configs.load import load_request

    request = load_request(arguments)
    from service.commands.pipeline import Pipeline

    Pipeline(request.config).run()


def bench(arguments: list[str]) -> None:
    """Time steps, also in turn with another command's."""
    from configs.load import load_request

    request = load_request(arguments)
    from service.commands.bench import bench

    bench(request.config)


def report(arguments: list[str]) -> None:
    """Write the page of runs."""
    from service.report.page import report

    report(arguments)


def doctor(arguments: list[str]) -> None:
    """Say whether a run will work, before it costs anything."""
    from configs.load import load_request

    request = load_request(arguments)
    from service.commands.doctor import examine

    examine(request.config, request.resume)


def scale(arguments: list[str]) -> None:
    """Give a run that is at work more or fewer workers."""
    from service.commands.scale import scale

    scale(arguments)


def serve(arguments: list[str]) -> None:
    """Offer runs and models over HTTP, with a page."""
    from configs.load import load_request

    request = load_request(arguments)
    from service.commands.serve import serve

    serve(request.config)


def key(arguments: list[str]) -> None:
    """Make a key for the service, or take one back."""
    from service.commands.key import key

    key(arguments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "explore": explore,
    "sft": sft,
    "train": train,
    "evaluate": evaluate,
    "pipeline": pipeline,
    "bench": bench,
    "report": report,
    "doctor": doctor,
    "scale": scale,
    "serve": serve,
    "key": key,
}


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for. Exit code 0; 1: it failed or was interrupted; 2: it cannot start as asked."""
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
    else:
        name = "train"
    try:
        if name not in COMMANDS:
            raise UsageError(f"{name}: no such command; commands are: {', '.join(COMMANDS)}")
        COMMANDS[name](arguments)
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


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # as Ray's workers have it: rewards of the user's lie there (reward.extra)
    signal.signal(signal.SIGTERM, _stop)  # as `ray job stop` and batch systems send it: end as by Ctrl-C
    sys.exit(main(sys.argv[1:]))
