"""What lm-evaluation-harness makes of questions of our own: `python benchmarks/lm_eval_golden.py`.

Run it with an environment that holds lm-eval (that of `benchmarks/peers.txt`, which run.py installs into benchmarks/.venv-bench).
The folder `models` beside that of PLCAL_DATA holds the decoder stories260K.  It writes tests/lm_eval_golden.json, which
tests/test_lm_eval.py holds our numbers against.

Two models read four tasks through lm-eval's own `simple_evaluate`, each a YAML file and a JSON Lines file in a temporary folder:

- `options`: the prompt 'bare', the texts of the options after a space, as lm-eval joins them;
- `letters`: the prompt 'plain', letters as options;
- `space`: a prompt that ends in a space, options without one (target_delimiter '');
- `newline`: a prompt that ends in a newline, options without a space before them.

Kept are the log-likelihood of every option, with its question and without ('' as context, which acc_mutual_info asks for), the
tokens that lm-eval counts to an option, and the option that each of its four accuracies picks."""
import hashlib, json, os, sys, tempfile

os.environ |= dict(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")

from importlib.metadata import version
from pathlib import Path
import numpy as np, torch
from plcal_study.lm import models
from plcal_study.lm.testbed import train_tokenizer

golden = Path(__file__).resolve().parents[1] / "tests" / "lm_eval_golden.json"
LETTERS = "ABCDEF"
METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
DELIMITER = dict(options=" ", letters=" ", space="", newline="")
NEOX = dict(vocab=400, size=[3, 48, 4], seed=11, initializer_range=.25, max_position_embeddings=512)

# Question, options, number of the right one.  Options of one token and of many, two to six of them, equal ones, one that begins
# with another, and letters of more than one byte.
QUESTIONS = [
    ("Which of these melts in a warm hand?", ["ice", "iron", "glass", "sand"], 0),
    ("What does a plant take from the air to grow?", ["salt", "carbon dioxide", "helium", "smoke from a wood fire"], 1),
    ("Which animal lays eggs?", ["a dog", "a cow", "a hen", "a whale"], 2),
    ("What makes a shadow shorter at noon?", ["The sun stands high in the sky.", "The sun is smaller.", "The air is colder.", "The ground is wet."], 0),
    ("Is the moon a source of light of its own?", ["yes", "no"], 1),
    ("A ball rolls on grass and stops. What stopped it?", ["friction", "its colour", "its weight alone", "magnetism"], 0),
    ("Which is the best tool to see a cell?", ["a telescope", "a microscope", "a ruler"], 1),
    ("What is left when sea water dries in the sun?", ["salt", "salt and sand", "sugar", "oil"], 0),
    ("Which season follows spring?", ["winter", "autumn", "summer", "spring"], 2),
    ("Why do people wear light clothes in summer?", ["They take up less heat.", "They take up more heat.", "They weigh more.", "They never get dirty."], 0),
    ("Which part of a tree drinks water?", ["leaf", "bark", "root", "flower", "fruit"], 2),
    ("What moves a sailing boat?", ["wind", "wind", "coal", "steam"], 0),
    ("Which city lies on the river Limmat?", ["Zürich", "Köln", "Besançon", "Malmö"], 0),
    ("What do bees make?", ["honey", "milk", "silk", "wool", "paper", "glass"], 0),
    ("How many legs has a spider?", ["six", "eight", "ten", "a hundred and twenty"], 1),
    ("Which of these is a liquid at room temperature?", ["water", "oxygen", "gold", "a diamond in a ring"], 0),
    ("What does a thermometer measure?", ["heat", "temperature", "weight", "speed"], 1),
    ("Sound cannot travel through", ["water", "steel", "empty space", "air"], 2),
    ("Which word means snow in Japanese?", ["雪", "雨", "yuki no hana", "風"], 0),
    ("What happens to a metal rod when it is heated?", ["It grows a little longer.", "It grows a little shorter.", "It grows a little longer."], 0),
    ("Which planet is nearest to the sun?", ["Mercury", "Venus", "Earth", "Mars"], 0),
    ("What does a lung do?", ["It pumps blood.", "It takes oxygen from the air.", "It digests food.", "It holds up the body."], 1),
    ("A fish breathes with its", ["gills", "fins", "scales", "tail"], 0),
    ("Which is heavier, a litre of oil or a litre of water?", ["oil", "water", "both are the same", "it depends on the bottle that they are kept in"], 1),
    ("What turns milk into yoghurt?", ["bacteria", "yeast", "moulds", "salt"], 0),
    ("Who studies stars?", ["an astronomer", "an astrologer", "a geologist", "a baker"], 0),
    ("What is the hardest part of a tooth?", ["enamel", "e", "root", "nerve"], 0),
    ("Where does a river end?", ["in the sea", "in the sky", "in a spring", "on top of a mountain"], 0),
    ("Which gas do we breathe out more of than we breathe in?", ["carbon dioxide", "carbon", "oxygen", "nitrogen"], 0),
    ("Why does an apple fall?", ["gravity", "Gravity pulls it to the ground.", "wind", "The tree pushes it."], 1),
    ("What colour has the sky on a clear day?", ["blue", "green", "blue", "red"], 0),
    ("Which is the capital of Poland, in the language of Poland?", ["Łódź", "Warszawa", "Gdańsk", "Kraków"], 1),
    ("Which of these Greek letters is the last?", ["ω", "omega", "αβγδ", "alpha"], 0),
    ("How does a Russian say thank you?", ["спасибо", "thank you", "пожалуйста", "merci beaucoup"], 0),
    ("Can a naïve pupil read the word façade aloud?", ["peut-être", "sí", "да", "maybe"], 3),
]

def prompt(task, question, options):
    "The text before an answer."
    if task == "letters": return f"Question: {question}\n" + "\n".join(f"{x}. {o}" for x, o in zip(LETTERS, options, strict=False)) + "\nAnswer:"
    return f"Question: {question}\nAnswer:" + dict(options="", space=" ", newline="\n")[task]

def rows(task):
    "The questions of a task as its JSON Lines file has them."
    return [dict(prompt=prompt(task, q, options), choices=list(LETTERS[:len(options)]) if task == "letters" else options, answer=y) for q, options, y in QUESTIONS]

def neox(how):
    "A GPT-NeoX of random weights and a tokenizer of merged bytes, both made from what the record holds."
    texts = [" ".join(LETTERS)] * 20 + [f"{q} {' '.join(options)}" for q, options, _ in QUESTIONS]
    tokenizer = train_tokenizer(texts, how["vocab"], kind="bpe", keep=LETTERS, frame="none")
    model = models.build("gpt_neox", how["size"], tokenizer, "causal", how["seed"], initializer_range=how["initializer_range"], max_position_embeddings=how["max_position_embeddings"])
    return model, tokenizer

def weights(model):
    "Sum, sum of magnitudes and sum of squares of all weights: they move when the weights do, and not with the last bit of one."
    flat = torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])
    return [flat.sum().item(), flat.abs().sum().item(), flat.square().sum().item()]

