"""Labels of a classifier, separate from the model so that they can be checked without loading it."""

from configs.errors import UsageError


def label_index(field: str, id2label: dict[int, str], label: str | None) -> int:
    """Index of the label among the logits; None stands for the only one.

    Raises `UsageError` naming `field` if there is no such label.
    """
    if label is None:
        if len(id2label) > 1:
            raise UsageError(f"{field}.label: name one of the model's labels: {', '.join(map(str, id2label.values()))}")
        return next(iter(id2label))
    positions = [index for index, name in id2label.items() if name == label]
    if len(positions) != 1:
        raise UsageError(
            f"{field}.label: the model has no single label {label!r}; it has {', '.join(map(str, id2label.values()))}"
        )
    return positions[0]
