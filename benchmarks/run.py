"""Compare speed with peers: `make bench`, or `python benchmarks/run.py [NAME …] [--authors DIR]`.

Peers are installed into an environment of their own.  Each measurement runs in a fresh process on one core, ours and the
peer's in turn, so that a ratio compares neighbours in time.  After measure.py come plaut2024.py and extraction.py, in the same
environment, and testbed.py, facts.py, training.py, pretraining.py, learned.py, report.py, streams.py and scheduler.py in the project's own, with the interpreter that runs this: training needs
the extra `lm`, which has its peer.  Extraction and training take about ten minutes each.  With a GPU, three of them are then
measured there.  Records go to `benchmarks/results/`.
One that fails does not keep the others from running; its name is the last line, and the exit status is 1."""
import argparse, ast, hashlib, json, os, platform, subprocess, sys
from datetime import UTC, datetime
from pathlib import Path

here = Path(__file__).resolve().parent
root, env, results = here.parent, here.parent / ".venv-bench", here / "results"
python = env / "bin" / "python"
OURS = ("testbed", "facts", "training", "pretraining", "learned", "report", "streams", "scheduler")  # run in the project's own environment


def install():
    "The environment of the peers, made anew when what it holds has changed."
    wanted = [here / "peers.txt", root / "constraints.txt", root / "settings.ini"]
    stamp, now = env / "ready", hashlib.sha256(b"".join(f.read_bytes() for f in wanted)).hexdigest()
    if stamp.exists() and stamp.read_text() == now: return
    print(f"installing the peers into {env.name}", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "-q", "-c", root / "constraints.txt"]
    if not python.exists(): subprocess.run([sys.executable, "-m", "venv", env], check=True)
    subprocess.run([*pip, "setuptools"], check=True)
    subprocess.run([*pip, "--no-build-isolation", "-r", here / "peers.txt", "-e", f"{root}[lm]"], check=True)
    stamp.write_text(now)

def machine():
    "What a number of seconds depends on."
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    script = ("import json, platform; from importlib.metadata import version; "
              "print(json.dumps({'python': platform.python_version()} | {p: version(p) for p in ('numpy', 'scipy', 'scikit-learn', 'torch', 'torchmetrics', 'adjustText')}))")
    versions = json.loads(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout)
    return dict(cpu=cpu, cores=os.cpu_count(), system=platform.system(), versions=versions, load_1min=round(os.getloadavg()[0], 2),
                date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

def names():
    "The measurements of measure.py, speed and memory, read without importing it."
    lists = {n.targets[0].id: [e.id for e in n.value.elts] for n in ast.parse((here / "measure.py").read_text()).body
             if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name) and n.targets[0].id in ("SPEED", "MEMORY")}
    return lists["SPEED"], lists["MEMORY"]

def measure(name):
    out = subprocess.run([python, here / "measure.py", name], stdout=subprocess.PIPE, text=True)
    if out.returncode: raise SystemExit(f"{name} failed")
    return json.loads(out.stdout)

def line(r):
    if "peak" in r: return f"{r['task']}, n = {r['n']:,}: peak {r['peak'] / 1e9:.2f} GB (target {r['target'] / 1e9:g}), {r['seconds']:.1f} s"
    ms = {k: f"{1e3 * r[k]['median']:.4g} ms [{1e3 * r[k]['min']:.4g}, {1e3 * r[k]['max']:.4g}]" for k in ("ours", "peer")}
    return (f"{r['task']}, n = {r['n']:,}: {ms['ours']}; {r['peer_name']}: {ms['peer']}; "
            f"ratio {r['ratio']['median']:.3g} [{r['ratio']['min']:.3g}, {r['ratio']['max']:.3g}] (target {r['target']:.2g})"
            + ("" if r["check"]["agree"] else f"; THE ANSWERS DIFFER by {r['check']['gap']:.2g}"))

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", help="some measurements only; then nothing is written")
    ap.add_argument("--authors", help="a checkout of the scripts of Plaut et al.: run them too (a quarter of an hour)")
    a = ap.parse_args()
    install()
    speed, memory = names()
    record = dict(machine=machine(), speed=[], memory=[])
    for kind, todo in (("speed", speed), ("memory", memory)):
        for name in todo:
            if a.names and name not in a.names: continue
            record[kind].append(measure(name)); print(line(record[kind][-1]), flush=True)
    if a.names: return
    results.mkdir(exist_ok=True)
    (results / "measure.json").write_text(json.dumps(record, indent=1) + "\n")
    failed = [] if all(r["check"]["agree"] for r in record["speed"]) else ["measure.py (some answers differ from the peer's)"]
    rest = [[python, here / "plaut2024.py", *(["--authors", a.authors] if a.authors else [])], [python, here / "extraction.py"], *([sys.executable, here / f"{name}.py"] for name in OURS)]
    rest += [[sys.executable, here / f"{name}.py", "--gpu"] for name in ("extraction", "training", "pretraining")] # without one they say so
    failed += [command[1].name for command in rest if subprocess.run(command).returncode]
    if failed: sys.exit(f"failed: {', '.join(failed)}")

if __name__ == "__main__": main()
