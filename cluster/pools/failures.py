"""Interprets Ray's errors."""

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayError


def is_lost_object(error: Exception) -> bool:
    """True if the value of a result was lost with its node."""
    return isinstance(error, ObjectLostError) or isinstance(getattr(error, "cause", None), ObjectLostError)


def lost_because(error: RayError) -> str:
    """Reason for the loss of a worker, as a clause for messages."""
    if isinstance(error, OutOfMemoryError):
        return "the machine ran out of memory; lower workers.*, rollout.unit_size or algorithm.microbatch_size"
    text = " ".join(str(error).split())
    if "node" in text and "died" in text:
        return "its node died"
    return "its process died" if "process" in text or "actor" in text else text


def free_resources() -> str:
    """Free CPUs and GPUs of the cluster, for messages."""
    free = ray.available_resources()
    return f"{free.get('CPU', 0):g} CPU, {free.get('GPU', 0):g} GPU"
