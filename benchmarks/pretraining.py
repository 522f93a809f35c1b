"""Compare pre-training with a plain PyTorch loop: `python benchmarks/pretraining.py [NAME …]`.

GPT-NeoX of 1 M and of 5 M parameters, float32, rows of 64 tokens, 64 rows a step, AdamW (fused), vocabulary of 2,048, tied
embeddings; the same weights, rows and batches, in turns in one process on one core.  The plain loop is what one writes in
twenty lines: a tensor of all rows, an index, the model's own loss, backward, step.  It looks at no loss, keeps no checkpoint
and seeds nothing; ours does all that, and may not be slower for it (target: 1).  The losses of the last step are compared.

Seconds are those of the processor (one thread), which other work on the machine disturbs less than the clock on the wall;
tokens per second are given by both.  With names, or with --steps, nothing is written.  On a machine with a GPU `--gpu`
measures both loops there in bf16 at 160 M parameters, and ours as a share of the rate of a bare matrix product; without one
it says so and measures nothing."""
import argparse, json, os, statistics, sys, time, warnings

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"): os.environ.setdefault(f"{name}_NUM_THREADS", "1")
os.environ |= dict(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from plcal_study.lm import models, testbed, training
from plcal_study.lm.training import Training, train
from training import machine, matmul_rate, spread

results = Path(__file__).resolve().parent / "results"
CASES = dict(small=((4, 128, 4), "GPT-NeoX 1M"), large=((6, 256, 8), "GPT-NeoX 5M"))


def start(shape, n, length=64, vocab=2048, **config):
    "A decoder and `n` full rows of a world's text."
    world = testbed.text_world(k=2, bayes_accuracy=.9, vocab=1900, length=(4, 60), seed=0)
    tokenizer = testbed.train_tokenizer(testbed.lexicon(world), vocab=4000)
    model = models.build("gpt_neox", shape, tokenizer, "causal", vocab_size=vocab, tie_word_embeddings=True, **config)
    lm = models.LanguageModel(model, tokenizer, "causal", max_length=length)
    rows = lm.pack(testbed.corpus(world, 2 * n * length, seed=0))
    return lm, [r for r in rows if len(r["input_ids"]) == length][:n]

def clock(device):
    if device.type == "cuda": torch.cuda.synchronize()
    return time.process_time(), time.perf_counter()

def ours(lm, rows, cfg):
    lm = deepcopy(lm)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    begun = clock(device)
    h = train(lm, rows, cfg)
    return np.subtract(clock(device), begun), float(h.losses[-1])

def plain(lm, rows, cfg):
    "The loop of a tutorial, on the same batches."
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, data = deepcopy(lm.model).train(), torch.tensor(np.stack([r["input_ids"] for r in rows]), dtype=torch.long)
    batches, epoch = [], 0
    while len(batches) < cfg.steps:
        batches += training.epoch_batches(np.full(len(rows), data.shape[1]), cfg.batch, cfg.seed, epoch, False)
        epoch += 1
    begun = clock(device)
    model.to(device)
    data = data.to(device)
    adam = torch.optim.AdamW(model.parameters(), lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, weight_decay=cfg.weight_decay, fused=True)
    for ids in batches[:cfg.steps]:
        x = data[torch.from_numpy(ids).to(device)]
        with torch.autocast(device.type, torch.bfloat16, enabled=cfg.precision == "bf16"): loss = model(input_ids=x, labels=x, use_cache=False).loss
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    last = float(loss)
    return np.subtract(clock(device), begun), last

def measure(name, repeats, steps, batch=64):
    shape, title = CASES[name]
    lm, rows = start(shape, batch * steps)
    cfg = Training(lr=1e-3, steps=steps, batch=batch, no_decay=(), group_by_length=False)
    ways = dict(ours=ours, plain=plain)
    (_, a), (_, b) = (way(lm, rows, cfg) for way in ways.values())  # warm
    times = {way: [] for way in ways}
    for i in range(repeats):
        for way in list(ways)[::1 if i % 2 else -1]: times[way].append(ways[way](lm, rows, cfg)[0])
    tokens = steps * batch * len(rows[0]["input_ids"])
    ratio = {unit: spread([q[j] / p[j] for p, q in zip(times["ours"], times["plain"], strict=True)]) for j, unit in enumerate(("processor", "wall"))}
    return dict(task=f"{title}, rows of {len(rows[0]['input_ids'])}", parameters=models.count(lm)[1], batch=batch, steps=steps, repeats=repeats, tokens=tokens, target=1.,
                tokens_per_second={way: {unit: tokens / statistics.median(x[j] for x in t) for j, unit in enumerate(("processor", "wall"))} for way, t in times.items()},
                ratio=ratio, check=dict(what="loss of the last step", ours=a, plain=b, gap=abs(a - b), within=1e-3, agree=abs(a - b) <= 1e-3))

def gpu(size="160m", length=1024, batch=32, steps=20):
    "Both loops in bf16, and ours as a share of the rate of a matrix product (6 operations per parameter and token)."
    if not torch.cuda.is_available(): return dict(measured=False, why="no GPU on this machine")
    lm, rows = start(size, 4 * batch, length, 50304)
    cfg = Training(lr=1e-4, steps=5, batch=batch, precision="bf16", no_decay=(), group_by_length=False)
    for way in (ours, plain): way(lm, rows, cfg)  # warm
    times = {way.__name__: min(way(lm, rows, replace(cfg, steps=steps))[0][1] for _ in range(3)) for way in (ours, plain)}
    tokens, n, rate = steps * batch * length, models.count(lm)[1], matmul_rate()
    return dict(measured=True, device=torch.cuda.get_device_name(), model=f"gpt_neox {size}", parameters=n, length=length, batch=batch, steps=steps, tokens_per_second={k: tokens / t for k, t in times.items()},
                matmul_flops=rate, share=6 * n * tokens / times["ours"] / rate, peak_memory=torch.cuda.max_memory_allocated())

def line(r):
    s, q = r["tokens_per_second"], r["ratio"]["processor"]
    return (f"{r['task']}: {s['ours']['processor']:,.0f} tokens a second of the processor, plain {s['plain']['processor']:,.0f}; ratio {q['median']:.3g} [{q['min']:.3g}, {q['max']:.3g}] (target {r['target']:g}); wall {s['ours']['wall']:,.0f}"
            + ("" if r["check"]["agree"] else f"; THE LOSSES DIFFER by {r['check']['gap']:.2g}"))

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", choices=[[], *CASES], help="some measurements only; then nothing is written")
    ap.add_argument("--repeats", type=int, default=9)
    ap.add_argument("--steps", type=int, help="of each run; then nothing is written; default: 8")
    ap.add_argument("--gpu", action="store_true", help="measure on a GPU, and write benchmarks/results/pretraining_gpu.json")
    a = ap.parse_args()
    if a.gpu:
        print(found := gpu())
        if found["measured"]: (results / "pretraining_gpu.json").write_text(json.dumps(dict(machine=machine(), gpu=found), indent=1) + "\n")
        return
    if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    torch.set_num_threads(1)
    record = dict(machine=machine(), pretraining=[])
    for name in a.names or CASES: record["pretraining"].append(measure(name, a.repeats, a.steps or 8)); print(line(record["pretraining"][-1]), flush=True)
    if not a.names and not a.steps: (results / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    if not all(r["check"]["agree"] for r in record["pretraining"]): sys.exit("the losses differ from the plain loop's on the same batches")

if __name__ == "__main__": main()
