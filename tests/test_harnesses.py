"The reader of lm-evaluation-harness: every spelling of one question gives the same Predictions, and a file that contradicts itself gives none."
import json, os, re
from pathlib import Path
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from plcal_study.measure.harnesses import read_lm_eval
from plcal_study.measure.predictions import pair

CONTEXT = 'Question: which?\nAnswer:'


def record(doc_id, logliks, target, options=None, **more):
    "One line as the harness writes it, graded by the harness's rule."
    options = options or [f' text {i}' for i in range(len(logliks))]
    args = {f'gen_args_{i}': {'arg_0': CONTEXT, 'arg_1': o} for i, o in enumerate(options)}
    return dict(doc_id=doc_id, doc={'answer': '1'}, target=str(target), arguments=args, resps=[[[str(v), 'False']] for v in logliks],
                filtered_resps=[[str(v), 'False'] for v in logliks], filter='none', doc_hash=f'{doc_id:064x}') | more


def write(folder, *records, name='samples_toy_2026-01-01T00-00-00.jsonl'):
    path = folder/name
    path.write_text(''.join(json.dumps(r) + '\n' for r in records), encoding='utf-8')
    return path


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.tuples(st.lists(st.floats(-700, 0), min_size=2, max_size=6), st.integers(0, 5)), min_size=1, max_size=8))
def test_what_was_written_is_what_is_read(tmp_path_factory, rows):
    rows = [(ll, gold % len(ll)) for ll, gold in rows]
    lines = [record(i, ll, gold, acc=float(np.argmax(ll) == gold)) for i, (ll, gold) in enumerate(rows)]
    p = read_lm_eval(write(tmp_path_factory.mktemp('log'), *lines))
    for i, (ll, gold) in enumerate(rows):
        np.testing.assert_array_equal(p.logits[i, :len(ll)], ll)
        assert np.isnan(p.logits[i, len(ll):]).all() and p.label[i] == gold and p.correct[i] == (int(np.argmax(ll)) == gold)
        assert p.scores['loglik'][i] == max(ll)
        assert p.conf[i] == pytest.approx(1 / sum(np.exp(v - max(ll)) for v in ll))


@pytest.mark.parametrize('target', ['2', 'C', 'text 2', ' text 2', '[2]', 2, [2]])
def test_every_spelling_of_the_target_is_one_label(tmp_path, target):
    assert read_lm_eval(write(tmp_path, record(0, [-1, -2, -3], target))).label.tolist() == [2]


def test_lettered_options_are_read_by_their_text(tmp_path):
    "MMLU scores ' A' … ' D', and logs an index; a shuffled list of letters must not be read by the alphabet."
    assert read_lm_eval(write(tmp_path, record(0, [-1, -2], 'B', [' B', ' A']))).label.tolist() == [0]


def test_numbers_and_lists_of_older_files(tmp_path):
    new = record(0, [-1.25, -.5], '1')
    old = new | dict(filtered_resps=[[-1.25, False], [-.5, True]], arguments=[[CONTEXT, ' text 0'], [CONTEXT, ' text 1']], target=1)
    del old['doc_hash']
    a, b = read_lm_eval(write(tmp_path, new)), read_lm_eval(write(tmp_path, old))
    np.testing.assert_array_equal(a.logits, b.logits)
    assert a.label == b.label and b.uid[0].startswith('0:')


def test_mutual_information_is_left_out(tmp_path):
    plain = record(0, [-1., -.5, -2.], '1', acc=1.0)
    args = plain['arguments'] | {f'gen_args_{i + 3}': {'arg_0': '', 'arg_1': f'text {i}'} for i in range(3)}
    pmi = plain | dict(arguments=args, filtered_resps=plain['filtered_resps'] + [['-0.1', 'False'], ['-9', 'False'], ['-9', 'False']], acc_mutual_info=1.0)
    np.testing.assert_array_equal(read_lm_eval(write(tmp_path, pmi)).logits, [[-1., -.5, -2.]])
    args['gen_args_5'] = {'arg_0': '', 'arg_1': 'another'}
    with pytest.raises(ValueError, match='different halves'): read_lm_eval(write(tmp_path, pmi))
    del pmi['acc_mutual_info'], args['gen_args_5']
    with pytest.raises(ValueError, match='5 options and 6 scores'): read_lm_eval(write(tmp_path, pmi))


def test_options_in_the_context_need_a_label(tmp_path):
    "As in WinoGrande: one continuation, which is also the target."
    line = record(0, [-1., -2.], 'was empty', [' was empty', ' was empty'])
    with pytest.raises(ValueError, match='options stand in the context'): read_lm_eval(write(tmp_path, line))
    assert read_lm_eval(write(tmp_path, line), label=lambda r: int(r['doc']['answer']) - 1).label.tolist() == [0]


