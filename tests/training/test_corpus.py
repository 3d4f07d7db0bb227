"""Documents: where they come from, and how some are held out."""

import importlib

import pytest

from clearhead.training import corpus, split

MODULE = importlib.import_module("clearhead.training.corpus")  # the function has its name too


def test_the_help_texts_of_python_are_always_there():
    documents = corpus()
    assert documents == corpus("python-topics")
    assert len(documents) > 50
    assert sum(map(len, documents)) > 300_000
    assert any(document.startswith('The "assert" statement') for document in documents)


def test_a_folder_gives_its_texts_in_order_and_leaves_out_the_rest(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("second\r\nline\n", newline="")
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbffirst")  # with a byte-order mark
    (tmp_path / "deep" / "c.txt").write_text("诗", encoding="utf-8")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    (tmp_path / "folder.txt").mkdir()
    assert corpus(tmp_path) == corpus(str(tmp_path)) == ["first", "second\nline", "诗"]
    assert corpus(tmp_path / "b.txt") == ["second\nline"]


def test_poems_are_entries_without_colours(tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "FORTUNES", tmp_path)
    text = "\x1b[32m《春晓》\x1b[m\n春眠不觉晓\n%\n\x1b[\x1b[1;33m;m诗\x1b[m\n50% 处处\n%\n"
    (tmp_path / "tang300").write_text(text, encoding="utf-8")
    assert corpus("tang") == ["《春晓》\n春眠不觉晓", "诗\n50% 处处"]


def test_the_bible_is_a_chapter_a_document(tmp_path, monkeypatch):
    program = tmp_path / "bible"
    program.write_text(
        "#!/bin/sh\n[ \"$*\" = '-f gen1:1-rev22:21' ] || exit 1\n"
        "echo 'Ge1:1 In the beginning.'\necho 'Ge1:2 And the earth: was.'\n"
        "echo 'Ge2:1 Thus.'\necho 'SSol1:1 The song.'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert corpus("kjv") == ["In the beginning.\nAnd the earth: was.", "Thus.", "The song."]


def test_documents_are_held_out_whole_and_in_order():
    documents = [f"{i}" * (5 + i) for i in range(40)]
    train, test = split(documents, held_out=0.2, seed=3)
    assert sorted(train + test) == sorted(documents)
    assert train == [d for d in documents if d in train]
    assert test == [d for d in documents if d in test]
    total = sum(map(len, documents))
    assert 0.17 * total < sum(map(len, test)) <= 0.2 * total


def test_the_seed_decides_what_is_held_out():
    documents = [f"document {i}" for i in range(30)]
    assert split(documents, seed=1) == split(documents, seed=1)
    assert len({tuple(split(documents, seed=s)[1]) for s in range(5)}) > 1


@pytest.mark.parametrize("seed", range(8))
def test_copies_of_a_document_stay_together(seed):
    """Two make up a quarter each by their copies: more than the share, so they are not held out."""
    documents = [f"poem {i:02}" for i in range(40)] + ["poem xx", "poem yy"] * 20
    train, test = split(documents, held_out=0.2, seed=seed)
    assert not set(train) & set(test)
    assert len(train + test) == 80
    assert 0 < len(test) <= 0.2 * 80
    assert test.count("poem xx") == test.count("poem yy") == 0
