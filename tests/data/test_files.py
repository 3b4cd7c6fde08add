"""Finding files in a fixed order; writing them whole or not at all."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from learnkit.core.errors import DataError
from learnkit.data.files import as_path, atomic_path, find_files, subfolders


def touch(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return paths


def test_files_are_found_at_any_depth_whatever_the_case_of_their_ending(tmp_path: Path) -> None:
    wanted = touch(tmp_path, "a.png", "b/c.PNG", "b/d/e.Jpg")
    touch(tmp_path, "a.txt", "png", ".hidden.png", ".cache/f.png", "b/.g/h.png")
    assert find_files(tmp_path, {".png", ".jpg"}) == wanted
    assert find_files(str(tmp_path), {".gif"}) == []


def test_files_come_sorted_by_path(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/2.png", "a/10.png", "c/1.png", "a.png")
    found = find_files(tmp_path, {".png"})
    assert found == sorted(found)


def test_a_linked_class_folder_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
    assert subfolders(tmp_path / "data") == ["cat"]
    assert len(find_files(tmp_path / "data" / "cat", {".png"})) == 1


def test_subfolders_are_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "b/x", "a/x", ".git/x", "file")
    assert subfolders(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("look", [subfolders, lambda folder: find_files(folder, {".png"})])
def test_a_wrong_folder_is_answered_with_what_is_there(tmp_path: Path, look: object) -> None:
    assert callable(look)
    touch(tmp_path, "training/x", "valid/x", "file")
    with pytest.raises(DataError, match=r"expected a folder at .*train; it does not exist.*folders: training, valid"):
        look(tmp_path / "train")
    with pytest.raises(DataError, match="that is a file"):
        look(tmp_path / "file")
    with pytest.raises(DataError, match=r"neither it nor .*nowhere exists"):
        look(tmp_path / "nowhere" / "train")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_written_file_replaces_the_old_one_and_is_as_readable_as_any_other(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    for text in ("old", "new"):
        with atomic_path(target) as temporary:
            assert temporary.parent == target.parent  # a rename across file systems would not be one step
            temporary.write_text(text)
            assert contents(target.parent).get("file") == (None if text == "old" else "old")
    assert contents(target.parent) == {"file": "new"}
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("x")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "file").write_text("old")
    with suppress(error), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("half of the ne")
        raise error
    assert contents(tmp_path) == {"file": "old"}


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, where, full)
    with pytest.raises(OSError, match="No space left"), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("new")
    monkeypatch.undo()
    assert contents(tmp_path) == {"file": "old"}


@pytest.mark.parametrize("name", [None, 3, b"x"])
def test_what_is_no_path_is_refused(name):
    with pytest.raises(TypeError, match=r"`file` must be a name or path, as text or a `pathlib.Path`; got"):
        as_path("file", name)


def test_an_empty_name_is_no_path():
    with pytest.raises(ValueError, match="got the empty text"):
        as_path("file", " ")
