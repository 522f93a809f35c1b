"Learned calibrators: what they learn where something is to be learned, what they leave alone, and that they come back the same."
from copy import deepcopy
from dataclasses import replace
from functools import partial
import numpy as np
import pytest
import torch
from scipy.special import expit
from plcal_study.lm import delta, learned, models, testbed
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.lm.extraction import fingerprint
from plcal_study.lm.training import Training, predict, train
from plcal_study.measure.metrics import auroc, brier_top
from plcal_study.measure.predictions import from_logits, select

QUICK = Training(lr=1e-3, epochs=3)

@pytest.fixture(scope='module')
def marked():
    "A task in which a word of the text, and nothing in the scores, tells whether an answer is right; a model that knows its words; and the answers."
    rng = np.random.default_rng(0)
    words = np.array('ba be bi bo bu da de di do du'.split())
    def split(name, n):
        good = rng.random(n) < .6
        texts = [' '.join(rng.permutation([*rng.choice(words, 6), 'sure' if g else 'odd'])) for g in good]
        return Examples(np.array([f'{name}-{i}' for i in range(n)]), np.array(texts, object), rng.integers(0, 3, n), extra=dict(good=good))
    task = Task('marked', dict(train=split('train', 60), val=split('val', 240), test=split('test', 400)), ('x', 'y', 'z'), ('xi', 'yi', 'zi'), '{a} . It was {m} .')
    tokenizer = testbed.train_tokenizer([' '.join([*words, 'sure', 'odd', 'It', 'was', '.']), learned.VERBAL['answer']], keep=[*task.words, 'False', 'True'])
    clf = models.PromptClassifier(models.build('bert', (2, 32, 2), tokenizer, 'masked', seed=1), tokenizer, task, max_length=24)
    train(clf, replace(task['train'], label=task['train'].extra['good'].astype(int)), Training(lr=2e-3, epochs=6)) # it has the word in mind
    def answered(name, says=lambda e: e.extra['good']):
        e = task[name]
        right, z = says(e), rng.normal(size=(len(e), 3)) + 3 * np.eye(3)[rng.integers(0, 3, len(e))]
        label = np.where(right, z.argmax(1), (z.argmax(1) + 1) % 3)
        return from_logits(z, label, e.uid, dict(split=name, task='marked'))
    return task, clf, answered


def test_where_correctness_is_a_function_of_the_text_each_calibrator_beats_the_msp(marked):
    task, clf, answered = marked
    val, test, states = answered('val'), answered('test'), learned.States(clf)
    fits = {'E-MLP': lambda: learned.fit_probe(val, task, states), 'E-PLM': lambda: learned.fit_extrinsic(val, task, clf, replace(QUICK, epochs=5)),
            'E-lora': lambda: learned.fit_extrinsic(val, task, clf, Training(lr=1e-2, epochs=8), balance=False, tune=partial(delta.lora, rank=4))}
    for name, fit in fits.items():
        q = fit()(test)
        assert brier_top(q.conf, q.correct) < brier_top(test.conf, test.correct) - .1, name
        assert auroc(q.conf, q.correct) > .8 > .6 > auroc(test.conf, test.correct), name
        np.testing.assert_array_equal(q.correct, test.correct)

def test_where_nothing_can_be_learned_a_probe_stays_at_the_base_rate(marked):
    task, clf, answered = marked
    rng = np.random.default_rng(3)
    val, test = (answered(s, lambda e: rng.random(len(e)) < .7) for s in ('val', 'test'))
    q = learned.fit_probe(val, task, learned.States(clf))(test)
    base = np.full(len(test), val.correct.mean())
    assert brier_top(q.conf, q.correct) < brier_top(base, test.correct) + .01
    assert abs(q.conf.mean() - val.correct.mean()) < .03

def test_grades_are_what_is_learned(marked):
    "With the grades of `val` turned round a judge ranks the other way: it does not read them off the answer itself."
    task, clf, answered = marked
    val, test = answered('val'), answered('test')
    wrong = replace(val, correct=~val.correct, scores=dict(option=val.logits.argmax(1).astype(float)), logits=None, label=None)
    q = learned.fit_probe(wrong, task, learned.States(clf))(test)
    assert auroc(q.conf, q.correct) < .2

