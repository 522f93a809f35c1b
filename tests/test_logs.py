"The readers of other tools' logs: what was written comes back, what is guessed is said, and no file, however broken, gives another error than one that names it."
import copy, json, math, re, time
from dataclasses import replace
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
import log_files
from log_files import GRADED, WITH_LOGITS, questions
from plcal_study.measure import records, responses
from plcal_study.measure.logs import FORMATS, format_of, read_log
from plcal_study.measure.predictions import from_logits, pair, save, select

FEW = settings(deadline=None, max_examples=12, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def some(draw):
    "Questions of two to six options, with clear winners."
    n = draw(st.integers(3, 7))
    return questions(n, draw(st.integers(0, 999)), draw(st.sampled_from([(2,), (4,), (2, 3, 6)])), draw(st.sampled_from([.5, .9, .999999])))


# ---- what was written is what is read

@pytest.mark.parametrize('name', WITH_LOGITS)
@FEW
@given(q=some())
def test_what_was_written_is_what_is_read(tmp_path_factory, name, q):
    path, how = WITH_LOGITS[name](tmp_path_factory.mktemp('log'), q)
    p = read_log(path, quiet=True, **how)
    assert len(p) == len(q)
    p = order(p, name)
    np.testing.assert_array_equal(p.label, q.label)
    np.testing.assert_array_equal(p.correct, np.array(q.acc) == 1)
    share = p.probs[:, :q.table.shape[1]]
    want = np.exp(q.table) / np.nansum(np.exp(q.table), 1, keepdims=True)
    np.testing.assert_allclose(np.where(np.isnan(want), 0, share), np.nan_to_num(want), atol=1e-9)
    np.testing.assert_allclose(p.conf, np.nanmax(want, 1), atol=1e-9)
    if p.cluster is not None: assert p.cluster.tolist() == q.subject
    else: assert name.startswith('helm')
    if 'off_option_mass' in p.scores: np.testing.assert_allclose(p.scores['off_option_mass'], 1 - np.nansum(np.exp(q.table), 1), atol=1e-9)

def order(p, name):
    "Rows in the order of the questions: the last number in a name."
    number = [int(re.search(r'\d+', str(u))[0]) for u in p.uid]
    return select(p, np.argsort(number, kind='stable'))

@pytest.mark.parametrize('name', GRADED)
@FEW
@given(q=some())
def test_confidence_and_grade_come_back(tmp_path_factory, name, q):
    path, how = GRADED[name](tmp_path_factory.mktemp('log'), q)
    p = order(read_log(path, quiet=True, **how), name)
    np.testing.assert_array_equal(p.correct, np.array(q.acc) == 1)
    best = np.array([max(np.exp(z)) for z in q.loglik])
    if name in ('helm_joint', 'graded'): np.testing.assert_allclose(p.conf, best, atol=1e-12)
    if name == 'helm_original': np.testing.assert_allclose(p.conf, [max(np.exp(np.array(z) / 2)) / sum(np.exp(np.array(z) / 2)) for z in q.loglik], atol=1e-12) # the mean of two tokens, of which one is certain
    if name == 'bare': assert (p.scores['conf_lo'] <= best / [sum(np.exp(z)) for z in q.loglik] + 1e-9).all() and (p.scores['conf_hi'] >= p.conf - 1e-9).all()

def test_a_data_set_and_a_data_frame(tmp_path):
    datasets = pytest.importorskip('datasets', reason='the language-model part is not installed')
    q = questions(8)
    frame = log_files.frame(q)
    data = datasets.Dataset.from_pandas(frame).shuffle(seed=1).select(range(6))
    a, b = read_log(frame, quiet=True), read_log(data, quiet=True)
    assert b.uid.tolist() == data['id'] and b.label.tolist() == data['label'] # the rows that are chosen, in their order, and not those on disk
    np.testing.assert_allclose(b.conf, a.conf[[int(u) for u in b.uid]])
    with pytest.raises(ValueError, match="must be one split, got 'test'"): read_log(datasets.DatasetDict(test=data))
    np.testing.assert_array_equal(read_log(pa.Table.from_pandas(frame), quiet=True).conf, a.conf)

def test_the_same_answers_in_different_logs_pair(tmp_path):
    q = questions(6)
    (tmp_path / 'a').mkdir(); (tmp_path / 'b').mkdir()
    a, b = (read_log(make(tmp_path / f, q)[0], quiet=True) for f, make in (('a', log_files.csv), ('b', log_files.jsonl)))
    x, y = pair(a, b)
    np.testing.assert_allclose(x.conf, y.conf)


# ---- what is said

def test_what_was_taken_is_said_and_kept(tmp_path, capsys):
    p = read_log(log_files.lm_eval(tmp_path, questions())[0], model='m')
    said = capsys.readouterr().err
    read = p.meta['read']
    assert read['format'] == 'lm-eval' and read['rows'] == 6 and read['skipped'] == 0 and read['cluster'] == 'doc.subject, 2 values' and 'acc' in read['correct']
    assert said.count('\n') == 1 and all(x in said for x in ('6 answers', read['conf'], read['correct'], read['cluster'], read['uid']))
    json.dumps(p.meta)
    read_log(log_files.lm_eval(tmp_path, questions())[0], quiet=True)
    assert capsys.readouterr().err == ''

def test_what_is_left_out_is_counted_with_reasons(tmp_path, capsys):
    path, _ = log_files.lm_eval(tmp_path, questions(8))
    text = path.read_text().splitlines()
    text[2], text[4] = text[2][:40], json.dumps({k: v for k, v in json.loads(text[4]).items() if k != 'arguments'})
    path.write_text('\n'.join(text))
    with pytest.raises(ValueError, match=r'line 3: not JSON'): read_log(path)
    p = read_log(path, skip_bad=True)
    assert len(p) == 6 and p.meta['read']['skipped'] == 2 and sum(p.meta['read']['reasons'].values()) == 2
    said = capsys.readouterr().err
    assert 'left out 2 of 8 rows' in said and 'line 3: not JSON' in said

def test_a_contradiction_is_never_skipped(tmp_path):
    path, _ = log_files.lm_eval(tmp_path, questions(8))
    text = [json.loads(x) for x in path.read_text().splitlines()]
    text[5]['acc'] = 1 - text[5]['acc']
    log_files.lines(path, text)
    with pytest.raises(ValueError, match=r'line 6: acc is'): read_log(path, skip_bad=True)

@pytest.mark.parametrize('how', [dict(), dict(skip_bad=True)])
def test_a_table_that_contradicts_its_grade(how):
    q = questions(6)
    frame = log_files.frame(q)
    frame.loc[3, 'acc'] = 1 - frame.loc[3, 'acc']
    with pytest.raises(ValueError, match=r'row 3 .from 0.: correct \(acc\) is'): read_log(frame, **how)
    assert read_log(frame, columns=dict(correct=None), quiet=True).correct.tolist() == [a == 1 for a in q.acc]

@pytest.mark.parametrize('scores', [dict(probs=[[.6, .4], [.3, .7]]), dict(logits=np.log([[.6, .4], [.3, .7]]).tolist())])
def test_a_confidence_that_nobody_named_must_be_that_of_the_scores(scores):
    "Two confidences in one table: which is meant is asked, and both answers work."
    t = pd.DataFrame(dict(scores, label=[0, 1], confidence=[.6, .95]))
    with pytest.raises(ValueError, match=r"row 1 .from 0.: 'confidence' is 0.95, but the largest probability of the options is 0.7.*columns=\{'conf': 'confidence'\}.*columns=\{'conf': None\}"): read_log(t, skip_bad=True, quiet=True)
    assert read_log(t, columns=dict(conf='confidence'), quiet=True).conf.tolist() == [.6, .95]
    np.testing.assert_allclose(read_log(t, columns=dict(conf=None), quiet=True).conf, [.6, .7])
    assert read_log(t.assign(confidence=[.6004, .7]), quiet=True).conf.tolist() == [.6004, .7], 'a rounded one is that'

def test_bad_values_of_tables_are_named_by_their_line(tmp_path):
    (tmp_path / 'a.csv').write_text('conf,correct,why\n.5,1,"a\nb"\n.6,2,x\n1.5,1,x\n,1,x\n.7,0,x\n')
    with pytest.raises(ValueError, match=r'a\.csv, line 4: correct \(correct\) must hold 0 and 1'): read_log(tmp_path / 'a.csv')
    p = read_log(tmp_path / 'a.csv', skip_bad=True, quiet=True)
    assert p.conf.tolist() == [.5, .7] and p.meta['read']['skipped'] == 3
    log_files.lines(tmp_path / 'a.jsonl', [dict(conf=.5, correct=1), dict(conf='x', correct=1), dict(conf=.5, correct=[1])])
    with pytest.raises(ValueError, match=r'a\.jsonl, line 2: conf \(conf\) must lie in'): read_log(tmp_path / 'a.jsonl')
    assert len(read_log(tmp_path / 'a.jsonl', skip_bad=True, quiet=True)) == 1

def test_ids_stay_as_they_are_written(tmp_path):
    (tmp_path / 'a.csv').write_text('id,conf,correct\n007,.5,1\n7,.5,1\n2026-01-01,.5,0\nNA,.5,0\n')
    assert read_log(tmp_path / 'a.csv', quiet=True).uid.tolist() == ['007', '7', '2026-01-01', 'NA']
    log_files.lines(tmp_path / 'a.jsonl', [dict(id='2026-01-01', conf=.5, correct=True), dict(id='2026-01-02', conf=.5, correct=True)])
    assert read_log(tmp_path / 'a.jsonl', quiet=True).uid.tolist() == ['2026-01-01', '2026-01-02']


def test_tasks_without_scores_of_options_are_named(tmp_path, capsys):
    "One task of two tells no scores of all options: those of the other are left out, and it is said which lacks them."
    from plcal_study.measure.logs import _together
    from plcal_study.measure.records import Reading
    art, law = (read_log(log_files.lm_eval(tmp_path, questions(6))[0], quiet=True) for _ in range(2))
    assert 'logits' not in _together(dict(art=art, law=law), Reading('run', 'lm-eval', quiet=True), {}, True).meta['read']
    p = _together(dict(art=art, law=replace(law, logits=None, label=None)), Reading('run', 'lm-eval'), {}, True)
    assert p.logits is None and p.meta['read']['logits'] == 'left out: of law not all are told' and 'scores of the options: left out: of law' in capsys.readouterr().err

def test_a_cluster_that_nobody_named_is_a_guess(tmp_path):
    for task in ('art', 'law'):
        (tmp_path / task).mkdir()
        text = log_files.lm_eval(tmp_path / task, questions(6))[0].read_text()
        (tmp_path / f'samples_{task}_2026-01-01T00-00-00.000000.jsonl').write_text(text)
    assert read_log(tmp_path, quiet=True).meta['read']['guessed'] == ['cluster']
    assert 'guessed' not in read_log(tmp_path, columns=dict(cluster='task'), quiet=True).meta['read']
    one = tmp_path / 'samples_art_2026-01-01T00-00-00.000000.jsonl'
    assert read_log(one, quiet=True).meta['read']['guessed'] == ['cluster'] and 'guessed' not in read_log(one, columns=dict(cluster='subject'), quiet=True).meta['read']


# ---- which of several

def test_several_answers_to_a_question(tmp_path):
    t = pd.DataFrame(dict(id=[1, 1, 2, 2], seed=[0, 1, 0, 1], conf=[.5, .6, .7, .8], correct=[1, 0, 1, 0]))
    with pytest.raises(ValueError, match=r"differ in 'seed': choose rows by filter='seed=…'"): read_log(t)
    assert read_log(t, filter='seed=1', quiet=True).conf.tolist() == [.6, .8]
    assert read_log(t, columns=dict(uid=['id', 'seed']), quiet=True).uid.tolist() == ['1:0', '1:1', '2:0', '2:1']

def test_epochs_scorers_trials_and_perturbations(tmp_path):
    q = questions(4)
    path, _ = log_files.inspect_json(tmp_path, q)
    log = json.loads(path.read_text())
    log['samples'] += [s | dict(epoch=2) for s in copy.deepcopy(log['samples'])]
    path.write_text(json.dumps(log))
    with pytest.raises(ValueError, match=r"filter='epoch=1'"): read_log(path)
    assert len(read_log(path, filter='epoch=2', quiet=True)) == 4
    for s in log['samples']: s['scores']['other'] = dict(value=.5)
    path.write_text(json.dumps(log))
    with pytest.raises(ValueError, match=r"several scorers, choice, other"): read_log(path, filter='epoch=1')
    assert len(read_log(path, filter='epoch=1, scorer=choice', quiet=True)) == 4
    run, _ = log_files.helm(tmp_path, q, trials=2)
    with pytest.raises(ValueError, match=r"filter='trial=0'"): read_log(run)
    assert len(read_log(run, filter='trial=1', quiet=True)) == 4
    run, _ = log_files.helm(tmp_path, q, perturbation='typos')
    assert len(read_log(run, quiet=True)) == 4

def test_a_folder_of_tasks_of_one_run(tmp_path):
    for name, seed in (('mmlu_law', 1), ('mmlu_art', 2)):
        (tmp_path / name).mkdir()
        path, _ = log_files.lm_eval(tmp_path / name, questions(4, seed))
        path.rename(tmp_path / path.name.replace('toy', name))
    p = read_log(tmp_path, quiet=True)
    assert p.cluster.tolist() == ['mmlu_art'] * 4 + ['mmlu_law'] * 4 and p.meta['tasks'] == ['mmlu_art', 'mmlu_law'] and p.logits is not None
    one = read_log(next(tmp_path.glob('samples_mmlu_law*')), quiet=True)
    np.testing.assert_array_equal(p.conf[4:], one.conf)
    assert read_log(tmp_path, filter='task=*law', quiet=True).cluster.tolist() == one.cluster.tolist() # one file alone is read by itself


# ---- what the likeliest tokens bound

def test_letters_that_are_not_told_are_bounded(tmp_path):
    "The truth lies between the bounds whichever letters a server leaves out."
    rng = np.random.default_rng(0)
    for _ in range(40):
        p = rng.dirichlet(np.ones(6)) # four letters, two other tokens
        names = [' A', ' B', ' C', ' D', ' the', '\n']
        known = sorted(range(6), key=lambda j: -p[j])[:rng.integers(2, 6)]
        if p[:4].argmax() not in known: continue
        wrote = int(p[:4].argmax())
        body = dict(choices=[dict(message=dict(content=names[wrote]), logprobs=dict(content=[log_files.token(names[wrote], math.log(p[wrote]), [(names[j], math.log(p[j])) for j in known] + [('x', -9999.)])]))])
        got = read_log(log_files.lines(tmp_path / 'a.jsonl', [body]), label=[0], columns=dict(k=4), quiet=True)
        truth = p[wrote] / p[:4].sum()
        assert got.scores['conf_lo'][0] <= truth + 1e-9 and got.scores['conf_hi'][0] >= truth - 1e-9
        assert got.scores['conf_lo'][0] - 1e-5 <= got.conf[0] <= got.scores['conf_hi'][0] + 1e-5
        told = sum(p[j] for j in known if j < 4)
        assert got.scores['missing'][0] == 4 - sum(j < 4 for j in known) and got.scores['off_option_mass'][0] == pytest.approx(1 - told)

def test_the_bounds_are_those_by_which_an_endpoint_is_asked():
    api = pytest.importorskip('plcal_study.lm.api', reason='the language-model part is not installed')
    from plcal_study.measure.responses import letter_scores
    rng = np.random.default_rng(1)
    for _ in range(50):
        k, n = int(rng.integers(2, 6)), int(rng.integers(2, 8))
        names = list(rng.permutation([' A', 'A', ' B', 'B', ' C', ' D', ' the', 'x', ' E'])[:n])
        p = rng.dirichlet(np.ones(n + 1))[:n]
        floor = float(np.log(p.min()))
        theirs = api.letters_of([(x, float(np.log(v))) for x, v in zip(names, p, strict=True)], k, floor)
        try: z, s = letter_scores([(x.encode(), float(np.log(v))) for x, v in zip(names, p, strict=True)], k, floor)
        except ValueError: assert theirs.missing == k; continue
        np.testing.assert_allclose(z, theirs.logits)
        assert all(s[f] == pytest.approx(float(getattr(theirs, f))) for f in ('conf_lo', 'conf_hi', 'off_option_mass', 'missing', 'undecided'))

def test_spellings_of_a_letter_are_one(tmp_path):
    content = [log_files.token('A', math.log(.3), [('A', math.log(.3)), (' B', math.log(.2)), ('B', math.log(.2)), ('(B', math.log(.05)), (' A', math.log(.1))])]
    body = dict(choices=[dict(message=dict(content='A'), logprobs=dict(content=content))])
    p = read_log(log_files.lines(tmp_path / 'a.jsonl', [body]), label=['B'], columns=dict(k=2), quiet=True)
    assert p.correct.all() and p.conf[0] == pytest.approx(.45 / .85) and p.scores['wrote_another'][0] == 1

def told(text):
    "A reply, a token a word, and a token of their own for marks."
    from plcal_study.measure.responses import Told
    tokens = [x.encode() for x in re.findall(r' ?\w+|\s|[^\w\s]', text)]
    return Told(text, tokens, [-.1] * len(tokens), [[(x, -.1)] for x in tokens])

@pytest.mark.parametrize('text, letter', [
    ('I think the answer is B', 'B'), ('A good choice: the answer is C', 'C'), ('A good choice. Answer: D', 'D'), ('B', 'B'), ('I', 'I'), ('A', 'A'), (' A.', 'A'), ('(B) it is', 'B'), ('**C** because', 'C'),
    ('B\nThe rest is wrong', 'B'), ('B) so answer A is wrong', 'B'), ('C, I think', 'C'), ('The answer is a hard one. Answer: B.', 'B'), ("I'd say no more than this: the answer is B", 'B'), ("'B'", 'B'), ('Answer: B\nThe answer is C', 'C'), ('A: not so. The answer is B', 'B')])
def test_the_letter_is_where_the_reply_says_it(text, letter):
    from plcal_study.measure.responses import letters_told
    wrote, z, _ = letters_told(told(text), 10)
    assert chr(65 + wrote) == letter == chr(65 + z.argmax())

@pytest.mark.parametrize('text', ['I think so', 'A good choice', 'A été là', "I'd say so", 'A-levels, perhaps', 'the answer is a\u00a0matter of taste', 'I am not sure which answer is a good one', 'No idea'])
def test_the_words_A_and_I_are_no_letters(text):
    from plcal_study.measure.responses import letters_told
    with pytest.raises(ValueError, match='must name one of the letters A to J'): letters_told(told(text), 10)

def test_the_word_I_makes_no_ninth_option(tmp_path):
    body = dict(choices=[dict(message=dict(content='I say: answer is B'), logprobs=dict(content=[log_files.token(x, math.log(.9), [(x, math.log(.9))]) for x in ('I', ' say', ': answer is', ' B')]))])
    assert read_log(log_files.lines(tmp_path / 'a.jsonl', [body]), label=['B'], quiet=True).logits.shape == (1, 2)

def test_a_batch_names_what_failed(tmp_path):
    q = questions(4)
    path, how = log_files.batch(tmp_path, q)
    rows = [json.loads(x) for x in path.read_text().splitlines()]
    rows[1]['response'] = dict(status_code=500, body=dict(error='busy'))
    rows[2] |= dict(response=None, error=dict(code='expired'))
    log_files.lines(path, rows)
    with pytest.raises(ValueError, match=r'line 2: the request failed with status 500'): read_log(path, **how)
    assert len(read_log(path, skip_bad=True, quiet=True, **how)) == 2


# ---- speed

@pytest.mark.parametrize('kind', ['csv', 'parquet', 'list'])
def test_a_million_rows_of_a_table(tmp_path, kind):
    "Three seconds of one core are the aim; twice that is allowed for here, where others work too."
    n, rng = 10**6, np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), n)
    y = rng.integers(0, 3, n)
    t = pa.table(dict(id=pc_text(np.arange(n)), conf=p.max(1), correct=(p.argmax(1) == y).astype(int), subject=pa.array(rng.integers(0, 57, n)).cast(pa.string())))
    if kind == 'list': t = t.drop_columns(['conf']).append_column('probs', pa.FixedSizeListArray.from_arrays(pa.array(p.ravel()), 3)).append_column('label', pa.array(y))
    path = tmp_path / ('a.csv' if kind == 'csv' else 'a.parquet')
    if kind == 'csv':
        import pyarrow.csv
        pyarrow.csv.write_csv(t, path)
    else: pq.write_table(t, path)
    start = time.process_time()
    got = read_log(path, quiet=True)
    spent = time.process_time() - start
    assert len(got) == n and got.cluster is not None and spent < 6, f'{spent:.1f} s'

