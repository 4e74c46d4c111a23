"""Makes the seeds of fuzz/seeds that are no copies: files of torch.save, archives, options, networks.

    python3 scripts/fuzz-seeds.py
"""

import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

SEEDS = Path("fuzz/seeds")
FIXTURES = Path("tests/fixtures")


def torch_modules():
    """What torch.save names in a pickle, without PyTorch."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    torch.LongStorage = type("LongStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2(*arguments):
        raise NotImplementedError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch, utils


class Tensor:
    """Numbers of a storage, which torch.save keeps in a file of its own."""

    def __init__(self, kind, key, shape):
        self.kind, self.key, self.shape = kind, key, shape


class Storage:
    def __init__(self, kind, key, count):
        self.id = ("storage", kind, key, "cpu", count)


class Pickler(pickle.Pickler):
    def __init__(self, file, utils):
        super().__init__(file, protocol=2)
        self.utils = utils

    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None

    def reducer_override(self, value):
        if not isinstance(value, Tensor):
            return NotImplemented
        strides, count = [], 1
        for size in reversed(value.shape):
            strides.insert(0, count)
            count *= size
        storage = Storage(value.kind, value.key, count)
        return self.utils._rebuild_tensor_v2, (storage, 0, value.shape, tuple(strides), False, OrderedDict())


def seed(folder, name, content):
    path = SEEDS / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def archive(files, compression=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as made:
        for name, data in files:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = compression
            made.writestr(entry, data)
    return content.getvalue()


def main():
    torch, utils = torch_modules()
    tensors = OrderedDict(weight=Tensor(torch.FloatStorage, "0", (2, 3)), num_batches_tracked=Tensor(torch.LongStorage, "0", ()))
    for name, value in [("plain", tensors), ("nested", {"epoch": 3, "state_dict": tensors})]:
        text = io.BytesIO()
        Pickler(text, utils).dump(value)
        seed("pickle", name, text.getvalue())
        numbers = struct.pack("<6f", *range(6))
        files = [("x/data.pkl", text.getvalue()), ("x/byteorder", b"little"), ("x/data/0", numbers), ("x/version", b"3\n")]
        seed("torch", f"{name}.pth", archive(files))
    weights = (FIXTURES / "run/best.safetensors").read_bytes()
    seed("weights", "run.safetensors", weights)
    # Without what convscope says of them they are as PyTorch saves them.
    length = struct.unpack("<Q", weights[:8])[0]
    header = json.loads(weights[8 : 8 + length])
    del header["__metadata__"]
    header = json.dumps(header, separators=(",", ":")).encode()
    plain = struct.pack("<Q", len(header)) + header + weights[8 + length :]
    for folder in ["weights", "torch"]:
        seed(folder, "pytorch.safetensors", plain)

    photos = [("Photos/cat/1.jpg", b"one"), ("Photos/dog/", b""), ("Photos/dog/2.jpg", bytes(200))]
    seed("archive", "photos.zip", archive(photos, zipfile.ZIP_DEFLATED))
    seed("archive", "stored.zip", archive(photos))
    seed("archive", "outside.zip", archive([*photos, ("../outside", b"x"), ("/outside", b"x"), ("Photos/../../outside", b"x")]))
    seed("archive", "bomb.zip", archive([("Photos/zeros", bytes(4 << 20))], zipfile.ZIP_DEFLATED))

    options = ["size = 64", "lr = 1e-3", "channels = [4, 6]", 'data = "photos"', "quiet = false", 'schedule = "one-cycle"']
    seed("options", "some.toml", "\n".join(options).encode())
    text = Path("docs/networks.md").read_text()
    seed("layers", "some.toml", text.split("```toml\n")[1].split("```")[0].encode())

    results = ["run/config.json", "run/environment.json", "run/layers/layers.json", "run/learned/learned.json"]
    results += ["run/explain/0/explained.json", "study/study.json", "study/depth.json", "study/units/d1-r1-f1.json"]
    tables = ["run/metrics.csv", "run/rejected.csv", "run/validation.csv", "run/learned/channels.csv", "run/learned/patches.csv"]
    tables += ["run/photos.csv"]
    for folder, files in [("results", results), ("tables", tables)]:
        for number, file in enumerate(files):
            seed(folder, Path(file).name, bytes([number]) + (FIXTURES / file).read_bytes())


main()
