"""Seeds derived from coordinates, so that no result depends on which worker did the work, or when."""

import hashlib


def seed_from(*coordinates: int | str) -> int:
    """A 63-bit seed for a position in the run, such as (run seed, "rollout", step, index)."""
    text = "/".join(map(str, coordinates))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
