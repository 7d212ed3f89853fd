"""What the page says beside its figures."""

from __future__ import annotations

__all__ = ["ELSEWHERE", "METHOD", "REPEAT"]

METHOD = """\
<!-- made by `python -m experiments.page`; change that, or the figures, and make it again -->
# Benchmarks

What a frame costs in torch, in our exports and in other runtimes, all with the same weights.

* **One boundary.** Every backend takes (N, H, W, 3) uint8 BGR from host memory and gives the same
  back there. Normalising, transposing, rounding and copying are inside the time, wherever a
  backend does them.
* **One process a backend**, and every other one is stopped by a signal meanwhile: idle threads
  that spin in one library cannot slow the next one down, and each runs with the settings that
  users get.
* **Turns.** {rounds} rounds; in each, every backend translates its share of the frames after
  {warm_up} untimed ones, and another backend goes first. Ratios are medians over pairs: the same
  frame, in the same round, in torch eager and in this backend; *rounds* is the least and the
  greatest ratio of a round's medians.
* **Nothing is trimmed.** p90 and p99 are of all timed frames.
* **Until loaded** is from the start of a Python process until the model can run, imports
  included, the files in the page cache; the **first frame** holds what a compiler still does
  then. torch.compile starts without its cache.
* **Memory is handed out by glibc**, as users get it. Whether torch eager keeps its activations or
  fetches them from the system anew for every frame, up to a third of its time, hangs on what its
  process freed before; with MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ set to gigabytes it
  keeps them. Whole processes, the other clock below, can differ by that.
* **Agreement** is PSNR to torch eager over the first {compared} frames. **Work** counts a
  transposed convolution once per input pixel; the ceiling is the best matrix product of any
  library here.
* **No fall-backs.** What is not there says so in a table; what turns out to be something else is
  an error. A backend whose second frame takes longer than {slow:.0f} s is not timed further."""

REPEAT = """\
## Repeat it

```console
$ pip install "pix2pix-edge[cpu,export,peers]"
$ p2p-bench --model runs/photos-1/export --threads 2 --inputs seg.mp4 --judge judge.pt
```

Without `--judge` nobody reads the labels again; without `--inputs` the checkpoint's own
validation inputs are taken; `--backends eager,fp32,int8` measures only those. On a device without
torch, its rows say what they need. This page: `p2p-bench --json docs/benchmarks/street.json`, the
modules above with `--json`, then `python -m experiments.page docs/benchmarks`."""

ELSEWHERE = """\
## A GPU workstation, a Jetson

Not tested on hardware: the rows are there, nobody has run them.

```console
$ pip install "pix2pix-edge[gpu,export,tensorrt]"    # torch, ONNX Runtime, TensorRT
$ p2p-export --fp16 --tensorrt                       # the engine is built for this very GPU
$ p2p-bench --inputs seg.mp4 --frames 200
```

On a Jetson, export on the workstation, copy the folder over, and install `pix2pix-edge` with
NVIDIA's onnxruntime-gpu and TensorRT of its JetPack; torch is not needed, and its rows say so.
Fix the clocks first (`nvpmodel`, `jetson_clocks`):

```console
$ p2p-bench --model export --inputs seg.mp4 --frames 200
```"""