def pc_text(x): return pa.compute.binary_join_element_wise(pa.array(['q'] * len(x)), pa.array(x).cast(pa.string()), '')


# ---- which format

def test_every_format_is_known_by_what_is_in_it(tmp_path):
    want = dict(lm_eval='lm-eval', lighteval='lighteval', lighteval_dunder='lighteval', helm_calibrated='helm', batch='openai', batch_response='openai', inspect_json='inspect', inspect_eval='inspect', csv='csv', wide='tsv', parquet='parquet', jsonl='jsonl', saved='plcal')
    for name, format in want.items():
        (tmp_path / name).mkdir()
        assert format_of(WITH_LOGITS[name](tmp_path / name, questions(4))[0]) == format, name
    assert set(want.values()) == set(FORMATS)
    assert format_of(log_files.bare(tmp_path, questions(4))[0]) == 'openai'

def test_a_log_under_another_name(tmp_path):
    path, _ = log_files.lm_eval(tmp_path, questions(4))
    path = path.rename(tmp_path / 'renamed.json')
    assert len(read_log(path, quiet=True)) == 4
    with pytest.raises(FileNotFoundError): read_log(tmp_path / 'none.csv')

def test_measure_reads_data_sets_without_loading_the_library():
    import subprocess, sys
    out = subprocess.run([sys.executable, '-c', "import plcal_study.measure.logs, sys; print('datasets' in sys.modules)"], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'False'


# ---- what mutants of the code have shown to be untested

def test_a_subject_of_all_rows_or_of_one_each_is_no_cluster(tmp_path):
    for subject in (['law'] * 6, list('abcdef')):
        q = questions(6)
        q.subject = subject
        assert read_log(log_files.lm_eval(tmp_path, q)[0], quiet=True).cluster is None
        assert read_log(log_files.csv(tmp_path, q)[0], quiet=True).cluster is None

def test_lines_are_right_after_a_row_was_left_out(tmp_path):
    (tmp_path / 'a.csv').write_text('conf,correct\n.5,1\n.6\n.7,0\n3,1\n')
    p = read_log(tmp_path / 'a.csv', skip_bad=True, quiet=True)
    assert p.conf.tolist() == [.5, .7] and p.meta['read']['skipped'] == 2
    from plcal_study.measure.records import Reading
    from plcal_study.measure.tables import _csv
    t = _csv(tmp_path / 'a.csv', Reading('a.csv', 'csv', skip_bad=True))
    t.load(['conf'], set())
    assert [t.place(i) for i in range(3)] == ['line 2', 'line 4', 'line 5']

def test_a_damaged_entry_of_a_zip_archive_is_named(tmp_path):
    path, _ = log_files.inspect_eval(tmp_path, questions(4), zstd=True)
    raw = bytearray(path.read_bytes())
    at = raw.index(b'samples/0', raw.index(b'PK\1\2')) - 30 # the checksum of the first sample, in the directory
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match='samples/0_epoch_1.json.*is damaged'): read_log(path)

