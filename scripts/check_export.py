#!/usr/bin/env python3
"""Takes networks of PyTorch through `convscope import`, `predict` and `export`, and holds what comes out against PyTorch and onnxruntime.

    python3 scripts/check_export.py target/release/convscope

Needs torch, torchvision, safetensors, pillow, onnx and onnxruntime from pip. Each network has random weights and random statistics.
Checked are: the probabilities that `predict` says of images against PyTorch's own network; the module that load_in_pytorch.py builds;
the ONNX file by onnx's checker, and its logits by onnxruntime against the program's. All within 1e-5 of the largest.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import onnxruntime
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers

TOLERANCE = 1e-5

# The networks below begin with random weights.
torch.manual_seed(0)


def strided(pooled, size, padding):
    blocks = [nn.Identity()]
    for inputs, outputs in zip([3, 16, 32, 64, 128], [16, 32, 64, 128, 256]):
        conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=padding, bias=False)
        blocks += [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.Dropout2d(0.1)]
    blocks += [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if pooled else [nn.Flatten()]
    with torch.no_grad():
        flat = nn.Sequential(*blocks).eval()(torch.zeros(1, 3, size, size)).shape[1]
    return nn.Sequential(*blocks, nn.Linear(flat, 64), nn.Linear(64, 2))


def lenet5():
    pool = nn.MaxPool2d(2)
    convs = [nn.Conv2d(3, 6, 5), nn.ReLU(), pool, nn.Conv2d(6, 16, 5), nn.ReLU(), pool, nn.Flatten()]
    return nn.Sequential(*convs, nn.Linear(16 * 16, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def vgg11_bn():
    network = VGG(make_layers([c if c == "M" else c // 8 for c in cfgs["A"]], batch_norm=True), num_classes=3)
    wide = [nn.Linear(64 * 49, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout()]
    network.classifier = nn.Sequential(*wide, nn.Linear(512, 3))
    return network


# A name, the network, the size of its images, options of `import`, and how its weights are saved.
NETWORKS = [
    ("default", strided(True, 128, 0), 128, ["--stride", "2", "--padding", "0"], "pth"),
    ("default, flattened", strided(False, 128, 1), 128, ["--stride", "2", "--padding", "1"], "nested"),
    ("lenet5", lenet5(), 28, [], "pth"),
    ("vgg11_bn, an eighth", vgg11_bn(), 64, [], "safetensors"),
    ("resnet18", torchvision.models.resnet18(num_classes=5), 64, [], "pth"),
    ("mobilenet_v2", torchvision.models.mobilenet_v2(num_classes=4), 64, [], "protocol 4"),
]


def randomise(network):
    """Statistics as of a trained network: without them batch norm would hide what the weights are."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)


def save(network, how, folder):
    state = network.state_dict()
    if how == "safetensors":
        save_file(state, folder / "weights.safetensors")
        return folder / "weights.safetensors"
    file = folder / "weights.pth"
    if how == "nested":
        state = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    torch.save(state, file, pickle_protocol=4 if how == "protocol 4" else 2)
    return file


def apart(one, other):
    return float((one - other).abs().max() / other.abs().max())


@torch.no_grad()
def check(program, name, network, size, options, how, folder):
    def convscope(*arguments):
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    randomise(network)
    network.eval()
    file = save(network, how, folder)
    classes = [f"class {number}" for number in range(network(torch.zeros(1, 3, size, size)).shape[1])]
    convscope("import", file, "--out", folder / "run", "--size", size, "--classes", ",".join(classes), *options)
    convscope("export", "--run", folder / "run", "--torch", folder / "torch", "--onnx", folder / "net.onnx",
              "--safetensors", folder / "own.safetensors")  # fmt: skip

    spec = importlib.util.spec_from_file_location("exported", folder / "torch/load_in_pytorch.py")
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    assert exported.CLASSES == classes
    expected = json.loads((folder / "torch/expected.json").read_text())
    files = [folder / "torch" / name for name in expected]
    images = torch.stack([exported.prepare(Image.open(file)) for file in files])
    program_says = torch.tensor(list(expected.values()))
    own = network(images)
    found = {"the network itself": apart(program_says, own)}
    found["load_in_pytorch.py"] = apart(program_says, exported.load()(images))
    subprocess.run([sys.executable, folder / "torch/load_in_pytorch.py"], check=True, capture_output=True)

    lines = convscope("predict", *files, "--run", folder / "run", "--json").splitlines()
    said = torch.tensor([list(json.loads(line)["probabilities"].values()) for line in lines])
    found["predict"] = apart(said, own.softmax(1))

    model = onnx.load(folder / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["classes"]) == classes and metadata["size"] == str(size), metadata
    session = onnxruntime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    by_onnx = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    found["onnxruntime"] = apart(program_says, by_onnx)

    # The weights come back as they were.
    convscope("import", folder / "own.safetensors", "--out", folder / "again")
    assert (folder / "again/config.json").exists()
    print(f"{name:22}" + "".join(f"{what} {distance:.1e}   " for what, distance in found.items()), flush=True)
    return max(found.values())


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = Path(sys.argv[1]).resolve()
    print(f"torch {torch.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    worst = 0
    for network in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            worst = max(worst, check(program, *network, Path(folder)))
    assert worst <= TOLERANCE, f"{worst:.1e} is more than {TOLERANCE}"


if __name__ == "__main__":
    main()