@pytest.mark.parametrize('how', ['iter', 'simul'])
def test_an_intrinsic_judge_answers_anew_and_learns_both(marked, how):
    task, clf, answered = marked
    val, test, before = answered('val'), answered('test'), fingerprint(clf.model)
    j = learned.fit_intrinsic(val, task, clf, how, Training(lr=2e-3, epochs=10))
    q = j(test)
    assert j.intrinsic and fingerprint(clf.model) == before
    np.testing.assert_array_equal(q.scores['option'], predict(j.twin, task['test']).argmax(1))
    np.testing.assert_array_equal(q.correct, q.scores['option'] == task['test'].label)
    good = task['test'].extra['good']
    assert q.conf[good].mean() > q.conf[~good].mean() + .2
    assert j.saw['trained_on'] == 60 and j.saw['used'] == 2 * min(val.correct.sum(), (~val.correct).sum())

def test_the_number_of_steps_is_that_of_the_source(marked):
    "I-Iter: rounds of both sets; I-Simul: rounds of the longer one."
    task, clf, answered = marked
    val, cfg = answered('val'), Training(lr=1e-4, epochs=2)
    used = 2 * min(val.correct.sum(), (~val.correct).sum())
    batches = {'judge': -(-used // 16), 'task': -(-60 // 16)}
    assert learned.fit_intrinsic(val, task, clf, 'iter', cfg).saw['steps'] == 2 * sum(batches.values())
    assert learned.fit_intrinsic(val, task, clf, 'simul', cfg).saw['steps'] == 2 * max(batches.values())
    assert learned.fit_extrinsic(val, task, clf, cfg).saw['steps'] == 2 * batches['judge']

def test_both_losses_weigh_the_same_however_many_rows_each_has(marked):
    task, clf, answered = marked
    both = learned.Both(clf, learned.judge_view(clf, task))
    own, judged = clf.encode(take(task['train'], slice(6))), both.views['judge'].encode(learned.questions(take(task['val'], slice(2)), np.zeros(2, int), task, np.array([True, False])))
    @torch.no_grad()
    def mean(view, rows): s, n = view.loss(**view.collate(rows)); return float(s) / n
    mixed = [both.row(0, task=r) for r in own] + [both.row(0, judge=r) for r in judged]
    with torch.no_grad(): s, n = both.loss(**both.collate(mixed))
    assert float(s) / n == pytest.approx(mean(clf, own) + mean(both.views['judge'], judged), abs=1e-5)

def test_by_turns_the_judged_answers_come_first_and_the_task_last(marked):
    task, clf, _ = marked
    both = learned.Both(clf, learned.judge_view(clf, task))
    own, judged = clf.encode(take(task['train'], slice(3))), both.views['judge'].encode(learned.questions(take(task['val'], slice(2)), np.zeros(2, int), task, np.array([True, False])))
    kinds = {r['stage']: {k.split('.')[0] for k in r if '.' in k} for r in learned._iter_rows(both, own, judged, 2)}
    assert kinds == {0: {'judge'}, 1: {'task'}, 2: {'judge'}, 3: {'task'}}

def test_i_vanilla_is_the_judge_with_its_own_answers(marked):
    task, clf, answered = marked
    j = learned.fit_extrinsic(answered('val'), task, clf, QUICK)
    own = learned.intrinsic(j)
    assert not j.intrinsic and own.twin is j.twin and own.view is j.view
    np.testing.assert_array_equal(own(answered('test')).scores['option'], predict(j.twin, task['test']).argmax(1))

def test_the_model_that_is_judged_is_never_changed(marked):
    task, clf, answered = marked
    before = deepcopy(clf.model.state_dict())
    val = answered('val')
    learned.fit_extrinsic(val, task, clf, QUICK)(answered('test'))
    learned.fit_extrinsic(val, task, clf, QUICK, tune=partial(delta.lora, rank=2))
    learned.fit_probe(val, task, learned.States(clf))
    learned.p_true(task, clf)(answered('test'))
    assert all(torch.equal(v, before[k]) for k, v in clf.model.state_dict().items())

def test_states_are_read_once_and_do_not_depend_on_the_company(marked, monkeypatch):
    task, clf, _ = marked
    s, alone, read = learned.States(clf), learned.States(clf, batch_tokens=1), []
    whole = learned._states
    monkeypatch.setattr(learned, '_states', lambda states, e: read.append(len(e)) or whole(states, e))
    h = s(task['test'])
    np.testing.assert_allclose(h[7:12], alone(take(task['test'], slice(7, 12))), atol=1e-5)
    np.testing.assert_array_equal(s(take(task['test'], [3, 1]))[0], h[3])
    assert read == [400, 5]

def test_all_positions_are_those_of_the_row_and_nothing_behind_it(marked):
    task, clf, _ = marked
    e = take(task['test'], slice(4))
    e = replace(e, a=np.array([' '.join(a.split()[:3 + i]) for i, a in enumerate(e.a)], object)) # of four lengths
    h = learned.States(clf, 'all')(e).reshape(4, 24, 32)
    for row, states in zip(clf.encode(e), h, strict=True):
        n = len(row['input_ids'])
        ours = models.hidden(clf.model, input_ids=torch.tensor([row['input_ids']]))[0]
        np.testing.assert_allclose(states[:n], ours.detach(), atol=1e-5)
        assert not states[n:].any()

@pytest.mark.parametrize('d', [3, 40, 90])
def test_the_ridge_is_the_penalised_optimum_and_its_left_out_loss_close_to_the_true_one(d):
    rng = np.random.default_rng(d)
    x, n = np.c_[rng.normal(size=(60, d)), np.ones(60)], 60
    y = expit(x[:, 0]) > rng.random(60)
    w, loss = learned._ridge(x, y, 3., np.zeros(d + 1))
    np.testing.assert_allclose(x.T @ (expit(x @ w) - y) + np.r_[np.full(d, 3.), 0] * w, 0, atol=1e-6)
    out = [x[i] @ learned._ridge(np.delete(x, i, 0), np.delete(y, i), 3., w)[0] for i in range(n)]
    assert abs(np.logaddexp(0, np.where(y, -np.array(out), out)).mean() - loss) < .02

def test_more_columns_than_rows_change_nothing_but_the_way():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 50))
    z, back = learned._directions(x)
    assert z.shape == (20, 20)
    w = rng.normal(size=20)
    np.testing.assert_allclose(x @ (back @ w), z @ w, atol=1e-10)

