"""One module per command of `ray_job.py`."""
