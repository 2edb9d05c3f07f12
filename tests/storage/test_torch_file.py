import collections
import io
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from lore_jax.storage.torch_file import read_torch_file


class Storage:
    """A tensor's numbers, as `Writer` writes them."""

    def __init__(self, numbers, kind="FloatStorage"):
        self.numbers, self.kind = np.ascontiguousarray(numbers), kind


class Global:
    """A name of PyTorch that a pickle shall hold, without PyTorch."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


def tensor(array, **changed):
    array = np.ascontiguousarray(array, np.float32)
    steps = tuple(step // array.itemsize for step in array.strides)
    given = {"offset": 0, "size": array.shape, "stride": steps, **changed}
    return Call(
        Global("torch._utils", "_rebuild_tensor_v2"),
        Storage(array),
        *given.values(),
        False,
        Call(Global("collections", "OrderedDict")),
    )


def program(value, storages):
    """A pickle of protocol 2 that says what `value` is, as torch.save does."""

    def write(value):
        if isinstance(value, Global):
            return f"c{value.module}\n{value.name}\n".encode()
        if isinstance(value, Call):
            return write(value.function) + write(tuple(value.arguments)) + b"R"
        if isinstance(value, Storage):
            key = str(len(storages))
            storages[key] = value.numbers.tobytes()
            name = Global("torch", value.kind)
            return write(("storage", name, key, "cpu", value.numbers.size)) + b"Q"
        if isinstance(value, tuple):
            return b"(" + b"".join(map(write, value)) + b"t"
        if isinstance(value, list):
            return b"](" + b"".join(map(write, value)) + b"e"
        if isinstance(value, dict):
            items = b"".join(write(key) + write(inner) for key, inner in value.items())
            return b"}(" + items + b"u"
        return pickle.dumps(value, protocol=2)[2:-1]

    return b"\x80\x02" + write(value) + b"."


def write_file(path, value, code=None, drop=()):
    storages = {}
    text = program(value, storages) if code is None else code
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("lore/data.pkl", text)
        archive.writestr("lore/byteorder", "little")
        for key, content in storages.items():
            if key not in drop:
                archive.writestr(f"lore/data/{key}", content)
    return path


def test_tensors_are_found_by_their_place(tmp_path):
    one, two = np.arange(6.0).reshape(2, 3), np.arange(4.0)
    value = {"V": tensor(one), "more": [tensor(two), 7, "text"], "none": None}
    found = read_torch_file(write_file(tmp_path / "a.pt", value))
    assert list(found) == ["V", "more.0"]
    np.testing.assert_array_equal(found["V"], one)
    np.testing.assert_array_equal(found["more.0"], two)
    alone = read_torch_file(write_file(tmp_path / "b.pt", tensor(one)))
    np.testing.assert_array_equal(alone[""], one)


def test_strides_and_offsets_are_those_of_the_tensor(tmp_path):
    value = tensor(np.arange(6.0), offset=1, size=(2, 2), stride=(1, 2))
    found = read_torch_file(write_file(tmp_path / "a.pt", value))[""]
    np.testing.assert_array_equal(found, [[1.0, 3.0], [2.0, 4.0]])


class Evil:
    def __reduce__(self):
        return print, ("this must never be seen",)


def corrupt(folder):
    path = write_file(folder / "bad.pt", tensor(np.ones(3)))
    path.write_bytes(path.read_bytes()[:-30])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda f: write_file(f / "bad.pt", None, pickle.dumps(Evil(), protocol=2)),
            "data.pkl names __builtin__.print: it would run code",
        ),
        (
            lambda f: write_file(f / "bad.pt", None, pickle.dumps(Evil(), protocol=4)),
            "data.pkl names builtins.print: it would run code",
        ),
        (
            lambda f: write_file(f / "bad.pt", None, b"(S'echo'\nios\nsystem\n."),
            "has the instruction STRING",
        ),
        (
            lambda f: write_file(f / "bad.pt", Call(Global("torch", "FloatStorage"), 3)),
            "calls something",
        ),
        (
            lambda f: write_file(f / "bad.pt", Call(Global("collections", "OrderedDict"), 3)),
            "calls something",
        ),
        (lambda f: write_file(f / "bad.pt", tensor(np.ones(3), size=(4,))), "reads number 3 of"),
        (lambda f: write_file(f / "bad.pt", tensor(np.ones(3), offset=-1)), "makes a tensor"),
        (
            lambda f: write_file(f / "bad.pt", tensor(np.ones(3), size=(10**12,), stride=(0,))),
            "makes a tensor of size",
        ),
        (lambda f: write_file(f / "bad.pt", None, b"\x80\x02]q\x00h\x00a."), "not what torch.save"),
        (lambda f: write_file(f / "bad.pt", tensor(np.ones(3)), drop=("0",)), "data/0 is missing"),
        (lambda f: write_file(f / "bad.pt", None, b"\x80\x02}"), "is not|ends too soon|exhausted"),
        (lambda f: write_file(f / "bad.pt", None, b"\x80\x02e."), "is not|not what"),
        (corrupt, "no zip file, or a corrupt one"),
    ],
)
def test_what_is_not_just_tensors_is_refused(tmp_path, capsys, make, message):
    with pytest.raises(ValueError, match=message) as error:
        read_torch_file(make(tmp_path))
    assert "bad.pt" in str(error.value)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_torch_file(tmp_path / "nothing.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"V": 1}))
    with pytest.raises(ValueError, match=r"old\.pt is no zip file"):
        read_torch_file(tmp_path / "old.pt")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("something", "else")
    with pytest.raises(ValueError, match=r"0 entries named data\.pkl"):
        read_torch_file(tmp_path / "other.pt")
    with zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        storages = {}
        archive.writestr("lore/data.pkl", program(tensor(np.ones(3)), storages))
        archive.writestr("lore/data/0", storages["0"])
    with pytest.raises(ValueError, match="data/0 is corrupt"):
        read_torch_file(tmp_path / "packed.pt")


def test_files_of_pytorch_itself(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own import
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    module.W = torch.nn.Parameter(torch.randn(4, 2))
    matrix = torch.randn(5, 3)
    values = {
        "state.pt": module.state_dict(),
        "parameter.pt": {"V": torch.nn.Parameter(matrix)},
        "transposed.pt": matrix.T,
        "half.pt": [matrix.to(torch.bfloat16), matrix.to(torch.float16), torch.arange(3)],
        "ordered.pt": collections.OrderedDict(a=matrix[1:, ::2]),
    }
    for name, value in values.items():
        torch.save(value, tmp_path / name)
        loaded = torch.load(tmp_path / name, weights_only=True)
        found = read_torch_file(tmp_path / name)
        if isinstance(loaded, torch.Tensor):
            loaded = {"": loaded}
        elif isinstance(loaded, list):
            loaded = dict(enumerate(loaded))
        assert list(found) == [str(key) for key in loaded]
        for own, other in zip(found.values(), loaded.values(), strict=True):
            np.testing.assert_array_equal(
                own.astype(np.float64), other.detach().to(torch.float64).numpy()
            )
    whole = io.BytesIO()
    torch.save(module, whole)  # a module, not its arrays: its class would have to run
    (tmp_path / "module.pt").write_bytes(whole.getvalue())
    with pytest.raises(ValueError, match=r"data\.pkl names torch\.nn\.modules\.linear\.Linear"):
        read_torch_file(tmp_path / "module.pt")
