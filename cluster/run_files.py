"""Files that a run keeps in its folder while it runs. One that never started may have left them and nothing else."""

SIZES = "workers.json"
"""Workers by role: wanted, ready, loading their models, pending for want of resources."""
STATUS = "status.json"
"""What the run is doing."""
LOCK = "lock"
"""Locked by the process that writes to the folder."""
