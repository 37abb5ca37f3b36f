"""Makes a page of what run.sh left in a folder: how each part ended, and our times beside PyTorch's.

    python3 summary.py FOLDER
"""

import json
import pathlib
import sys

# Rows of ours and PyTorch's that are the same work.
CALLS = {"qkv": "linear qkv", "attn_out": "linear projection", "fc1": "mlp fc1", "fc2": "mlp fc2"}
PASSES = {"forward": "forward", "grad_input": "input gradient", "grad_weight": "weight gradient"}
SAME = {f"{ours} {PASSES[p]}": f"gemm {theirs} {p}" for theirs, ours in CALLS.items() for p in PASSES}
SAME |= {f"attention {p}": f"attention {p}" for p in ("forward", "backward")}
SAME |= {f"layer_norm {p}": f"layer_norm {p}" for p in ("forward", "backward")}
SAME |= {"adamw update": "adamw"}


def lines(path):
    """JSON objects of a file, a line each; what is no JSON (a run cut short) is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            print(f"{path.name}: no JSON: {line[:80]}", file=sys.stderr)
    return [row for row in found if isinstance(row, dict)]


def table(head, rows):
    if rows:
        print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
        for row in rows:
            print("| " + " | ".join(row) + " |")
        print()


def number(value, digits=4):
    return "" if value is None else f"{value:.{digits}f}"


def against(theirs, ours):
    """How many times as fast we are."""
    return f"{theirs / ours:.2f}" if theirs and ours else ""


def key(row):
    """Model and batch as both spell them; a folder has its own name."""
    return pathlib.PurePath(row["model"]).name.replace("_", "-"), row.get("batch_size", row.get("batch"))


def main():
    folder = pathlib.Path(sys.argv[1])
    log = folder / "log.txt"
    log = log.read_text(errors="replace").splitlines() if log.exists() else []
    print("# GPU check\n\n" + "\n".join(f"    {line}" for line in log[:3]) + "\n")
    parts = [line.split("\t")[1:] for line in log if line.startswith("PART\t")]
    ends = {"0": "well", "124": "out of time", "not run": "not run: no time was left"}
    table(["part", "ended", "took"], [[p, ends.get(code, f"with code {code}"), t] for p, code, t in parts])

    kernels, torch = lines(folder / "kernels.jsonl"), lines(folder / "torch.jsonl")
    if any(row.get("emulated") for row in kernels):
        print("**Emulated: no time below says anything about a GPU.**\n")
    for row in kernels:
        if row["what"] == "ceilings":
            tensor = row["tensor_tflops"]
            how = f"{tensor:.0f} TFLOP/s ({row['tensor_computed_as']})" if tensor else "not known"
            print(f"{row['device']}: copy {row['copy_gb_s']:.0f} GB/s, tensor cores {how}\n")
            break
    peer = {(key(row), row["op"]): row["ms"] for row in torch if row["what"] == "kernel"}
    timed = []
    for row in (row for row in kernels if row["what"] == "kernel"):
        name = f"{row['op']} {row['call']}"
        theirs = peer.get((key(row), SAME.get(name))) if row["precision"] == "f16" else None
        ceiling = f"{row['percent']:.0f} % of {row['ceiling']}" if row["ceiling"] else ""
        timed.append([
            f"{key(row)[0]} b{row['batch_size']} {row['precision']}", name, number(row["ms"]),
            number(row["ms_min"]), number(row["tflops"], 1), number(row["gb_s"], 0), ceiling,
            number(theirs), against(theirs, row["ms"]),
        ])
    # PyTorch's caches are warm, its epilogues other kernels: see benches/runs/QUEUE.md.
    table(["model", "kernel", "ms", "min", "TFLOP/s", "GB/s", "of the ceiling", "torch ms", "× torch"], timed)

    peer = {}
    for row in torch:
        if row["what"] == "step" and "images_per_s" in row:
            peer.setdefault(key(row), {})[row["mode"]] = row["images_per_s"]
    steps = []
    for row in lines(folder / "steps.jsonl"):
        rates = peer.get(key(row), {}) if row["pass"] == "train" else {}
        best = max(rates.values(), default=None)
        steps.append([
            f"{key(row)[0]} b{row['batch_size']} {row['precision']}", row["pass"], number(row["ms"], 2),
            number(row["images_per_s"], 1), number(rates.get("eager"), 1), number(rates.get("compile"), 1),
            against(row["images_per_s"], best),
        ])
    table(["model", "step", "ms", "images/s", "torch eager", "torch compile", "× best torch"], steps)
    for row in torch:
        if "error" in row:
            print(f"torch {row['mode']} {row['model']}: {row['error']}\n")
    # What training came to, and the two evaluations.
    for row in lines(folder / "train.jsonl"):
        if row.get("event", "evaluated") in ("evaluated", "finished"):
            print(f"    {json.dumps(row)[:300]}")


if __name__ == "__main__":
    main()
