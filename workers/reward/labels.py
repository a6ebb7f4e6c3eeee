"""Labels of a classifier, apart from the model so that they can be checked without loading it."""

from configs.errors import UsageError


def label_index(field: str, id2label: dict[int, str], label: str) -> int:
    """Position of the label of that name among the logits. Raises `UsageError` naming `field` where there is none."""
    positions = [index for index, name in id2label.items() if name == label]
    if len(positions) != 1:
        raise UsageError(
            f"{field}.label: the model has no single label {label!r}; it has {', '.join(map(str, id2label.values()))}"
        )
    return positions[0]
