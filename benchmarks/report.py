"""A report on a million questions: `python benchmarks/report.py` runs the whole command as a process of its own, on one core, and writes its seconds and the size of the page."""
import json, os, resource, subprocess, sys, tempfile, time
from pathlib import Path

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"): os.environ[f"{name}_NUM_THREADS"] = "1"  # also of the process that is measured
if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core

import numpy as np
import pandas as pd
from plcal_study.measure.predictions import from_logits, save
from testbed import machine, spread

OUT, TARGET, PAGE, TURNS = Path(__file__).parent / "results" / "report.json", 20, 500_000, 3


def logs(n, folder):
    "The same answers as a table of confidences and grades, and as scores of four options."
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(n, 4)) * 1.5).astype(np.float32)
    p = from_logits(1.6 * z, (z + rng.gumbel(size=z.shape)).argmax(1), meta=dict(model="a"))
    save(p, folder / "scores.parquet")
    pd.DataFrame(dict(id=p.uid, conf=p.conf, correct=p.correct.astype(int))).to_csv(folder / "grades.csv", index=False)
    return {"Parquet of this package, four options": ["scores.parquet"], "CSV of confidence and grade": ["grades.csv"]}

def once(args, folder):
    "Seconds by the clock and of the processor, and the page's bytes, of one process."
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", "import sys; from plcal_study.study.cli import main; sys.exit(main())", "report", *args, "-o", "report.html", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, (folder / "report.html").stat().st_size

def row(name, args, folder, n):
    wall, cpu, size = zip(*[once(args, folder) for _ in range(TURNS)], strict=True)
    return dict(task=name, n=n, seconds=spread(wall), processor_seconds=spread(cpu), target=TARGET, page_bytes=max(size), page_target=PAGE, peak_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
                check=dict(agree=max(size) < PAGE))

if __name__ == "__main__":
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as d: record = dict(machine=machine(), turns=TURNS, rows=[row(name, args, Path(d), n) for name, args in logs(n, Path(d)).items()])
    for r in record["rows"]: print(f"{r['task']}, {r['n']:,} questions: {r['seconds']['median']:.1f} s [{r['seconds']['min']:.1f}, {r['seconds']['max']:.1f}], of the processor {r['processor_seconds']['median']:.1f} s (target {TARGET}); page {r['page_bytes'] / 1e3:.0f} kB; at most {r['peak_bytes'] / 1e9:.2f} GB")
    if len(sys.argv) == 1: OUT.write_text(json.dumps(record, indent=1) + "\n")
