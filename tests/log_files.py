"Logs written as other tools write them, from questions whose scores, right options and subjects are known. One function a format: what it takes is `Q`, what it gives is a path and what `read_log` needs to read it."
import json, math, struct, zipfile, zlib
from dataclasses import dataclass
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from plcal_study.measure.predictions import from_logits, save


@dataclass
class Q:
    "Questions: log-probabilities of the options, which sum to at most 1."
    loglik: list[list[float]]
    label: list[int]
    subject: list[str]

    def __len__(self): return len(self.label)
    @property
    def won(self): return [int(np.argmax(z)) for z in self.loglik]
    @property
    def acc(self): return [float(w == y) for w, y in zip(self.won, self.label, strict=True)]
    @property
    def table(self):
        k = max(map(len, self.loglik))
        return np.array([z + [np.nan] * (k - len(z)) for z in self.loglik])


def questions(n=6, seed=0, sizes=(2, 4), told=.9):
    "Random questions; `told` of the probability is on the options."
    rng, rows = np.random.default_rng(seed), []
    for _ in range(n):
        p = rng.dirichlet(np.ones(rng.choice(sizes))) * .98 + .02 / 4
        rows.append([float(x) for x in np.log(p / p.sum() * told)])
    return Q(rows, [int(rng.integers(len(z))) for z in rows], [('law', 'art')[i % 2] for i in range(n)])


def lines(path, records):
    path.write_text(''.join(json.dumps(r) + '\n' for r in records), encoding='utf-8')
    return path


# ---- harnesses

def lm_eval(folder, q):
    "lm-evaluation-harness 0.4.13: numbers and targets are strings."
    def record(i):
        args = {f'gen_args_{j}': {'arg_0': f'Question {i}\nAnswer:', 'arg_1': f' {"ABCDEF"[j]}'} for j in range(len(q.loglik[i]))}
        return dict(doc_id=i, doc=dict(subject=q.subject[i], question=f'Q{i}'), target=str(q.label[i]), arguments=args, resps=[[[str(v), 'False']] for v in q.loglik[i]], filtered_resps=[[str(v), 'False'] for v in q.loglik[i]],
                    filter='none', metrics=['acc'], doc_hash=f'{i:064x}', prompt_hash='0' * 64, target_hash='0' * 64, acc=q.acc[i])
    return lines(folder / 'samples_toy_2026-01-01T00-00-00.000000.jsonl', map(record, range(len(q)))), {}


def lighteval(folder, q, dunder=False, pmi=False, as_list=False):
    "lighteval 0.13: one row a question, three records each."
    mark = '__' if dunder else ''
    rows = []
    for i, z in enumerate(q.loglik):
        rows.append({f'{mark}doc{mark}': dict(query=f'Q{i}', choices=[f' {"ABCDEF"[j]}' for j in range(len(z))], gold_index=[q.label[i]] if as_list else q.label[i], id=str(i), task_name='toy|0', specific=dict(subject=q.subject[i])),
                     f'{mark}metric{mark}': dict(acc=int(q.acc[i])), f'{mark}model_response{mark}': dict(input=f'Q{i}', logprobs=z + [-1.] * (len(z) if pmi else 0), argmax_logits_eq_gold=[False] * len(z), output_tokens=[[1]] * len(z))})
    pq.write_table(pa.Table.from_pylist(rows), path := folder / 'details_toy|0_2026-01-01T00-00-00.parquet')
    return path, {}


