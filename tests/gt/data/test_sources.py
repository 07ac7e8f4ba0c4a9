import gzip
import json
import lzma
import sys
import types

import pytest

from gt.data.config import DataSource
from gt.data.hugging_face import dataset_name
from gt.data.shards import build_store
from gt.data.sources import PIECE, pieces, source_files, texts
from gt.tokenizers import Tokenizer, train_bpe, train_char


def documents(path, **options):
    """Whole documents of a source."""
    found, text = [], ""
    for piece in pieces(DataSource(path=str(path), **options)):
        text += piece.text
        assert len(piece.text) <= PIECE
        if piece.ends:
            found.append(text)
            text = ""
    assert not text
    return found


def zstd_open(path, mode):
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.open(path, mode)


PACKERS = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".zst": zstd_open}


class TestTextFiles:
    @pytest.mark.parametrize("suffix", PACKERS)
    def test_separated_documents(self, tmp_path, suffix):
        path = tmp_path / f"a.txt{suffix}"
        with PACKERS[suffix](path, "wb") as file:
            file.write(b"\n one\n\nstill one \n<|endoftext|>\r\ntwo\r\n \t<|endoftext|> \n\n<|endoftext|>\nthree")
        assert documents(path) == ["one\n\nstill one", "two", "three"]

    def test_without_separators_a_file_is_one_document(self, tmp_path):
        path = tmp_path / "book.txt"
        path.write_text("Chapter\n\n\nOne\n\nTwo\n")
        assert documents(path) == ["Chapter\n\n\nOne\n\nTwo"]

    def test_a_separator_within_a_line_is_text(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("see <|endoftext|> here\n" + "x" * PIECE + "<|endoftext|>\nend")
        assert documents(path) == [path.read_text()]

    @pytest.mark.parametrize("text", ["word and " * 40_000, "a line\n" * 40_000, "x" * 300_000, " \n" * 99_000 + "end"])
    def test_long_documents_come_in_pieces(self, tmp_path, text):
        path = tmp_path / "a.txt"
        path.write_text(f"{text}\n<|endoftext|>\nnext")
        assert documents(path) == [text.strip(), "next"]

    def test_cutting_changes_no_token(self, tmp_path):
        line = "The  quick\tbrown fox, 'tis said, \n\n  jumped 12 times... \n"
        path = tmp_path / "a.txt"
        path.write_text(line * 4000)
        train_bpe([line], 300, tmp_path / "tokenizer.json")
        tokenizer = Tokenizer(tmp_path / "tokenizer.json")
        found = [piece.text for piece in pieces(DataSource(path=str(path)))]
        assert len(found) > 3
        whole = tokenizer.encode("".join(found))
        assert [id_ for text in found for id_ in tokenizer.encode(text)] == whole

    def test_positions_rise_to_the_files_sizes(self, tmp_path):
        for name in ("a.txt", "b.txt"):
            (tmp_path / name).write_text("word " * 50_000)
        positions = [piece.position for piece in pieces(DataSource(path=str(tmp_path)))]
        assert positions == sorted(positions)
        assert positions[-1] == 500_000
        assert positions[0] < 100_000

    @pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
    def test_a_truncated_package_is_noticed(self, tmp_path, suffix):
        path = tmp_path / f"a.txt{suffix}"
        with PACKERS[suffix](path, "wb") as file:
            file.write("\n".join(str(i * 7919) for i in range(90_000)).encode())
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(ValueError, match=f"a.txt{suffix}: cannot be read"):
            documents(path)

    def test_a_damaged_package_is_noticed(self, tmp_path):
        path = tmp_path / "a.txt.gz"
        content = bytearray(gzip.compress("\n".join(str(i * 7919) for i in range(90_000)).encode()))
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a.txt.gz: cannot be read"):
            documents(path)

    def test_zst_without_its_package_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", None)
        (tmp_path / "a.txt.zst").write_bytes(b"")
        with pytest.raises(ValueError, match=r"pip install 'pytest-groundthink\[zstd\]'"):
            documents(tmp_path / "a.txt.zst")

    def test_not_utf8(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"caf\xe9")
        with pytest.raises(ValueError, match="not UTF-8"):
            documents(tmp_path / "a.txt")

    def test_count(self, tmp_path):
        (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join("abc"))
        assert documents(tmp_path / "a.txt", count=2) == ["a", "b"]


class TestJsonLines:
    def test_fields(self, tmp_path):
        path = tmp_path / "a.jsonl"
        rows = [{"text": "one", "body": "eins"}, {"text": " ", "body": "zwei"}, {"text": "t\u00e9n", "body": "zehn"}]
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
        assert documents(path) == ["one", "t\u00e9n"]
        assert documents(path, field="body") == documents(f"{path}:body") == ["eins", "zwei", "zehn"]

    def test_a_long_document_comes_in_pieces(self, tmp_path):
        path = tmp_path / "a.ndjson.gz"
        text = "word " * 60_000
        with gzip.open(path, "wt") as file:
            file.write(json.dumps({"text": text}))
        assert documents(path) == [text.strip()]

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('{"text": "cut off', "line 2: not JSON"),
            ('["text"]', "line 2: got list, expected an object with the field 'text'"),
            ('{"body": "x", "id": 1}', "line 2: no field 'text', there are 'body', 'id'"),
            ('{"text": 3}', "line 2: field 'text' is int, expected a string"),
            (r'{"text": "\ud800"}', "line 2: field 'text' is no Unicode text"),
        ],
    )
    def test_bad_lines(self, tmp_path, line, problem):
        (tmp_path / "a.jsonl").write_text(f'{{"text": "good"}}\n{line}\n')
        with pytest.raises(ValueError, match=problem) as caught:
            documents(tmp_path / "a.jsonl")
        assert "a.jsonl" in str(caught.value)
        assert "\n" not in str(caught.value)


