"""Files that exist complete or not at all, also with several writers."""

import json
import threading

import pytest

from learner import atomic_files
from learner.atomic_files import replace_file


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    """They shared a temporary file: one moved it away, or what it moved was half of the other's."""
    file, errors, done = tmp_path / "file.json", [], threading.Event()

    def write(letter):
        try:
            for size in range(1, 60):
                replace_file(file, json.dumps(letter * size * 500).encode())
        except OSError as error:
            errors.append(error)

    def read():
        while not done.is_set():
            if file.exists():
                assert len(set(json.loads(file.read_bytes()))) == 1

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert errors == [] and [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_what_could_not_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_files.os, "fsync", full)
    with pytest.raises(OSError):
        replace_file(tmp_path / "file", b"x")
    assert list(tmp_path.iterdir()) == []