def lm_eval(model, tokenizer, task, folder):
    "A task through lm-eval: log-likelihoods, tokens, picks and accuracies."
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    folder = Path(folder)
    (folder / f"{task}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows(task)))
    (folder / f"{task}.yaml").write_text("\n".join([
        f"task: plcal_{task}", "dataset_path: json", "dataset_kwargs: " + json.dumps(dict(data_files=dict(test=str(folder / f"{task}.jsonl")), cache_dir=str(folder))), "test_split: test",
        "output_type: multiple_choice", 'doc_to_text: "{{prompt}}"', 'doc_to_choice: "{{choices}}"', 'doc_to_target: "{{answer}}"', f"target_delimiter: {json.dumps(DELIMITER[task])}",
        "metric_list:", *(f"  - {{metric: {m}, aggregation: mean, higher_is_better: true}}" for m in METRICS)]) + "\n")
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu")
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    done = simple_evaluate(lm, tasks=[f"plcal_{task}"], task_manager=manager, log_samples=True, bootstrap_iters=0)
    asked = next(iter(manager.load([f"plcal_{task}"])["tasks"].values()))
    found = []
    for s in sorted(done["samples"][f"plcal_{task}"], key=lambda s: s["doc_id"]):
        said, k = s["filtered_resps"], len(s["doc"]["choices"])
        graded = [asked.process_results(s["doc"] | dict(answer=g), said) for g in range(k)] # its own code, told that each option in turn is right
        own = [lm._encode_pair(c, o)[1] for c, o in s["arguments"][:k]]
        found.append(dict(given=[float(f"{x[0]:.8g}") for x in said[:k]], alone=[float(f"{x[0]:.8g}") for x in said[k:]], tokens=[len(t) for t in own],
                          picks={m: [g for g in range(k) if graded[g][m] == 1] for m in METRICS}))
    assert all(len(p) == 1 for f in found for p in f["picks"].values())
    return dict(rows=[f | dict(picks=[p[0] for p in f["picks"].values()]) for f in found], accuracy=[done["results"][f"plcal_{task}"][f"{m},none"] for m in METRICS])

def main():
    data = os.environ.get("PLCAL_DATA")
    if not data: sys.exit("set PLCAL_DATA: the folder `models` beside it holds the decoder stories260K")
    ours = dict(stories260K=models.load(Path(data).parent / "models" / "stories260K", "causal"), neox=neox(NEOX))
    record = dict(versions={p: version(p) for p in ("lm-eval", "torch", "transformers", "tokenizers")}, metrics=METRICS, delimiter=DELIMITER, neox=NEOX,
                  questions=[dict(prompt={t: prompt(t, q, o) for t in DELIMITER}, options=o, label=y) for q, o, y in QUESTIONS], models={})
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, tokenizer) in ours.items():
            record["models"][name] = dict(weights=weights(model), tokenizer=hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16],
                                          tasks={task: lm_eval(model, tokenizer, task, folder) for task in DELIMITER})
            for task, x in record["models"][name]["tasks"].items(): print(name, task, dict(zip(METRICS, np.round(x["accuracy"], 3).tolist(), strict=True)), flush=True)
    golden.write_text(json.dumps(record, ensure_ascii=False, separators=(",", ":")).replace('{"given"', '\n{"given"').replace('{"prompt"', '\n{"prompt"') + "\n")
    print(f"{golden.name}: {golden.stat().st_size / 1e3:.0f} kB")

if __name__ == "__main__": main()
