"""Files that a run keeps in its folder while it runs. A run that failed to start leaves these at most."""

SIZES = "workers.json"
"""Numbers of workers by role: wanted, ready, loading their models, and pending for lack of resources."""
STATUS = "status.json"
"""The run's current activity."""
LOCK = "lock"
"""Locked by the process that writes to the folder."""
