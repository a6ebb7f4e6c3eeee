"""The one entry point: `python ray_job.py [--config FILE] [--key value ...]`, also as a Ray job."""

import sys

from configs.errors import RunError, UsageError
from configs.load import load_config


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for. Exit code 0; 1: the run failed; 2: it cannot start."""
    try:
        config = load_config(arguments)
        # Loaded after the config is known to be right, so that a mistyped key and --help answer at once.
        from service.run import run

        run(config)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
