"""Pools of workers, in this process or on Ray."""