def test_impossible_options_and_ties(tmp_path):
    p = read_lm_eval(write(tmp_path, record(0, ['-inf', -1.], '1', acc=1.0), record(1, [-1., -1.], '1', acc=0.0)))
    assert p.correct.tolist() == [True, False] and p.conf.tolist() == [1., .5] # the first of equals is the answer, as in the harness


def test_one_filter_of_several(tmp_path):
    path = write(tmp_path, record(0, [-1, -2], 0), record(0, [-2, -1], 0, filter='maj'))
    assert read_lm_eval(path, filter='maj').correct.tolist() == [False]
    with pytest.raises(ValueError, match=re.escape("only of ['maj', 'none']")): read_lm_eval(path, filter='no')


def test_two_models_pair_only_on_the_same_questions(tmp_path):
    a, b = [record(i, [-1, -2], 0) for i in range(3)], [record(i, [-2, -1], 0) for i in (2, 0, 1)]
    x, y = pair(read_lm_eval(write(tmp_path, *a)), read_lm_eval(write(tmp_path, *b, name='samples_b_2.jsonl')))
    assert x.uid.tolist() == y.uid.tolist() and x.correct.all() and not y.correct.any()
    other = read_lm_eval(write(tmp_path, *(r | dict(doc_hash='f' * 64) for r in a), name='samples_other_2.jsonl'))
    with pytest.raises(ValueError, match='same questions'): pair(x, other)


def test_coordinates(tmp_path):
    path = write(tmp_path, record(0, [-1, -2], 0), name='samples_my_task_of_two_2026-01-01.jsonl')
    def found(**more): return {k: v for k, v in read_lm_eval(path, quiet=True, **more).meta.items() if k != 'read'}
    assert found() == dict(source='lm-evaluation-harness', task='my_task_of_two')
    results = {'model_name': 'm', 'n-shot': {'my_task_of_two': 5}, 'versions': {'my_task_of_two': 1.0}, 'lm_eval_version': '0.4.13', 'task_hashes': {}}
    (tmp_path/'results_2026-01-01.json').write_text(json.dumps(results))
    meta = found(split='test', shots=3)
    assert meta == dict(source='lm-evaluation-harness', task='my_task_of_two', model='m', shots=3, task_version=1.0, source_version='0.4.13', split='test')
    (tmp_path/'results_2026-01-01.json').write_text('{')
    with pytest.raises(ValueError, match='not a results file'): read_lm_eval(path)


def test_a_blank_line_is_nothing_and_a_cut_one_is_an_error(tmp_path):
    path = write(tmp_path, record(0, [-1, -2], 0))
    whole = path.read_text()
    path.write_text(whole + '\n\n')
    assert len(read_lm_eval(path)) == 1
    path.write_text(whole + whole[:40])
    with pytest.raises(ValueError, match='line 2: not JSON'): read_lm_eval(path)


def test_a_real_file_gives_back_its_own_grades_and_probabilities():
    "160 questions run through lm-evaluation-harness 0.4.13; its brier_score holds the softmax to 8 digits."
    folder = Path(os.environ.get('PLCAL_DATA', '../shared/data')).parent/'references'/'lm_eval_samples'
    if not (files := sorted(folder.glob('samples_toyqa_*.jsonl'))): pytest.skip(f'no lm_eval_samples beside the data folder ({folder})')
    p = read_lm_eval(files[0])
    rows = [json.loads(t) for t in files[0].read_text(encoding='utf-8').splitlines()]
    assert len(p) == len(rows) == 160 and p.meta['task'] == 'toyqa' and p.meta['shots'] == 2 and p.meta['source_version'] == '0.4.13'
    assert p.correct.tolist() == [r['acc'] == 1.0 for r in rows] and p.label.tolist() == [r['doc']['answer'] for r in rows]
    theirs = np.array([[float(v) for v in r['brier_score'][1].strip('[]').split()] for r in rows])
    np.testing.assert_allclose(p.probs, theirs, atol=1e-7, rtol=0)
    onehot = np.eye(4)[p.label]
    results = json.loads(next(folder.glob('results_*.json')).read_text())['results']['toyqa']
    assert ((p.probs - onehot)**2).sum(1).mean() == pytest.approx(results['brier_score,none'], rel=1e-9)


def test_a_file_that_contradicts_itself_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'\.jsonl, line 2: acc is 1\.0, but option 0 has the largest'):
        read_lm_eval(write(tmp_path, record(0, [-1, -2], 0, acc=1.0), record(1, [-1, -2], 1, acc=1.0)))
    with pytest.raises(ValueError, match='reads as option 0, but the harness took 1'):
        read_lm_eval(write(tmp_path, record(0, [-1, -2], 0, f1=[1, 0])))
