"""How users reach the project: commands, reports, the HTTP service and its page."""
