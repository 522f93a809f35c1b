"The readers on logs that the real tools write. Each tool lives in an environment of its own: name its interpreter by PLCAL_LM_EVAL, PLCAL_INSPECT or PLCAL_LIGHTEVAL, or have it in this one."
import importlib.util, json, os, subprocess, sys
import numpy as np
import pytest
from plcal_study.measure.logs import read_log
from plcal_study.measure.predictions import pair


def interpreter(module, variable, version):
    "A Python that has the tool."
    if named := os.environ.get(variable): return named
    if importlib.util.find_spec(module): return sys.executable
    pytest.skip(f'{module} is not in this environment; install {version} in one of its own, and name its interpreter by {variable}')

def run(python, script, folder, *args):
    "Run a script in an interpreter of its own, without network."
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | dict(HF_HUB_OFFLINE='1', TRANSFORMERS_OFFLINE='1', HF_DATASETS_OFFLINE='1', HF_HOME=str(folder / 'hf'), OMP_NUM_THREADS='1')
    done = subprocess.run([python, '-c', script, *map(str, args)], cwd=folder, env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]


# ---- lm-evaluation-harness, on a small random model made on the spot

LM_EVAL = '''
import json, random, sys, torch
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast
from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
rng = random.Random(0); torch.manual_seed(0)
names = ['Tessen', 'Quell', 'Minnow', 'Passel', 'Vantry', 'Orrow', 'Litmus', 'Renfrew']
rows = []
for i in range(24):
    k = rng.choice([2, 3, 4]); options = rng.sample(names, k); answer = rng.randrange(k)
    rows.append(dict(question=f'Where is number {i}?', choices=options, answer=answer, several=sorted(rng.sample(range(k), 2)), letter='ABCD'[answer], subject=rng.choice(['sea', 'land']), one=options[0], two=options[1], which=str(1 + i % 2)))
Path('rows.jsonl').write_text(''.join(json.dumps(r) + chr(10) for r in rows))
tok = Tokenizer(models.BPE()); tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False); tok.decoder = decoders.ByteLevel()
tok.train_from_iterator([json.dumps(r) for r in rows], trainers.BpeTrainer(vocab_size=400, special_tokens=['<|end|>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
t = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token='<|end|>', bos_token='<|end|>', unk_token='<|end|>', model_max_length=128)
model = GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=len(t), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=128, initializer_range=.3, bos_token_id=0, eos_token_id=0)).eval()
HEAD = 'dataset_path: json\\ndataset_kwargs: ' + json.dumps(dict(data_files=dict(test=str(Path('rows.jsonl').resolve())))) + '\\ntest_split: test\\noutput_type: multiple_choice\\n'
def metrics(*names): return 'metric_list:\\n' + ''.join(f'  - {{metric: {m}, aggregation: mean, higher_is_better: true}}\\n' for m in names)
PLAIN = 'doc_to_text: "{{question}}"\\ndoc_to_choice: "{{choices}}"\\n'
tasks = dict(plain=PLAIN + 'doc_to_target: "{{answer}}"\\n' + metrics('acc', 'acc_norm', 'acc_bytes', 'exact_match'),
             mutual=PLAIN + 'doc_to_target: "{{answer}}"\\n' + metrics('acc', 'acc_mutual_info'),
             letters='doc_to_text: "{{question}}\\\\nAnswer:"\\ndoc_to_choice: ["A", "B", "C", "D"]\\ndoc_to_target: "{{letter}}"\\n' + metrics('acc'),
             several=PLAIN + 'doc_to_target: several\\n' + metrics('acc'))
Path('utils.py').write_text('def text(doc): return int(doc["which"]) - 1\\ndef target(doc): return "was here."\\ndef choice(doc): return [f"Then {doc[k]}" for k in ("one", "two")]\\n')
tasks['context'] = 'doc_to_text: !function utils.text\\ndoc_to_target: !function utils.target\\ndoc_to_choice: !function utils.choice\\n' + metrics('acc')
for name, text in tasks.items(): Path(f'{name}.yaml').write_text(f'task: t_{name}\\n' + HEAD + text)
lm = HFLM(pretrained=model, tokenizer=t, batch_size=8, device='cpu')
tracker = EvaluationTracker(output_path='out')
done = simple_evaluate(lm, tasks=[f't_{n}' for n in tasks], task_manager=TaskManager(include_path='.', include_defaults=False), log_samples=True, bootstrap_iters=0, evaluation_tracker=tracker)
samples = done.pop('samples')
tracker.save_results_aggregated(results=done, samples=samples)
for task, s in samples.items(): tracker.save_results_samples(task_name=task, samples=s)
Path('results.json').write_text(json.dumps({t: {m: v for m, v in r.items() if isinstance(v, (int, float))} for t, r in done['results'].items()}))
'''