def helm(folder, q, method='multiple_choice_separate_calibrated', perturbation=None, trials=1):
    "HELM 0.5: a folder; null fields are left out. With one token an option the score is its log-probability, in any of the methods that ask for each."
    states, stats = [], []
    for t in range(trials):
        for i, z in enumerate(q.loglik):
            inst = dict(id=f'id{i}', split='test', input=dict(text=f'Q{i}'), references=[dict(output=dict(text=f'option {j}'), tags=['correct'] if j == q.label[i] else []) for j in range(len(z))])
            if perturbation: inst['perturbation'] = dict(name=perturbation)
            def state(inst=inst, t=t, **more): return dict(instance=inst, train_trial_index=t, request=dict(model='m', prompt=''), num_train_instances=0, prompt_truncated=False, num_conditioning_tokens=0) | more
            def result(text, p, tokens): return dict(success=True, cached=False, completions=[dict(text=text, logprob=p, tokens=[dict(text=x, logprob=v) for x, v in tokens])])
            if method == 'multiple_choice_joint':
                letters = {'ABCDEF'[j]: f'option {j}' for j in range(len(z))}
                states.append(state(output_mapping=letters, result=result(f' {"ABCDEF"[q.won[i]]}', z[q.won[i]], [(f' {"ABCDEF"[q.won[i]]}', z[q.won[i]])])))
                own = dict(exact_match=q.acc[i], max_prob=math.exp(z[q.won[i]]))
            else:
                for j, v in enumerate(z):
                    states.append(state(reference_index=j, request_mode='original', result=result('', -9., [('Q', -5.), (' option', 0.), (f' {j}', v)])))
                    if method.endswith('calibrated'): states.append(state(reference_index=j, request_mode='calibration', result=result('', -9., [('Answer', -5.), (' option', 0.), (f' {j}', 0.)])))
                s = np.array(z) / (1 if method.endswith('calibrated') else 2)
                own = dict(exact_match=q.acc[i], predicted_index=q.won[i], max_prob=float(np.exp(s).max() / np.exp(s).sum()))
            stats.append(dict(instance_id=f'id{i}', train_trial_index=t, stats=[dict(name=dict(name=k, split='test'), count=1, sum=v, sum_squared=v * v, min=v, max=v, mean=v, variance=0., stddev=0.) for k, v in own.items()]) | (dict(perturbation=dict(name=perturbation)) if perturbation else {}))
    (folder / 'run').mkdir(exist_ok=True)
    (folder / 'run' / 'scenario_state.json').write_text(json.dumps(dict(adapter_spec=dict(method=method, model='m'), request_states=states)))
    (folder / 'run' / 'per_instance_stats.json').write_text(json.dumps(stats))
    (folder / 'run' / 'run_spec.json').write_text(json.dumps(dict(name='toy:model=m', adapter_spec=dict(method=method))))
    return folder / 'run', {}


# ---- chat models

def token(text, p, top): return dict(token=text, logprob=p, bytes=list(text.encode()), top_logprobs=[dict(token=x, logprob=v, bytes=list(x.encode())) for x, v in top])

def chat_tokens(z, before=(), spell=' {}'):
    "The tokens of an answer by letter, with all letters told."
    letters = [spell.format('ABCDEF'[j]) for j in range(len(z))]
    top = sorted(zip(letters, z, strict=True), key=lambda x: -x[1])
    return [token(x, -.01, [(x, -.01)]) for x in before] + [token(*top[0], top)]

def chat(z, before=()):
    content = chat_tokens(z, before)
    return dict(id='chatcmpl-1', object='chat.completion', model='m', choices=[dict(index=0, message=dict(role='assistant', content=''.join(t['token'] for t in content)), finish_reason='stop', logprobs=dict(content=content, refusal=None))])

def completion(z):
    letters = [f' {"ABCDEF"[j]}' for j in range(len(z))]
    w = int(np.argmax(z))
    return dict(id='cmpl-1', object='text_completion', model='m', choices=[dict(index=0, text=letters[w], finish_reason='length', logprobs=dict(tokens=[letters[w]], token_logprobs=[z[w]], top_logprobs=[dict(zip(letters, z, strict=True))], text_offset=[0]))])

def response(z):
    content = chat_tokens(z)
    return dict(id='resp_1', object='response', model='m', output=[dict(type='reasoning'), dict(type='message', content=[dict(type='output_text', text=content[0]['token'], logprobs=content)])])

def gold(folder, q):
    return lines(folder / 'questions.jsonl', [dict(id=f'q{i}', answer='ABCDEF'[y], choices=[str(j) for j in range(len(z))], subject=s) for i, (z, y, s) in enumerate(zip(q.loglik, q.label, q.subject, strict=True))])

def batch(folder, q, body=chat):
    "The output of OpenAI's batches, with the questions beside it."
    rows = [dict(id=f'batch_req_{i}', custom_id=f'q{i}', response=dict(status_code=200, request_id='r', body=body(z)), error=None) for i, z in enumerate(q.loglik)]
    return lines(folder / 'batch.jsonl', rows), dict(label=gold(folder, q))

def bare(folder, q, body=chat):
    "Responses as they came, one a line."
    return lines(folder / 'replies.jsonl', [body(z) for z in q.loglik]), dict(label=list(q.label), columns=dict(k=max(map(len, q.loglik))))

def sample(q, i):
    z, w = q.loglik[i], q.won[i]
    said = 'ABCDEF'[w]
    content = chat_tokens(z, ('ANSWER', ':'))
    return dict(id=i, epoch=1, input=f'Q{i}', choices=[f'option {j}' for j in range(len(z))], target='ABCDEF'[q.label[i]], messages=[], metadata=dict(subject=q.subject[i]),
                output=dict(model='m', choices=[dict(message=dict(role='assistant', content=f'ANSWER: {said}'), stop_reason='stop', logprobs=dict(content=content))]), scores=dict(choice=dict(value='C' if q.acc[i] else 'I', answer=said, explanation='')))

HEAD = dict(version=2, status='success', eval=dict(task='toy', model='m', run_id='r'))

def inspect_json(folder, q):
    (folder / 'log.json').write_text(json.dumps(HEAD | dict(samples=[sample(q, i) for i in range(len(q))])))
    return folder / 'log.json', {}

