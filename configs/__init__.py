"""One config: the schema, the loader and the presets (YAML files beside this one)."""