@pytest.fixture(scope='module')
def lm_eval_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('lm_eval')
    run(interpreter('lm_eval', 'PLCAL_LM_EVAL', 'lm-eval[hf]==0.4.13'), LM_EVAL, folder)
    return folder

@pytest.mark.parametrize('task', ['plain', 'mutual', 'letters', 'several', 'context'])
def test_lm_eval_itself(lm_eval_run, task):
    "Every kind of multiple_choice task: the accuracy of what is read is that which the harness computed."
    path = next(lm_eval_run.glob(f'out/**/samples_t_{task}_*.jsonl'))
    p = read_log(path, quiet=True)
    rows = [json.loads(x) for x in (lm_eval_run / 'rows.jsonl').read_text().splitlines()]
    results = json.loads((lm_eval_run / 'results.json').read_text())[f't_{task}']
    assert len(p) == 24 and p.correct.mean() == pytest.approx(results['acc,none']) and p.meta['source_version'] == '0.4.13'
    assert p.cluster.tolist() == [r['subject'] for r in rows]
    if task == 'several': assert p.logits is None
    elif task == 'context': assert p.label.tolist() == [int(r['which']) - 1 for r in rows] == read_log(path, label=lambda r: int(r['doc']['which']) - 1, quiet=True).label.tolist()
    else: assert p.label.tolist() == [r['answer'] for r in rows]
    assert ('off_option_mass' in p.scores) == (task == 'letters')

def test_lm_eval_run_of_several_tasks(lm_eval_run):
    folder = next(lm_eval_run.glob('out/**/samples_t_plain_*.jsonl')).parent
    parts = [read_log(f, quiet=True) for f in sorted(folder.glob('samples_*.jsonl'))]
    runs = {f.stem.rpartition('_')[2] for f in folder.glob('samples_*.jsonl')}
    if len(runs) > 1: pytest.skip('the harness dated its files apart')
    p = read_log(folder, quiet=True)
    assert len(p) == sum(map(len, parts)) and len(set(p.cluster)) == 5


# ---- inspect_ai, on a model that says what it is told