def inspect_eval(folder, q, chunked=False, zstd=False):
    "A log of inspect_ai 0.3.285: zip entries, in its own default compressed with zstandard; or a folder for each sample."
    entries = {'_journal/start.json': HEAD, 'header.json': HEAD}
    for i in range(len(q)):
        s = sample(q, i)
        if chunked: entries |= {f'samples/{i}_epoch_1/sample.json': s | dict(metadata={}), f'samples/{i}_epoch_1/metadata.json': s['metadata'], f'samples/{i}_epoch_1/events/0.json': []}
        else: entries[f'samples/{i}_epoch_1.json'] = s
    path = folder / 'log.eval'
    if not zstd:
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
            for name, x in entries.items(): z.writestr(name, json.dumps(x))
    else: zstd_zip(path, {n: json.dumps(x).encode() for n, x in entries.items()})
    return path, {}

def zstd_zip(path, entries):
    "A zip archive of method 93, which Python 3.11 does not write."
    path.write_bytes(zstd_bytes(entries))

def zstd_bytes(entries):
    body, directory = b'', b''
    for name, data in entries.items():
        packed, n = pa.compress(data, 'zstd', asbytes=True), name.encode()
        common = struct.pack('<HHHHHIIIHH', 63, 0, 93, 0, 33, zlib.crc32(data), len(packed), len(data), len(n), 0)
        directory += b'PK\1\2' + struct.pack('<H', 63) + common + struct.pack('<HHHII', 0, 0, 0, 0, len(body)) + n
        body += b'PK\3\4' + common + n + packed
    return body + directory + b'PK\5\6' + struct.pack('<HHHHIIH', 0, 0, len(entries), len(entries), len(directory), len(body), 0)


# ---- tables

def frame(q): return pd.DataFrame(dict(id=[f'{i:03d}' for i in range(len(q))], probs=[[math.exp(v) for v in z] for z in q.loglik], label=q.label, acc=q.acc, subject=q.subject))

def csv(folder, q, sep=','):
    "Graded answers with the scores of the options as text."
    frame(q).assign(probs=[json.dumps([math.exp(v) for v in z]) for z in q.loglik], note='one, "two"\nthree').to_csv(folder / 'table.csv', index=False, sep=sep)
    return folder / 'table.csv', {}

def wide(folder, q):
    "A column for each option, empty where a question has fewer."
    t = pd.DataFrame(q.table, columns=[f'lp_{j}' for j in range(q.table.shape[1])])
    t.assign(qid=[f'{i:03d}' for i in range(len(q))], right=['ABCDEF'[y] for y in q.label], group=q.subject).to_csv(folder / 'wide.tsv', index=False, sep='\t')
    return folder / 'wide.tsv', dict(columns=dict(logits='lp_', label='right', uid='qid', cluster='group'))

def parquet(folder, q):
    frame(q).to_parquet(folder / 'table.parquet')
    return folder / 'table.parquet', {}

def jsonl(folder, q):
    return lines(folder / 'table.jsonl', frame(q).to_dict('records')), {}

def graded(folder, q):
    "A confidence and a grade, and nothing else."
    pd.DataFrame(dict(p_max=[math.exp(max(z)) for z in q.loglik], acc=q.acc, id=range(len(q)), subject=q.subject)).to_csv(folder / 'graded.csv', index=False)
    return folder / 'graded.csv', {}

def saved(folder, q):
    save(from_logits(q.table, np.array(q.label), meta=dict(model='m'), cluster=np.array(q.subject)), folder / 'saved.parquet')
    return folder / 'saved.parquet', {}


WITH_LOGITS = dict( # every option's score comes back
    lm_eval=lm_eval, lighteval=lighteval, lighteval_dunder=lambda f, q: lighteval(f, q, dunder=True), lighteval_pmi=lambda f, q: lighteval(f, q, pmi=True, as_list=True), helm_calibrated=helm,
    batch=batch, batch_completion=lambda f, q: batch(f, q, completion), batch_response=lambda f, q: batch(f, q, response), batch_cot=lambda f, q: batch(f, q, lambda z: chat(z, ('So', ' the', ' answer', ' is', ':'))),
    inspect_json=inspect_json, inspect_eval=inspect_eval, inspect_chunked=lambda f, q: inspect_eval(f, q, chunked=True), inspect_zstd=lambda f, q: inspect_eval(f, q, zstd=True),
    csv=csv, semicolons=lambda f, q: csv(f, q, ';'), wide=wide, parquet=parquet, jsonl=jsonl, saved=saved)
GRADED = dict(helm_joint=lambda f, q: helm(f, q, 'multiple_choice_joint'), helm_original=lambda f, q: helm(f, q, 'multiple_choice_separate_original'), bare=bare, graded=graded)