def test_ties_of_helm_are_graded_by_the_first(tmp_path):
    q = questions(1)
    q.loglik, q.label = [[-1., -1.]], [0]
    run, _ = log_files.helm(tmp_path, q)
    stats = json.loads((run / 'per_instance_stats.json').read_text())
    for s in stats[0]['stats']:
        if s['name']['name'] == 'exact_match': s['mean'] = .5 # HELM gives a part of a point
    (run / 'per_instance_stats.json').write_text(json.dumps(stats))
    assert read_log(run, quiet=True).correct.tolist() == [True]

def test_two_runs_in_a_folder_are_not_mixed(tmp_path):
    path, _ = log_files.lm_eval(tmp_path, questions(4))
    (tmp_path / 'samples_toy_2026-02-02.jsonl').write_text(path.read_text())
    with pytest.raises(ValueError, match='files of 2 runs'): read_log(tmp_path)

@pytest.mark.parametrize('first', [[None, '1'], [None, None], [None, .5, .25]])
def test_a_null_at_the_head_of_the_first_list_shifts_nothing(tmp_path, first):
    "Arrow's JSON reader loses it, and then every list holds the values of the one before."
    rows = [dict(id='a', v=first), dict(id='b', v=first[1:] * 2), dict(id='c', v=first)]
    (f := tmp_path / 'x.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))
    from plcal_study.measure.tables import read_columns
    assert [r if isinstance(r['v'], list) else r | dict(v=json.loads(r['v'])) for r in read_columns(f)] == rows


# ---- what `python benchmarks/mutation.py` found that nothing else noticed

def test_a_confidence_and_a_grade_that_are_named_are_all_that_is_read():
    t = pd.DataFrame(dict(id=['a', 'b', 'c'], probs=[[.9, .1], [.2, .8], [.6, .4]], label=[1, 0, 1], p_max=[.5, .6, .7], acc=[1, 0, 1]))
    p = read_log(t, columns=dict(conf='p_max', correct='acc'), quiet=True)
    assert p.logits is None and p.conf.tolist() == [.5, .6, .7] and p.correct.tolist() == [True, False, True]

@pytest.mark.parametrize('without', ['label', 'probs'])
def test_a_grade_stands_where_scores_or_the_right_option_are_not_told(without):
    t = pd.DataFrame(dict(id=['a', 'b', 'c'], probs=[[.9, .1], [.2, .8], [.6, .4]], label=[0, 1, 0], conf=[.9, .8, .6], acc=[0, 1, 0])).drop(columns=without)
    assert read_log(t, columns=dict(correct='acc', conf='conf'), quiet=True).correct.tolist() == [False, True, False]

def test_a_row_without_a_name_is_called_by_its_number_and_a_named_cluster_is_said():
    t = pd.DataFrame(dict(conf=[.5, .6, .7], acc=[1, 0, 1], book=['x', 'y', 'x']))
    read = read_log(t, columns=dict(cluster='book'), quiet=True).meta['read']
    assert read['uid'].startswith('the row number') and read['cluster'] == 'book'
    assert read_log(t.rename(columns=dict(book='subject')), quiet=True).meta['read']['cluster'] == 'subject, 2 values'

def test_two_fields_that_group_alike_are_one_cluster():
    fields = [dict(subject=s, category={'law': 'ZZ', 'art': 'AA'}[s]) for s in ('law', 'art', 'law')]
    assert records.subjects(fields, None, reading := records.Reading('x', 'inspect')) == ['law', 'art', 'law'] and reading.took['cluster'] == 'subject, 2 values'
    assert records.subjects(fields, dict(cluster='category'), reading) == ['ZZ', 'AA', 'ZZ'] and reading.took['cluster'] == 'category, 2 values'
    with pytest.raises(ValueError, match='could both be the cluster'): records.subjects([dict(subject=s, topic=t) for s, t in ('ax', 'ay', 'bx')], None, reading)

@pytest.mark.parametrize('reasons, ends', [(3, ''), (4, '; …')])
def test_the_three_commonest_reasons_are_told(reasons, ends, capsys):
    r = records.Reading('log.csv', 'csv', took=dict(conf='p'), skipped={f'reason {i}': i for i in range(1, reasons + 1)}, first='line 2: x')
    n = sum(range(1, reasons + 1))
    top = '; '.join(f'{i} × reason {i}' for i in range(reasons, reasons - 3, -1))
    said = records.announced(r, 5)
    assert said == ['plcal_study: log.csv: 5 answers, read as csv; confidence: p', f'plcal_study: log.csv: left out {n} of {n + 5} rows: {top}{ends} (the first is line 2: x)']
    records.finished(r, {}, uid=np.array(['a']), correct=np.array([True]), conf=np.array([.5]))
    assert len(capsys.readouterr().err.splitlines()) == 2

@pytest.mark.parametrize('method', ['multiple_choice_joint', 'multiple_choice_separate_calibrated'])
def test_splits_of_helm_can_be_clusters(tmp_path, method):
    folder, _ = log_files.helm(tmp_path, questions(4), method)
    log = json.loads((f := folder / 'scenario_state.json').read_text())
    for s in log['request_states']: s['instance']['sub_split'] = f"part {int(s['instance']['id'][2:]) % 2}"
    f.write_text(json.dumps(log))
    p = read_log(folder, columns=dict(cluster='sub_split'), quiet=True)
    assert p.cluster.tolist() == ['part 0', 'part 1'] * 2 and p.meta['read']['cluster'] == 'sub_split, 2 values' and p.meta['read']['label'] == 'references tagged correct'

def test_options_of_one_letter_in_an_older_log_have_mass_beside_them(tmp_path):
    q = questions(3)
    path, _ = log_files.lm_eval(tmp_path, q)
    old = [json.loads(x) for x in path.read_text().splitlines()]
    for r in old: r['arguments'] = [[a['arg_0'], a['arg_1']] for a in r['arguments'].values()]
    p = read_log(log_files.lines(path, old), quiet=True)
    np.testing.assert_allclose(p.scores['off_option_mass'], [1 - sum(map(math.exp, z)) for z in q.loglik], atol=1e-12)

@pytest.mark.parametrize('x', [math.nan, True, '-1'])
def test_a_logprob_that_is_no_number(x):
    with pytest.raises(ValueError, match='a logprob must be a number'): responses._nats(x)

def test_the_last_letter_is_an_option_too(tmp_path):
    reply = log_files.chat([-.5])
    content = reply['choices'][0]['logprobs']['content'] = [log_files.token(' Z', -.1, [(' Z', -.1), (' A', -3.)])]
    reply['choices'][0]['message']['content'] = content[0]['token']
    p = read_log(log_files.lines(tmp_path / 'replies.jsonl', [reply, reply]), label=[25, 0], quiet=True)
    assert p.correct.tolist() == [True, False]
    assert read_log(log_files.lines(tmp_path / 'replies.jsonl', [reply]), label=[0], quiet=True).meta['read']['options'].startswith('A to Z,')

def test_a_sample_without_an_epoch_is_of_the_first(tmp_path):
    path, _ = log_files.inspect_json(tmp_path, questions(4))
    log = json.loads(path.read_text())
    del log['samples'][1]['epoch']
    path.write_text(json.dumps(log))
    assert len(read_log(path, quiet=True)) == 4

def test_formats_are_told_by_what_only_they_have(tmp_path):
    assert format_of(log_files.bare(tmp_path, questions(2), log_files.response)[0]) == 'openai'
    table = log_files.lines(tmp_path / 'answers.jsonl', [dict(id=i, response=dict(text='x'), conf=.5, correct=1) for i in range(3)])
    assert format_of(table) == 'jsonl'
    path, _ = log_files.lm_eval(tmp_path, questions(2))
    path.write_text('{"broken": \n[1, 2]\n' + path.read_text())
    assert format_of(path) == 'lm-eval'

def test_a_filter_holds_for_every_file_of_a_folder(tmp_path):
    for task in ('law', 'art'):
        (tmp_path / task).mkdir()
        path, _ = log_files.lm_eval(tmp_path / task, questions(3))
        rows = [json.loads(x) for x in path.read_text().splitlines()]
        log_files.lines(tmp_path / f'samples_{task}_2026-01-01T00-00-00.000000.jsonl', [r | dict(filter=f) for r in rows for f in ('none', 'strict')])
    assert len(read_log(tmp_path, filter='strict', quiet=True)) == 6

def test_what_was_guessed_is_known_after_it_was_saved(tmp_path):
    first = read_log(log_files.graded(tmp_path, questions(4))[0], quiet=True)
    assert 'cluster' in first.meta['read']['guessed'] and {'conf', 'correct'} & set(first.meta['read']['guessed'])
    save(first, tmp_path / 'kept.parquet')
    again = read_log(tmp_path / 'kept.parquet', quiet=True).meta['read']
    assert again['guessed'] == [k for k in first.meta['read']['guessed'] if k != 'cluster'] and again['conf'] == first.meta['read']['conf'] and again['cluster'] == 'as saved'
    save(from_logits([[1., 0]], [0]), tmp_path / 'own.parquet')
    own = read_log(tmp_path / 'own.parquet', quiet=True).meta['read']
    assert (own['conf'], own['correct']) == ('as saved', 'as saved') and not {'guessed', 'cluster'} & own.keys()

def test_what_was_taken_for_the_label_is_said(tmp_path):
    path, _ = log_files.lighteval(tmp_path, questions(3))
    assert read_log(path, quiet=True).meta['read']['label'] == 'doc.gold_index'
    assert read_log(path, label=lambda r: r['doc']['gold_index'], quiet=True).meta['read']['label'] == 'label='

def test_predictions_say_in_a_line_what_they_are():
    p = from_logits([[1., 0, 0], [0, 1, 0]], [0, 2], meta={f'm{i}': i for i in range(8)} | dict(nest={}))
    assert repr(p) == f'Predictions({", ".join(f"m{i}={i}" for i in range(7))}, …: n = 2, k = 3, accuracy 0.500, mean confidence {p.conf.mean():.3f})'
    assert repr(replace(p, logits=None, label=None, meta=dict(m=1))) == f'Predictions(m=1: n = 2, accuracy 0.500, mean confidence {p.conf.mean():.3f})'
