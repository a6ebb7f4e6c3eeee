"""Orchestration: the plan of work units, pools of workers, Ray, and the driver."""
