"The upper layers on stored states are the whole model."
from copy import deepcopy
import numpy as np
import pytest
import torch
from plcal_study.lm import frozen, learned, models, testbed
from plcal_study.lm.training import Training, predict, train

TASKS = dict(one=testbed.as_task(testbed.text_world(k=2, bayes_accuracy=.8, length=6, vocab=40, topics=1, seed=0), 20, 20, 20), pair=testbed.as_task(testbed.pair_world(seed=0), 20, 20, 20))

def whole(task, family='bert', keep=None):
    tokenizer = testbed.train_tokenizer([*task['train'].a, *(task['train'].b if task['train'].b is not None else []), learned.VERBAL['answer']])
    clf = models.HeadClassifier(models.build(family, (4, 16, 2), tokenizer, 'classify', n_labels=len(task.classes)), tokenizer, task, max_length=40)
    return clf if keep is None else frozen.upper(clf, keep, task)

@pytest.mark.parametrize('family', ['bert', 'roberta'])
@pytest.mark.parametrize('keep', [1, 3])
@pytest.mark.parametrize('task', TASKS.values(), ids=list(TASKS))
def test_the_scores_are_those_of_the_whole_model(family, keep, task):
    np.testing.assert_allclose(predict(whole(task, family, keep), task['test']), predict(whole(task, family), task['test']), atol=1e-5)

def test_training_moves_the_upper_layers_as_it_would_with_the_lower_ones_frozen():
    "The same steps on the whole model, its lower part frozen and without dropout."
    task, cfg = TASKS['one'], Training(lr=1e-2, steps=5, dropout='off')
    a, b = whole(task, keep=2), whole(task)
    for n, p in b.model.named_parameters(): p.requires_grad_(not ('embeddings' in n or 'layer.0.' in n or 'layer.1.' in n))
    train(a, task['train'], cfg); train(b, task['train'], cfg)
    np.testing.assert_allclose(predict(a, task['test']), predict(b, task['test']), atol=1e-4)

def test_each_text_passes_once(monkeypatch):
    task, seen = TASKS['one'], []
    clf = whole(task, keep=2)
    read = frozen.Lower._read
    monkeypatch.setattr(frozen.Lower, '_read', lambda self, keys, pad: seen.append(len(keys)) or read(self, keys, pad))
    for _ in range(3): predict(deepcopy(clf), task['test'])
    assert seen == [len({a for a in task['test'].a})]

def test_what_is_read_later_does_not_move_what_was_read_before():
    task = TASKS['pair']
    clf = whole(task, keep=1)
    before = predict(clf, task['test'])
    predict(clf, task['train'])
    np.testing.assert_array_equal(predict(clf, task['test']), before)

def test_a_second_head_reads_the_same_states():
    task = TASKS['one']
    clf = whole(task, keep=2)
    view = learned.judge_view(clf, task)
    assert type(view) is frozen.UpperClassifier and view.model.bert is clf.model.bert
    q = learned.questions(task['test'], np.zeros(20, int), task)
    assert predict(view, q).shape == (20, 2)

def test_padding_is_never_looked_at():
    task = TASKS['one']
    clf = whole(task, keep=2)
    rows = clf.encode(task['test'])
    lower = clf.model.bert.embeddings.lower
    with torch.no_grad():
        before = clf(**{k: v for k, v in clf.collate(rows).items() if k != 'label'})
        lower.table[0] = 99.
        after = clf(**{k: v for k, v in clf.collate(rows).items() if k != 'label'})
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)
