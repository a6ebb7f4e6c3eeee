"""Prometheus metrics of requests."""

from prometheus_client import CollectorRegistry, Counter, Histogram

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the latency histogram, in seconds."""

registry = CollectorRegistry()
requests = Counter("seqrlhf_requests", "Answered requests", ["method", "route", "status"], registry=registry)
latency = Histogram("seqrlhf_request_seconds", "Latency", ["method", "route"], buckets=BUCKETS, registry=registry)
texts = Counter("seqrlhf_texts", "Texts answered by models", ["kind"], registry=registry)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request."""
    requests.labels(method, route, status).inc()
    latency.labels(method, route).observe(seconds)


def count_texts(kind: str, count: int) -> None:
    """Count answered texts, of kind `summary` or `score`."""
    texts.labels(kind).inc(count)