def test_the_source_shuffles_grades_against_confidences(marked):
    task, clf, answered = marked
    val, test = answered('val'), answered('test')
    q = learned.fit_probe(val, task, learned.States(clf))(test)
    m = learned.misaligned(q)
    np.testing.assert_array_equal(np.sort(m.conf), np.sort(q.conf))
    assert abs(auroc(m.conf, m.correct) - .5) < .1 < auroc(q.conf, q.correct) - .5
    assert m.meta['method'] == 'E-MLP+misaligned'

def test_balance_keeps_the_order_and_the_first():
    correct = np.array([1, 0, 1, 1, 0, 0, 0], bool)
    np.testing.assert_array_equal(learned.balanced(correct, 3), [0, 1, 2, 3, 4, 5])

@pytest.mark.parametrize('name, what', [('sst2', 'sentiment'), ('offensive', 'toxicity'), ('yahoo', 'topic'), ('mnli', 'relationship between the two sentences'), ('toy', 'answer')])
def test_every_task_has_its_words(name, what):
    t = Task(name, {}, ('a', 'b'), ('good', 'bad'))
    q = learned.questions(Examples(np.array(['1']), np.array(['text'], object), None), np.array([1]), t)
    assert q.b[0] == f'The predicted {what} is bad .' and q.extra['answer'][0] == 'bad' and learned.VERBAL[what].count('{answer}') == 1

