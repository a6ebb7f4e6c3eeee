"""One file per command of `ray_job.py`."""
