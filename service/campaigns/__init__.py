"""Campaigns: what people compare, who has answered what, and what is asked next. Knows nothing of HTTP."""
