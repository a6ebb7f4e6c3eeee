"""Labels of a classifier, apart from the model so that they can be checked without loading it."""


def label_index(id2label: dict[int, str], label: str) -> int:
    """Position of the label of that name among the logits. Raises `ValueError` where there is none."""
    positions = [index for index, name in id2label.items() if name == label]
    if len(positions) != 1:
        raise ValueError(
            f"reward.label: the model has no single label {label!r}; it has {', '.join(id2label.values())}"
        )
    return positions[0]