class TestFolders:
    def test_texts_of_a_folder_in_order(self, tmp_path):
        (tmp_path / "sub" / ".hidden").mkdir(parents=True)
        for name in ("b.txt", "a.md", "sub/c.txt.gz", "sub/d.jsonl", "sub/.hidden/e.txt", "code.py", "page.html"):
            (tmp_path / name).write_text("")
        found = source_files(DataSource(path=str(tmp_path)))
        assert [path.relative_to(tmp_path).as_posix() for path in found] == [
            "a.md",
            "b.txt",
            "sub/c.txt.gz",
            "sub/d.jsonl",
        ]

    def test_globs_are_sorted_and_name_a_file_once(self, tmp_path, monkeypatch):
        for name in ("b.txt", "a.txt", "c.log"):
            (tmp_path / name).write_text(name)
        (tmp_path / "z.txt").symlink_to(tmp_path / "a.txt")
        assert documents(tmp_path / "*.*") == ["a.txt", "b.txt", "c.log"]
        monkeypatch.chdir(tmp_path)
        assert documents("**/[ab].txt") == ["a.txt", "b.txt"]

    @pytest.mark.parametrize("path", ["none.txt", "none.jsonl:body", "*.nothing", "."])
    def test_nothing_there(self, tmp_path, monkeypatch, path):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"no such file or folder|got no file, expected"):
            documents(path)