INSPECT = '''
import math, random, tiktoken
class Bytes: # its mock model counts tokens with a vocabulary from the network
    def encode(self, x, **k): return list(x.encode())
    encode_ordinary = encode
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *a: Bytes()
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log._recorders.chunked.convert import convert_eval_logs_to_chunked
from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput, get_model
from inspect_ai.model._model_output import Logprob, Logprobs, TopLogprob
from inspect_ai.scorer import choice
from inspect_ai.solver import multiple_choice
def lp(x, p, top=()): return Logprob(token=x, logprob=math.log(p), bytes=list(x.encode()), top_logprobs=[TopLogprob(token=t, logprob=math.log(q), bytes=list(t.encode())) for t, q in top] or None)
def out(rng):
    p = [rng.random() for _ in range(4)]; p = [x / sum(p) * .9 for x in p]; a = max(range(4), key=p.__getitem__); letter = 'ABCD'[a]
    content = [lp('AN', .9), lp('SWER', .9), lp(':', .9), lp(f' {letter}', p[a], [(f' {"ABCD"[j]}', p[j]) for j in sorted(range(4), key=lambda j: -p[j])])]
    return ModelOutput(model='mock', choices=[ChatCompletionChoice(message=ChatMessageAssistant(content=f'ANSWER: {letter}'), stop_reason='stop', logprobs=Logprobs(content=content))])
rng = random.Random(1)
samples = [Sample(id=f's{i}', input=f'Question {i}?', choices=['a', 'b', 'c', 'd'], target='ABCD'[rng.randrange(4)], metadata=dict(subject='law' if i % 3 else 'art')) for i in range(12)]
for fmt, epochs in (('eval', 1), ('json', 1), ('eval', 2)):
    answers = random.Random(0)
    model = get_model('mockllm/model', custom_outputs=[out(answers) for _ in range(12 * epochs)])
    eval(Task(dataset=MemoryDataset(samples), solver=multiple_choice(), scorer=choice()), model=model, log_dir=f'{fmt}{epochs}', log_format=fmt, epochs=epochs, display='none', max_connections=1, max_samples=1)
convert_eval_logs_to_chunked('eval1', 'chunked')
'''

def test_inspect_itself(tmp_path):
    "Its two formats and both layouts of the first hold the same answers."
    run(interpreter('inspect_ai', 'PLCAL_INSPECT', 'inspect-ai==0.3.285'), INSPECT, tmp_path)
    a, b, c = (read_log(next((tmp_path / f).iterdir()), quiet=True) for f in ('eval1', 'json1', 'chunked'))
    for other in (b, c):
        x, y = pair(a, other)
        np.testing.assert_array_equal(x.conf, y.conf)
        assert (x.label == y.label).all() and (x.cluster == y.cluster).all()
    assert len(a) == 12 and set(a.cluster) == {'law', 'art'} and a.logits is not None
    np.testing.assert_allclose(a.scores['off_option_mass'], .1, atol=1e-9)
    with pytest.raises(ValueError, match="filter='epoch=1'"): read_log(next((tmp_path / 'eval2').iterdir()))
    assert len(read_log(next((tmp_path / 'eval2').iterdir()), filter='epoch=2', quiet=True)) == 12


# ---- lighteval's own records, graded by its own accuracy and written by its own way

LIGHTEVAL = '''
import random, sys
from dataclasses import asdict
from datasets import Dataset
from lighteval.logging.info_loggers import DetailsLogger
from lighteval.metrics.metrics_sample import LoglikelihoodAcc
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
for pmi in (False, True):
    rng, rows = random.Random(0), []
    for i in range(20):
        k = rng.choice([2, 4]); lp = [-rng.random() * 4 for _ in range(k)]
        d = Doc(query=f'Q{i}', choices=[f' {c}' for c in 'ABCD'[:k]], gold_index=rng.randrange(k), id=str(i), task_name='mmlu:toy|0', specific=dict(subject='law' if i % 2 else 'art'))
        r = ModelResponse(input=f'Q{i}', logprobs=lp + [-1.] * (k if pmi else 0), argmax_logits_eq_gold=[False] * k, output_tokens=[[1]] * k)
        rows.append(asdict(DetailsLogger.Detail(d, r, dict(acc=LoglikelihoodAcc().compute(d, r)))))
    data = Dataset.from_list(rows)
    data.select_columns(sorted(data.column_names)).to_parquet(f'details_{pmi}.parquet')
'''

def test_lighteval_itself(tmp_path):
    run(interpreter('lighteval', 'PLCAL_LIGHTEVAL', 'lighteval==0.13.0'), LIGHTEVAL, tmp_path)
    a, b = (read_log(tmp_path / f'details_{x}.parquet', quiet=True) for x in (False, True))
    assert len(a) == 20 and a.cluster.tolist() == ['art', 'law'] * 10 and a.meta['task'] == 'mmlu:toy|0' and 'metric.acc' in a.meta['read']['correct']
    np.testing.assert_array_equal(a.logits, b.logits)
