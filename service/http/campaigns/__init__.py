"""Campaigns over HTTP: creating and following them, and answering."""
