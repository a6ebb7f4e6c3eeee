"""How people reach a run: its folder, its progress and its report."""