def test_the_question_of_the_source_is_kept_to_the_space():
    assert learned.VERBAL['topic'].startswith('Sentence: {a} The predicted topic is {answer} Is the') # no period
    assert learned.VERBAL['relationship between the two sentences'].startswith(' Given the two sentences: {a} The')

@pytest.mark.parametrize('family, kind', [('bert', 'masked'), ('roberta', 'masked'), ('t5', 'seq2seq'), ('gpt_neox', 'causal'), ('llama', 'causal'), ('bert', 'classify')])
def test_every_family_can_be_probed_and_judged(family, kind):
    "Fit, use, save, load, for models of each form."
    task = testbed.as_task(testbed.text_world(k=2, bayes_accuracy=.8, length=6, vocab=40, topics=1, seed=0), 20, 40, 20, name='toy')
    task = replace(task, template='{a} . It was {m}')
    frame = dict(bert='cls', roberta='cls', t5='eos', gpt_neox='none', llama='bos')[family]
    tokenizer = testbed.train_tokenizer([*task['train'].a, *task['val'].a, 'It was .', learned.VERBAL['answer']], keep=[*task.words, 'False', 'True'], frame=frame)
    model = models.build(family, (1, 16, 2), tokenizer, kind, **(dict(n_labels=2) if kind == 'classify' else {}))
    clf = (models.HeadClassifier if kind == 'classify' else models.PromptClassifier)(model, tokenizer, task, max_length=24)
    rng = np.random.default_rng(0)
    def graded(s): return from_logits(predict(clf, task[s]), rng.integers(0, 2, len(task[s])), task[s].uid, dict(split=s))
    val, test = graded('val'), graded('test')
    for c in (learned.fit_probe(val, task, learned.States(clf)), learned.fit_extrinsic(val, task, clf, Training(steps=2)), learned.fit_intrinsic(val, task, clf, 'simul', Training(epochs=1))):
        q = c(test)
        assert len(q) == 20 and (q.conf > 0).all() and (q.conf < 1).all() and q.meta['method'] == c.name

def test_saved_and_loaded_is_the_same_to_the_bit_and_leaves_its_model_alone(marked, tmp_path):
    task, clf, answered = marked
    val, test, before = answered('val'), answered('test'), fingerprint(clf.model)
    made = [learned.fit_probe(val, task, learned.States(clf, 'all')), learned.fit_extrinsic(val, task, clf, QUICK), learned.fit_extrinsic(val, task, clf, QUICK, tune=partial(delta.adapter, bottleneck=2)),
            learned.fit_intrinsic(val, task, clf, 'iter', Training(lr=1e-3, epochs=1))]
    for i, c in enumerate(made):
        again = learned.load_calibrator(learned.save_calibrator(c, tmp_path / f'{i}.safetensors'), clf, task)
        np.testing.assert_array_equal(again(test).conf, c(test).conf)
        assert again.saw == c.saw and again.name == c.name
    assert fingerprint(clf.model) == before

def test_a_calibrator_says_what_it_saw(marked):
    task, clf, answered = marked
    val = answered('val')
    saw = learned.fit_extrinsic(val, task, clf, QUICK).saw
    assert (saw['n'], saw['right'], saw['wrong'], saw['split'], saw['task'], saw['model']) == (240, val.correct.sum(), (~val.correct).sum(), 'val', 'marked', fingerprint(clf.model))

def test_another_task_gives_the_texts_of_a_shifted_set(marked):
    task, clf, answered = marked
    c = learned.fit_probe(answered('val'), task, learned.States(clf))
    far = replace(take(task['test'], slice(5)), uid=np.array([f'far-{i}' for i in range(5)]))
    p = replace(select(answered('test'), np.arange(5)), uid=far.uid)
    with pytest.raises(ValueError, match="no text for question 'far-0'"): c(p)
    assert len(c.on(replace(task, splits=dict(task.splits) | dict(far=far)))(p)) == 5
