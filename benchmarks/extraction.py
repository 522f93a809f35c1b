"""Compare the reading of answers with lm-evaluation-harness 0.4.13 and with the way of Plaut et al.: `python benchmarks/extraction.py [NAME …]`.

Run it with an environment that holds lm-eval: `benchmarks/run.py` installs one, and runs this there.  A GPT-NeoX of random
weights, a vocabulary of 4,096, questions of random words with four options; about 5 and about 30 million parameters.  Each
comparison has the same model and questions on both sides, one core, float32, in turns in one process; texts go in, so that
tokenisation is inside on both sides.  Seconds are those of the processor (one thread), which other work on the machine
disturbs less than the clock on the wall.  Both sides are used as they would be in a long run: made once, warmed up, then timed.

- lm-eval: `HFLM.loglikelihood` with batches of 16; it sorts by length, and reads one-token options of a question in one pass.
- the source: `generate(max_new_tokens=100, output_scores=True)` in left-padded batches of 16, then a softmax at the answer,
  written here from the description in the paper and its code.  4-bit weights and its printing of top tokens are left out; the
  place of the answer is looked up in the tokens that were written, where the source tokenises the text anew.
- ours: `read_letters`, `read_options` and `read_answer`; for options also the log-likelihoods alone (`encode`, `listen`), which
  are what lm-eval's default accuracies need, where `read_options` also reads every option without its question, as lm-eval
  does for acc_mutual_info.

`products` is the share of the time that the linear layers take, in the warm-up: bare matrix products, which nobody saves but by
reading less.  Seconds depend on the number of questions a little: what is read once, as a common beginning, weighs less the more
there are; `--times 4` asks four times as many.  With names, or another number, nothing is written.

`--gpu` measures prefill on a GPU, in bf16, over sizes, lengths of a prompt and tokens of a pass: tokens per second, the peak of
the memory, and the share of the rate of a bare bf16 matrix product (2 operations per token and parameter of the layers; those of
attention itself and of the head are left out, so that the share is stated too low rather than too high).  Without a GPU it says
so and measures nothing; `--try` takes the same path at a tiny size anywhere."""
import argparse, json, os, platform, statistics, subprocess, sys, time, warnings

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"): os.environ.setdefault(f"{name}_NUM_THREADS", "1")
os.environ |= dict(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
warnings.filterwarnings("ignore")

from copy import deepcopy
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
import logging
import numpy as np, torch, torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models as tokens, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from plcal_study.lm import models
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.extraction import extract, peak_memory, read_answer, read_letters, read_options
from plcal_study.lm.prompts import answer_place, ask, parse_answer, take_asked
from plcal_study.lm.scoring import Row, Scorer, encode, listen
from training import forget, in_products, on_gpu, peak, settle, spread

results = Path(__file__).resolve().parent / "results"
SIZES = {"5M": (4, 256, 4), "30M": (8, 512, 8)}
LETTERS, BATCH, WITHIN = "ABCD", 16, 1e-4


# ---- what is asked -------------------------------------------------------------------------------------------------
def world(n, seed=0):
    "Questions of random words, four options each, and five examples to show solved; and a tokenizer of merged bytes for them."
    rng = np.random.default_rng(seed)
    syllables = [a + b for a in "bcdfgklmnprst" for b in "aeiou"]
    words = np.array(["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(3000)])
    def text(low, high): return " ".join(rng.choice(words, rng.integers(low, high)))
    def examples(m, name): return Examples([f"{name}{i}" for i in range(m)], [text(52, 140) for _ in range(m)], rng.integers(0, 4, m), options=[tuple(text(5, 11) for _ in range(4)) for _ in range(m)])
    task = Task("random words", dict(train=examples(5, "shot"), test=examples(n, "q")))
    known = [w for p in ("plain", "first") for w in ask(task, "test", p, limit=1).prompt] + ["Answer: A\n\nAnswer: B\n\nAnswer: C\n\nAnswer: D\n\n"]
    bpe = Tokenizer(tokens.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=4096, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator([" ".join(words)] * 3 + known * 50, trainer)
    end = "<|endoftext|>"
    return task, PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end, pad_token=end, clean_up_tokenization_spaces=False)

def make(size, tokenizer): return models.build("gpt_neox", SIZES[size], tokenizer, "causal", vocab_size=4096, max_position_embeddings=2048)

def answering(model, tokenizer, prompt):
    "The same model, made to say a letter and a period: the word after the last token of a prompt, and the word after a letter, are pulled up."
    model = deepcopy(model)
    with torch.no_grad():
        at, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        last = tokenizer(prompt)["input_ids"][-1]
        said = tokenizer("".join(f" {x}" for x in LETTERS))["input_ids"]
        head[said] += 40 * at[last] / at[last].norm()
        head[tokenizer(".")["input_ids"][0]] += 80 * at[said].mean(0) / at[said].mean(0).norm()
    return model


# ---- the peers -----------------------------------------------------------------------------------------------------
def harness(model, tokenizer):
    "lm-eval on a model that is there already."
    logging.disable(logging.WARNING)
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, device="cpu")
    def asked(prompts, texts):
        pairs = [(p, t) for p, own in zip(prompts, texts, strict=True) for t in own]
        return np.array([x[0] for x in lm.loglikelihood([Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)], disable_tqdm=True)])
    return asked

def generated(model, tokenizer, q, most=100):
    "As Plaut et al. do it: for each question the option (-1: none), the confidence, and the largest probability of the first word."
    option, conf, first = np.full(len(q), -1), np.zeros(len(q)), np.zeros(len(q))
    tokenizer.padding_side = "left"
    for begin in range(0, len(q), BATCH):
        batch = tokenizer(q.prompt[begin:begin + BATCH], padding=True, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode(): out = model.generate(**batch, max_new_tokens=most, do_sample=False, output_scores=True, return_dict_in_generate=True, pad_token_id=tokenizer.pad_token_id)
        scores = torch.stack(out.scores, 1)
        for i, (said, z) in enumerate(zip(out.sequences[:, batch["input_ids"].shape[1]:].tolist(), scores, strict=True), begin):
            text = tokenizer.decode(said, skip_special_tokens=True)
            found, place = parse_answer(text, q.options[i]).option, answer_place(text, q.options[i])
            first[i] = z[0].softmax(-1).max().item()
            if found is not None: option[i] = found
            if place is not None:
                token = next(j for j in range(len(said)) if len(tokenizer.decode(said[:j + 1], skip_special_tokens=True)) > place)
                conf[i] = z[token].softmax(-1).max().item()
    return option, conf, first


# ---- one comparison ------------------------------------------------------------------------------------------------
class Case:
    "A model with both readers, and some questions."
    def __init__(self, size, n, prompt="plain", shots=0, seed=0, answers=False):
        task, self.tokenizer = world(n, seed)
        self.q = ask(task, "test", prompt, shots)
        self.model = make(size, self.tokenizer)
        if answers: self.model = answering(self.model, self.tokenizer, self.q.prompt[0])
        self.scorer = Scorer(self.model, self.tokenizer, 2048)
        self.texts = [[f" {o}" for o in own] for own in self.q.options]
        self.letters = [[f" {x}" for x in LETTERS]] * n
        lengths = [len(x) for x in self.tokenizer(self.q.prompt)["input_ids"]]
        read_letters(self.scorer, take_asked(self.q, [0, 1]))  # warm; the first reading also tries whether the model honours shared beginnings
        self.about = dict(parameters=models.count(self.model)[1], questions=n, prompt=prompt, shots=shots, prompt_tokens=dict(mean=statistics.mean(lengths), min=min(lengths), max=max(lengths)), option_tokens=statistics.mean(len(x) for own in self.texts for x in self.tokenizer(own)["input_ids"]))

    def logliks(self, texts):
        rows, _ = encode(self.scorer, self.q.prompt, texts)
        out = [np.empty(0)] * len(rows)
        for h in listen(self.scorer, rows, self.q.group):
            for i, x in zip(h.rows, h.loglik, strict=True): out[i] = x
        return np.concatenate(out)

def letters(size, n, prompt="plain", shots=0):
    "Letters, and lm-eval's letters."
    c = Case(size, n, prompt, shots)
    peer = harness(c.model, c.tokenizer)
    def check(ours, theirs):
        if c.q.prompt[0].endswith("\n"): # lm-eval counts the newline to the letters: compared is what tells them apart
            a, b = c.logliks(c.letters).reshape(n, 4), theirs.reshape(n, 4)
            return "log-probabilities of ' A' to ' D', less their mean", np.abs((a - a.mean(1, keepdims=True)) - (b - b.mean(1, keepdims=True))).max()
        bare = peer(c.q.prompt, [list(LETTERS)] * n) # ours adds the letter without a space
        return "log-probability of each letter, both spellings", np.abs(ours["letters"].logits - np.logaddexp(theirs, bare).reshape(n, 4)).max()
    return c, lambda: read_letters(c.scorer, c.q), lambda: peer(c.q.prompt, c.letters), check

def options(size, n, shots=0):
    "The whole text of every option, and lm-eval's."
    c = Case(size, n, shots=shots)
    peer = harness(c.model, c.tokenizer)
    return c, lambda: c.logliks(c.texts), lambda: peer(c.q.prompt, c.texts), lambda a, b: ("log-likelihood of every option", np.abs(a - b).max())

def five(size, n):
    "Options in all five ways, and lm-eval with the requests of acc_mutual_info."
    c = Case(size, n)
    peer = harness(c.model, c.tokenizer)
    def check(ours, theirs):
        given, alone = theirs[:4 * n].reshape(n, 4), theirs[4 * n:].reshape(n, 4)
        return "log-likelihood, with its question and less that without", max(np.abs(ours["raw"].logits - given).max(), np.abs(ours["pmi"].logits - (given - alone)).max())
    return c, lambda: read_options(c.scorer, c.q), lambda: peer([*c.q.prompt, *[""] * n], c.texts * 2), check

def source(size, n, prompt="plain"):
    "Letters, and the answer of the source, whose first word is compared."
    c = Case(size, n, prompt)
    return c, lambda: read_letters(c.scorer, c.q), lambda: generated(c.model, c.tokenizer, c.q), lambda a, b: ("log of the largest probability of the first word", np.abs(np.log(a["letters"].scores["msp"]) - np.log(b[2])).max())

def answer(size, n, answers):
    "The answer, and the answer of the source."
    c = Case(size, n, "first", answers=answers)
    def check(ours, theirs):
        p, (option, conf, _) = ours["answer"], theirs
        c.about |= dict(parsed=float((option >= 0).mean()), tokens_written=float(p.scores["tokens"].mean()))
        assert (p.scores["option"] == option).all(), "the options differ"
        has = conf > 0
        return "log of the confidence, and the same options", np.abs(np.log(p.conf[has]) - np.log(conf[has])).max(initial=0) if (has == (p.conf > 0)).all() else np.inf
    return c, lambda: read_answer(c.scorer, c.q), lambda: generated(c.model, c.tokenizer, c.q), check

LM_EVAL, SOURCE = "lm-eval 0.4.13", "generate(100)"
CASES = {  # name: (title, peer, target, size, questions, what)
    "letters": ("letters", LM_EVAL, 1.8, "5M", 96, lambda n: letters("5M", n)),
    "letters_first": ("letters, prompt of Plaut et al.", LM_EVAL, 1.8, "5M", 48, lambda n: letters("5M", n, "first")),
    "letters_shots": ("letters, the same 5 examples before each question", LM_EVAL, 3, "5M", 16, lambda n: letters("5M", n, shots=5)),
    "options": ("full options", LM_EVAL, 4.5, "5M", 24, lambda n: options("5M", n)),
    "options_five": ("full options, five ways", LM_EVAL, None, "5M", 12, lambda n: five("5M", n)),
    "options_shots": ("full options, the same 5 examples before each question", LM_EVAL, 3, "5M", 4, lambda n: options("5M", n, 5)),
    "source": ("letters", SOURCE, 8, "5M", 32, lambda n: source("5M", n)),
    "source_first": ("letters, prompt of Plaut et al.", SOURCE, 8, "5M", 16, lambda n: source("5M", n, "first")),
    "answer": ("answer, a model that says one", SOURCE, None, "5M", 16, lambda n: answer("5M", n, True)),
    "answer_random": ("answer, a model that says none", SOURCE, None, "5M", 16, lambda n: answer("5M", n, False)),
    "letters_30M": ("letters", LM_EVAL, 1.15, "30M", 16, lambda n: letters("30M", n)),
    "letters_first_30M": ("letters, prompt of Plaut et al.", LM_EVAL, 1.15, "30M", 12, lambda n: letters("30M", n, "first")),
    "options_30M": ("full options", LM_EVAL, 3.5, "30M", 6, lambda n: options("30M", n))}

def timed(work):
    begun = time.process_time()
    out = work()
    return out, time.process_time() - begun

def products(work):
    "What a run gives, and the share of its time that the linear layers take."
    spent, plain = 0., F.linear
    def linear(*args):
        nonlocal spent
        out, seconds = timed(lambda: plain(*args))
        spent += seconds
        return out
    F.linear = linear
    try: out, seconds = timed(work)
    finally: F.linear = plain
    return out, spent / seconds

def measure(name, repeats, times):
    title, peer_name, target, size, n, make_case = CASES[name]
    c, ours, peer, check = make_case(n * times)
    (a, share), (b, peer_share) = products(ours), products(peer)  # warm
    compared, gap = check(a, b)
    took = dict(ours=[], peer=[])
    for i in range(repeats):
        for side in (("ours", "peer"), ("peer", "ours"))[i % 2]: took[side].append(timed(dict(ours=ours, peer=peer)[side])[1])
    return dict(name=name, task=title, size=size, peer_name=peer_name, target=target, repeats=repeats, **c.about, **{side: spread(t) for side, t in took.items()},
                ratio=spread([q / p for p, q in zip(took["ours"], took["peer"], strict=True)]), products=dict(ours=share, peer=peer_share),
                check=dict(what=compared, gap=float(gap), within=WITHIN, agree=bool(gap <= WITHIN)))

def bf16(n=16, repeats=5):
    "Letters in bfloat16 and in float32."
    c = Case("5M", n)
    half = Scorer(deepcopy(c.model).to(torch.bfloat16), c.tokenizer, 2048)
    ways = dict(float32=lambda: read_letters(c.scorer, c.q), bfloat16=lambda: read_letters(half, c.q))
    out, times = {k: f()["letters"] for k, f in ways.items()}, {k: [] for k in ways}
    for _ in range(repeats):
        for k, f in ways.items(): times[k].append(timed(f)[1])
    gap = np.abs(out["float32"].logits - out["bfloat16"].logits).max()
    return dict(**c.about, repeats=repeats, **{k: spread(t) for k, t in times.items()}, ratio=spread([a / b for a, b in zip(times["float32"], times["bfloat16"], strict=True)]),
                gap=float(gap), same_answer=float((out["float32"].logits.argmax(1) == out["bfloat16"].logits.argmax(1)).mean()))


# ---- memory --------------------------------------------------------------------------------------------------------
def remember(n):
    "The peak of this process, which extracts letters of n questions with a small model; run in a process of its own."
    task, tokenizer = world(n)
    s = Scorer(models.build("gpt_neox", (2, 64, 2), tokenizer, "causal", vocab_size=4096), tokenizer, 2048)
    start, begun = peak_memory(), time.process_time()
    extract(s, task, "letters", progress=False)
    return dict(questions=n, start=start, peak=peak_memory(), seconds=time.process_time() - begun)

def memory(sizes=(500, 5000)):
    found = [json.loads(subprocess.run([sys.executable, __file__, "--memory", str(n)], check=True, capture_output=True, text=True).stdout.splitlines()[-1]) for n in sizes]
    return dict(rows=found, ratio=found[-1]["peak"] / found[0]["peak"])


# ---- on a GPU ------------------------------------------------------------------------------------------------------
def gpu_row(size, length, tokens, vocab, repeats):
    "Prefill of a GPT-NeoX of random weights in bf16: rows of `length` tokens that share nothing, `tokens` in a pass, each with one continuation."
    n, (_, tokenizer) = max(8, 4 * tokens // length), world(8)
    model = models.build("gpt_neox", size, tokenizer, "causal", vocab_size=vocab, max_position_embeddings=2 * length).to("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16)
    s, rng = Scorer(model, tokenizer, tokens), np.random.default_rng(0)
    rows, spent = [Row(rng.integers(100, 4096, length).tolist(), [[5]]) for _ in range(n)], []
    def read():
        for _ in listen(s, rows): pass
        settle()
    read()  # warm
    forget()
    for _ in range(repeats):
        begun = time.perf_counter()
        read()
        spent.append(time.perf_counter() - begun)
    return dict(parameters=models.count(model)[1], in_products=in_products(model), batch=max(1, tokens // length), halved=s.halved, tokens_per_second=spread([n * length / t for t in spent]), peak_memory=peak())


# ---- the record ----------------------------------------------------------------------------------------------------
def matmul(rows=1024, inner=256, cols=1024, repeats=30, rounds=7):
    "Floating-point operations per second of a float32 product on this core."
    a, b = torch.randn(rows, inner), torch.randn(inner, cols)
    def work():
        for _ in range(repeats): a @ b
    work()
    return spread([2 * rows * inner * cols * repeats / timed(work)[1] for _ in range(rounds)])

def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return dict(cpu=cpu, cores=os.cpu_count(), threads=torch.get_num_threads(), simd=torch.backends.cpu.get_cpu_capability(), matmul_flops=matmul(), system=platform.system(),
                load_1min=round(os.getloadavg()[0], 2), date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                versions={"python": platform.python_version()} | {p: version(p) for p in ("torch", "transformers", "tokenizers", "lm-eval", "numpy")})

def line(r):
    goal = "no target" if r["target"] is None else f"target {r['target']}"
    return (f"{r['task']}, {r['size']}, {r['questions']} questions: {r['ours']['median']:.3g} s; {r['peer_name']} {r['peer']['median']:.3g} s; "
            f"ratio {r['ratio']['median']:.3g} [{r['ratio']['min']:.3g}, {r['ratio']['max']:.3g}] ({goal}); products {r['products']['ours']:.0%} of ours, {r['products']['peer']:.0%} of the peer's; "
            f"{r['check']['what']} apart by {r['check']['gap']:.1g}" + ("" if r["check"]["agree"] else ": THEY DIFFER"))

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", choices=[[], *CASES, "bf16", "memory"], help="some measurements only; then nothing is written")
    ap.add_argument("--repeats", type=int, default=5)
    ap.add_argument("--times", type=int, default=1, help="so many times as many questions")
    ap.add_argument("--gpu", action="store_true", help="measure on a GPU, and write benchmarks/results/extraction_gpu.json")
    ap.add_argument("--try", dest="trial", action="store_true", help="as --gpu at a tiny size, on any machine; then nothing is written")
    ap.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if hasattr(os, "sched_setaffinity") and not a.gpu: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core
    torch.set_num_threads(1)
    if a.memory: return print(json.dumps(remember(a.memory)))
    if a.gpu or a.trial: return on_gpu(gpu_row, "extraction", 2, .5, a.trial)
    record, begun = dict(machine=machine(), extraction=[]), time.process_time()
    print(f"a product of 1024 x 256 x 1024: {record['machine']['matmul_flops']['median'] / 1e9:.3g} GFLOP/s", flush=True)
    for name in a.names or CASES:
        if name in CASES: record["extraction"].append(measure(name, a.repeats, a.times)); print(line(record["extraction"][-1]), flush=True)
    for name, work in (("bf16", bf16), ("memory", memory)):
        if not a.names or name in a.names: record[name] = work(); print(name, record[name], flush=True)
    record["seconds"] = time.process_time() - begun
    if not a.names and a.times == 1:
        results.mkdir(exist_ok=True)
        (results / "extraction.json").write_text(json.dumps(record, indent=1) + "\n")
    if not all(r["check"]["agree"] for r in record["extraction"]): sys.exit("some log-probabilities differ from the peer's")

if __name__ == "__main__": main()
