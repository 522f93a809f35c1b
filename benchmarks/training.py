"""Compare the training loop with the Trainer of transformers: `python benchmarks/training.py [NAME …]`.

The same weights, rows, batch size and optimiser settings on one core, in turns in one process; each loop as its documentation
recommends for small models (no logging, no checkpoints, no evaluation, no worker processes, the data tokenized before).  Five
ways of a turn, so that what a ratio comes from can be told apart:

- `ours` groups rows of like length, which is our default; `ours, plain` shuffles them;
- `trainer` is the Trainer with its default order; `trainer, grouped` has train_sampling_strategy='group_by_length';
- `trainer, our batches` is given the very batches of `ours, plain`: then the losses must be the same, and are compared.

Seconds are those of the processor (one thread), which other work on the machine disturbs less than the clock on the wall.

With names nothing is written.  On a machine with a GPU `--gpu` measures tokens per second there, over sizes, lengths of a row
and tokens of a step, with the peak of the memory and the share of the rate of a bare bf16 matrix product: 6 operations per
token and parameter of the layers and the head, those of attention itself left out, so that the share is stated too low rather
than too high.  Without a GPU it says so and measures nothing; `--try` takes the same path at a tiny size anywhere."""
import argparse, gc, json, os, platform, statistics, sys, time, warnings

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"): os.environ.setdefault(f"{name}_NUM_THREADS", "1")
os.environ |= dict(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
import numpy as np, torch
from transformers import DataCollatorForLanguageModeling, DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments
from plcal_study.lm import models, testbed, training
from plcal_study.lm.examples import Examples
from plcal_study.lm.training import Training, train

results = Path(__file__).resolve().parent / "results"
NORMS = ("bias", "LayerNorm.weight", "layernorm.weight", "layer_norm.weight")  # what the Trainer does not decay


# ---- what is trained -----------------------------------------------------------------------------------------------
def classifier(n=640):
    "BERT tiny (2 layers of 128, the vocabulary of the original) on texts of 2 to 60 words, log-normal as sentences are."
    world = testbed.text_world(k=2, bayes_accuracy=.9, length=(60, 60), vocab=2000, seed=0)
    rng, e = np.random.default_rng(0), world.sample(n, seed=0)
    keep = np.clip(np.exp(rng.normal(2.8, .6, n)), 2, 60).astype(int)
    e = Examples(e.uid, [" ".join(a.split()[:m]) for a, m in zip(e.a, keep, strict=True)], e.label)
    task = testbed.Task("benchmark", dict(train=e), world.classes)
    tokenizer = testbed.train_tokenizer(testbed.lexicon(world), vocab=4000)
    model = models.build("bert", "tiny", tokenizer, "classify", n_labels=2, vocab_size=30522, hidden_dropout_prob=0., attention_probs_dropout_prob=0.)
    clf = models.HeadClassifier(model, tokenizer, task)
    rows = clf.encode(e)
    return clf, rows, [dict(input_ids=r["input_ids"], labels=r["label"]) for r in rows], DataCollatorWithPadding(tokenizer)

def neox(pack, n, length=64):
    "GPT-NeoX of 1 M parameters."
    world = testbed.text_world(k=2, bayes_accuracy=.9, vocab=1900, length=(4, 60), seed=0)
    tokenizer = testbed.train_tokenizer(testbed.lexicon(world), vocab=4000)
    model = models.build("gpt_neox", (4, 128, 4), tokenizer, "causal", vocab_size=2048, tie_word_embeddings=True)
    lm = models.LanguageModel(model, tokenizer, "causal", max_length=length, pack=pack)
    texts = list(testbed.corpus(world, n * length * 2, seed=0))
    rows = [r for r in lm.encode(Examples(np.arange(len(texts)), texts, None)) if len(r["input_ids"]) == length or not pack][:n]
    return lm, rows, [dict(input_ids=list(map(int, r["input_ids"]))) for r in rows], DataCollatorForLanguageModeling(tokenizer, mlm=False)

def packed(n=256):
    "Packed rows of 64 tokens: they leave nothing to group."
    return neox(True, n)

def documents(n=512):
    "A row is a document."
    return neox(False, n)

CASES = dict(classifier=(classifier, "BERT tiny, classification"), documents=(documents, "GPT-NeoX 1M, next token, a row a document"), packed=(packed, "GPT-NeoX 1M, next token, packed rows"))


# ---- the two loops -------------------------------------------------------------------------------------------------
class OurOrder(Trainer):
    "The Trainer on the batches of `ours, plain`."
    order: list
    def _get_train_sampler(self, *args): return self.order

def ours(start, rows, cfg):
    model = deepcopy(start)
    begun = time.process_time()
    h = train(model, rows, cfg)
    return time.process_time() - begun, float(h.losses[-1]), h.padding

def peer(start, data, collate, cfg, out, order=None, **how):
    model = deepcopy(start.model)
    args = TrainingArguments(
        out, max_steps=cfg.steps, per_device_train_batch_size=cfg.batch, learning_rate=cfg.lr, lr_scheduler_type="constant", weight_decay=cfg.weight_decay,
        max_grad_norm=0., optim="adamw_torch_fused", adam_epsilon=cfg.eps, logging_strategy="no", save_strategy="no", eval_strategy="no", report_to="none",
        disable_tqdm=True, use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False, remove_unused_columns=False, seed=cfg.seed, **how)
    trainer = (OurOrder if order is not None else Trainer)(model, args, data_collator=collate, train_dataset=data)
    trainer.order = order
    trainer.remove_callback(PrinterCallback)  # prints a line at the end
    begun = time.process_time()
    trainer.train()
    return time.process_time() - begun, model

def last_loss(model, start, rows, batch, cfg):
    "The loss of the last batch before its update, as our history has it: that of a run that stops one step earlier."
    judge = deepcopy(start)
    judge.model.load_state_dict(model.state_dict())
    return training.mean_loss(judge, [rows[i] for i in batch], 10**9)

def measure(name, repeats, out):
    make, title = CASES[name]
    start, rows, data, collate = make()
    lengths = np.array([len(r["input_ids"]) for r in rows])
    cfg = Training(lr=1e-3, steps=len(rows) // 16, batch=16, no_decay=NORMS)
    plain = replace(cfg, group_by_length=False)
    batches = training.epoch_batches(lengths, 16, 0, 0, False)
    order = np.concatenate(batches).tolist()
    ways = {"ours": lambda: ours(start, rows, cfg), "ours, plain": lambda: ours(start, rows, plain),
            "trainer": lambda: peer(start, data, collate, cfg, out), "trainer, grouped": lambda: peer(start, data, collate, cfg, out, train_sampling_strategy="group_by_length"),
            "trainer, our batches": lambda: peer(start, data, collate, cfg, out, order)}
    found = {way: run() for way, run in ways.items()}  # warm
    before_last = peer(start, data, collate, replace(plain, steps=cfg.steps - 1), out, order)[1]
    a, b = found["ours, plain"][1], last_loss(before_last, start, rows, batches[-1], cfg)
    times = {way: [] for way in ways}
    for i in range(repeats):
        turn = list(ways)[i % len(ways):] + list(ways)[:i % len(ways)]
        for way in turn: times[way].append(ways[way]()[0])
    def ratio(x, y): return spread([q / p for p, q in zip(times[x], times[y], strict=True)])
    trained, total = models.count(start)
    return dict(task=title, parameters=total, rows=len(rows), steps=cfg.steps, batch=16, tokens=int(lengths.sum()), target=1.2, repeats=repeats,
                padding={"ours": found["ours"][2], "ours, plain": found["ours, plain"][2]}, tokens_per_second=float(lengths.sum() / statistics.median(times["ours"])),
                seconds={way: spread(t) for way, t in times.items()},
                ratio={"by default": ratio("ours", "trainer"), "both grouped": ratio("ours", "trainer, grouped"), "same batches": ratio("ours, plain", "trainer, our batches")},
                check=dict(what="loss of the last batch, same batches", ours=a, peer=b, gap=abs(a - b), within=1e-4, agree=abs(a - b) <= 1e-4))

def spread(x): return dict(median=statistics.median(x), min=min(x), max=max(x))


# ---- on a GPU ------------------------------------------------------------------------------------------------------
GPU = dict(sizes=("410m", "1.4b"), lengths=(512, 1024, 2048), tokens=(4096, 16_384, 65_536), vocab=50304, repeats=3)
TRY = dict(sizes=((2, 32, 2),), lengths=(16, 32), tokens=(64, 256), vocab=4096, repeats=2)  # that it runs, anywhere

def settle():
    "Wait for the GPU, if there is one."
    if torch.cuda.is_available(): torch.cuda.synchronize()

def forget():
    "The peak of the memory from here on."
    gc.collect()
    if torch.cuda.is_available(): torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()

def peak(): return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None

def matmul_rate(n=8192, repeats=20):
    "Floating-point operations per second of a bf16 matrix product."
    a, b = (torch.randn(n, n, device="cuda" if torch.cuda.is_available() else "cpu", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3): a @ b
    settle()
    begun = time.perf_counter()
    for _ in range(repeats): a @ b
    settle()
    return 2 * n**3 * repeats / (time.perf_counter() - begun)

def in_products(model):
    "Parameters that every token is multiplied by: those of the layers. Embeddings are looked up, and the head is counted where it is used."
    return sum(p.numel() for p in model.base_model.layers.parameters())

def gpu_row(size, length, tokens, vocab, repeats):
    "A GPT-NeoX of random weights trained in bf16 on full rows, `tokens` of them in a step and in a pass."
    world = testbed.text_world(k=2, bayes_accuracy=.9, vocab=1900, seed=0)
    tokenizer, batch = testbed.train_tokenizer(testbed.lexicon(world), vocab=4000), tokens // length
    model = models.build("gpt_neox", size, tokenizer, "causal", vocab_size=vocab)
    lm = models.LanguageModel(model, tokenizer, "causal", max_length=length)
    rows = [r for r in lm.pack(testbed.corpus(world, 3 * batch * length, seed=0)) if len(r["input_ids"]) == length][:2 * batch]
    cfg = Training(lr=1e-4, steps=3, batch=batch, precision="bf16", no_decay=NORMS)
    train(lm, rows, cfg)  # warm; the weights are on the GPU from here on
    forget()
    runs = [train(lm, rows, replace(cfg, steps=10)) for _ in range(repeats)]
    n = in_products(model) + model.get_output_embeddings().weight.numel()
    return dict(parameters=models.count(lm)[1], in_products=n, batch=batch, tokens_per_second=spread([h.tokens / h.seconds for h in runs]), peak_memory=peak())

def grid(row, sizes, lengths, tokens, target, times, **how):
    "Every size, length and number of tokens at a time, with the share of the rate of a matrix product; what does not fit into the memory is said."
    rate, rows = matmul_rate(*((8192, 20) if torch.cuda.is_available() else (256, 3))), []
    for size, length, budget in product(sizes, lengths, tokens):
        about = dict(model=f"gpt_neox {size}", length=length, tokens=budget)
        try: r = row(size, length, budget, **how)
        except (torch.OutOfMemoryError, MemoryError): r = dict(error="out of memory")
        else: r["share"] = {k: times * r["in_products"] * v / rate for k, v in r["tokens_per_second"].items()}
        rows.append(about | r)
        forget()
        print(json.dumps(rows[-1]), flush=True)
    return dict(device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu", matmul_flops=rate, target=target, rows=rows)

def on_gpu(row, name, times, target, trial):
    "Measure and write, or say why not; a trial is made anywhere, at a tiny size, and writes nothing."
    if not trial and not torch.cuda.is_available(): return print("no GPU on this machine: nothing was measured; --try takes the same path at a tiny size")
    found = grid(row, times=times, target=target, **(TRY if trial else GPU))
    if not trial: (results / f"{name}_gpu.json").write_text(json.dumps(dict(machine=machine(), gpu=found), indent=1) + "\n")


# ---- the record ----------------------------------------------------------------------------------------------------
def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return dict(cpu=cpu, cores=os.cpu_count(), threads=torch.get_num_threads(), system=platform.system(), load_1min=round(os.getloadavg()[0], 2), date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                versions={"python": platform.python_version()} | {p: version(p) for p in ("torch", "transformers", "accelerate", "numpy")})

def line(r):
    ms = "; ".join(f"{way} {1e3 * t['median'] / r['steps']:.3g} ms" for way, t in r["seconds"].items())
    ratios = ", ".join(f"{k} {v['median']:.3g} [{v['min']:.3g}, {v['max']:.3g}]" for k, v in r["ratio"].items())
    return f"{r['task']}: per step {ms}; ratio {ratios} (target {r['target']})" + ("" if r["check"]["agree"] else f"; THE LOSSES DIFFER by {r['check']['gap']:.2g}")

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", choices=[[], *CASES], help="some measurements only; then nothing is written")
    ap.add_argument("--repeats", type=int, default=21)
    ap.add_argument("--gpu", action="store_true", help="measure on a GPU, and write benchmarks/results/training_gpu.json")
    ap.add_argument("--try", dest="trial", action="store_true", help="as --gpu at a tiny size, on any machine; then nothing is written")
    a = ap.parse_args()
    if hasattr(os, "sched_setaffinity") and not a.gpu: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    torch.set_num_threads(1)
    results.mkdir(exist_ok=True)
    if a.gpu or a.trial: return on_gpu(gpu_row, "training", 6, .4, a.trial)
    import tempfile
    record = dict(machine=machine(), training=[])
    with tempfile.TemporaryDirectory() as out:
        for name in a.names or CASES: record["training"].append(measure(name, a.repeats, out)); print(line(record["training"][-1]), flush=True)
    if not a.names: (results / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    if not all(r["check"]["agree"] for r in record["training"]): sys.exit("the losses differ from the Trainer's on the same batches")

if __name__ == "__main__": main()
