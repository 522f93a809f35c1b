"""Compare the training of learned calibrators with the Trainer of transformers: `python benchmarks/learned.py [NAME …]`.

E-PLM trains one view of a model, I-Simul two at once. Both loops get the same weights, rows, batches of 16 and optimiser; the
Trainer gets the view as a module that returns its loss, and our own collate, so that what differs is the loop, and the order:
`ours` groups rows of like length, our default; `ours, plain` and `trainer` shuffle them.  Seconds are those of the processor,
on one core.  The fits that need no training are timed alone: a temperature, and a probe with the choice of its penalty.

With names nothing is written; else benchmarks/results/learned.json."""
import argparse, json, os, tempfile, time

from training import machine, peer, results, spread  # sets the number of threads first
from copy import deepcopy
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
import numpy as np, torch
from torch import nn
from plcal_study.lm import learned, models, testbed
from plcal_study.lm.training import Training, train
from plcal_study.measure.calibrators import fit_temperature
from plcal_study.measure.predictions import from_logits


class Module(nn.Module):
    "A `Trainable` as the Trainer takes it."
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, **batch):
        s, n = self.inner.loss(**batch)
        return dict(loss=s / n)

def views(n=480):
    "A small BERT behind both questions, and encoded rows of each: texts of 4 to 60 words."
    world = testbed.text_world(k=3, bayes_accuracy=.9, length=(4, 60), vocab=2000, seed=0)
    task = testbed.as_task(world, n, n, 0, name="benchmark")
    tokenizer = testbed.train_tokenizer([*testbed.lexicon(world), learned.VERBAL["answer"]], vocab=4000, keep=[*task.words, "False", "True"])
    model = models.build("bert", "tiny", tokenizer, "masked", vocab_size=30522, hidden_dropout_prob=0., attention_probs_dropout_prob=0.)
    clf = models.PromptClassifier(model, tokenizer, task, max_length=80)
    view = learned.judge_view(clf, task)
    asked = view.encode(learned.questions(task["val"], np.arange(n) % 3, task, np.arange(n) % 2 > 0))
    return clf, view, clf.encode(task["train"]), asked

def e_plm():
    _, view, _, asked = views()
    return view, asked

def i_simul():
    clf, view, own, asked = views()
    both = learned.Both(clf, view)
    return both, list(learned._simul_rows(both, own, asked, 1, 0))

CASES = dict(e_plm=(e_plm, "E-PLM: a BERT tiny learns to judge"), i_simul=(i_simul, "I-Simul: a BERT tiny answers and judges"))

def measure(name, repeats, out):
    make, title = CASES[name]
    start, rows = make()
    cfg = Training(lr=1e-4, epochs=1, batch=16, no_decay=("bias", "LayerNorm.weight"))
    cfg = replace(cfg, epochs=None, steps=len(rows) // 16)
    def ours(c):
        model = deepcopy(start)
        begun = time.process_time()
        h = train(model, rows, c)
        return time.process_time() - begun, h
    ways = {"ours": lambda: ours(cfg)[0], "ours, plain": lambda: ours(replace(cfg, group_by_length=False))[0],
            "trainer": lambda: peer(SimpleNamespace(model=Module(start)), rows, start.collate, cfg, out)[0]}
    for run in ways.values(): run()  # warm
    times = {way: [] for way in ways}
    for i in range(repeats):
        for way in list(ways)[i % 3:] + list(ways)[:i % 3]: times[way].append(ways[way]())
    def ratio(x): return spread([q / p for p, q in zip(times[x], times["trainer"], strict=True)])
    return dict(task=title, parameters=models.count(start)[1], rows=len(rows), steps=cfg.steps, batch=16, target=1.2, repeats=repeats, seconds={w: spread(t) for w, t in times.items()},
                ratio={"by default": ratio("ours"), "both shuffled": ratio("ours, plain")})

def fits(repeats=21):
    "Seconds of the fits that train nothing."
    rng, found = np.random.default_rng(0), []
    for n, d in ((500, 64), (1000, 384)):
        z = 2 * rng.normal(size=(n, 4))
        p = from_logits(z, (z + 2 * rng.gumbel(size=z.shape)).argmax(1), meta=dict(split="val"))
        task = testbed.Task("fits", dict(val=testbed.Examples(p.uid, p.uid.astype(object), p.label)), tuple("abcd"))
        h = rng.normal(size=(n, d)).astype(np.float32)
        def states(e, h=h): return h
        states.clf = nn.Module(); states.clf.model = nn.Linear(1, 1)
        for name, fit in {"temperature": partial(fit_temperature, p), "probe, penalty chosen": partial(learned.fit_probe, p, task, states)}.items():
            times = []
            for _ in range(repeats):
                begun = time.process_time(); fit(); times.append(time.process_time() - begun)
            found.append(dict(fit=name, n=n, d=d if "probe" in name else 4, seconds=spread(times)))
    return found

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", choices=[[], *CASES, "fits"], help="some measurements only; then nothing is written")
    ap.add_argument("--repeats", type=int, default=9)
    a = ap.parse_args()
    if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    torch.set_num_threads(1)
    record = dict(machine=machine(), learned=[], fits=[])
    with tempfile.TemporaryDirectory() as out:
        for name in [n for n in a.names or CASES if n in CASES]:
            r = measure(name, a.repeats, out)
            record["learned"].append(r)
            print(f"{r['task']}: " + "; ".join(f"{w} {1e3 * t['median'] / r['steps']:.3g} ms a step" for w, t in r["seconds"].items()) + "; ratio " + ", ".join(f"{k} {v['median']:.3g} [{v['min']:.3g}, {v['max']:.3g}]" for k, v in r["ratio"].items()), flush=True)
    if not a.names or "fits" in a.names:
        record["fits"] = fits()
        for r in record["fits"]: print(f"{r['fit']}, n = {r['n']:,}, d = {r['d']}: {1e3 * r['seconds']['median']:.3g} ms")
    if not a.names: (results / "learned.json").write_text(json.dumps(record, indent=1) + "\n")

if __name__ == "__main__": main()