class TestHuggingFace:
    @pytest.fixture
    def asked(self, monkeypatch):
        """Stands in for the package: rows that are made as they are asked for."""
        asked = []

        def broken():
            yield {"text": "row 0"}
            yield {"text": "row 1"}
            raise ConnectionError("the hub is gone\nfor good")

        def load_dataset(name, config=None, *, split, streaming):
            asked.append((name, config, split, streaming))
            if name == "missing":
                raise FileNotFoundError("no dataset 'missing'\non the hub")
            if name == "broken":
                return broken()
            return ({"text": f"row {i}", "label": i} for i in range(10**9))

        module = types.ModuleType("datasets")
        module.load_dataset = load_dataset
        monkeypatch.setitem(sys.modules, "datasets", module)
        return asked

    def test_rows_are_streamed(self, asked):
        assert documents("hf:owner/name/config:validation", count=3) == ["row 0", "row 1", "row 2"]
        assert asked == [("owner/name", "config", "validation", True)]

    @pytest.mark.parametrize(
        ("path", "parts"),
        [
            ("hf:name", ("name", None, "train")),
            ("hf:owner/name:test", ("owner/name", None, "test")),
            ("hf:owner/name/config", ("owner/name", "config", "train")),
            ("hf:./a/b/c/d:test", ("./a/b/c/d", None, "test")),
        ],
    )
    def test_names(self, path, parts):
        assert dataset_name(path) == parts

    @pytest.mark.parametrize(
        ("path", "field", "problem"),
        [
            ("hf:missing", "text", "hf:missing: cannot be loaded: no dataset 'missing'$"),
            ("hf:broken", "text", "hf:broken: cannot be read after row 2: the hub is gone$"),
            ("hf:name", "body", "hf:name, row 1: no field 'body', there are 'text', 'label'"),
            ("hf:a/b/c/d", "text", "expected hf:NAME"),
            ("hf:", "text", "expected hf:NAME"),
        ],
    )
    def test_what_cannot_be_read(self, asked, path, field, problem):
        with pytest.raises(ValueError, match=problem):
            documents(path, field=field)

    def test_rows_that_changed_are_read_again(self, asked, tmp_path, monkeypatch):
        state = types.SimpleNamespace(sha="0123")

        class HfApi:
            def dataset_info(self, name, *, timeout):
                if state.sha is None:
                    raise ConnectionError
                return types.SimpleNamespace(sha=state.sha if name == "name" else "other")

        monkeypatch.setattr("huggingface_hub.HfApi", HfApi)
        train_char(["row 0123456789"], path := tmp_path / "tokenizer.json")
        source = DataSource(path="hf:name", count=3)
        built = [build_store(source, path, tmp_path / "s").manifest.plan.source["revision"]]
        for state.sha in ("0123", None, "4567", None, "4567"):  # None: the hub cannot be asked
            built.append(build_store(source, path, tmp_path / "s").manifest.plan.source["revision"])
        assert built == ["0123", "0123", "0123", "4567", "4567", "4567"]
        assert len(asked) == 2  # as often as it was built

    def test_files_of_a_local_dataset_that_changed_are_read_again(self, asked, tmp_path):
        (tmp_path / "d" / ".cache").mkdir(parents=True)
        (tmp_path / "d" / "rows.csv").write_text("text\nrow 0\n")
        train_char(["row 0123456789"], path := tmp_path / "tokenizer.json")
        source = DataSource(path=f"hf:{tmp_path / 'd'}", count=3)
        for content, loaded in (("text\nrow 0\n", 1), ("text\nrow 0\n", 1), ("text\nrow 1\n", 2)):
            (tmp_path / "d" / "rows.csv").write_text(content)
            (tmp_path / "d" / ".cache" / "x").write_text(str(loaded))
            store = build_store(source, path, tmp_path / "s")
            assert [file.path for file in store.manifest.plan.files] == [str(tmp_path / "d" / "rows.csv")]
            assert store.manifest.plan.source["revision"] is None
            assert len(asked) == loaded

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ValueError, match=r"pip install 'pytest-groundthink\[hf\]'"):
            documents("hf:name")


def test_texts_take_turns(tmp_path):
    for name, text in (("a", "1\n<|endoftext|>\n2\n<|endoftext|>\n3"), ("b", "x")):
        (tmp_path / f"{name}.txt").write_text(text)
    sources = [DataSource(path=str(tmp_path / "a.txt")), DataSource(path=str(tmp_path / "b.txt"))]
    assert list(texts(sources)) == ["1", "x", "2", "3"]
    assert list(texts(sources, characters=2)) == ["1", "x"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"path": "a", "weight": 0}, "weight of a is 0: expected a number above 0"),
        ({"path": "a", "weight": float("nan")}, "weight of a is nan: expected a number above 0"),
        ({"path": "a", "start": "end"}, "start of a is 'end': expected one of anywhere, document"),
        ({"path": "a", "count": 0}, "count of a is 0: expected at least 1"),
        ({"path": "a", "skills": {}}, "skills was given for a: expected it for conversations: alone"),
        ({"path": "conversations:", "user_weight": 256}, "user_weight of conversations: is 256: expected 0 to 255"),
        ({"path": ""}, "path is empty"),
    ],
)
def test_descriptions_that_make_no_sense(options, problem):
    with pytest.raises(ValueError, match=problem):
        DataSource(**options)
