"""The service over HTTP: FastAPI and the page on it."""
