"""Tasks other than the quickstart's that run offline: data, a tiny policy each, and the code that builds them."""
