"What learned calibrators must refuse, and what they must say."
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
import numpy as np
import torch
from safetensors.torch import save_file
from plcal_study.lm import delta, learned, models, testbed
from plcal_study.lm.examples import Task
from plcal_study.lm.training import Training
from plcal_study.measure.predictions import from_grades, from_logits

@cache
def toy(): return testbed.as_task(testbed.text_world(k=3, bayes_accuracy=.8, length=8, vocab=60, topics=1, seed=0), 24, 40, 24, name='toy')
@cache
def tokenizer(): return testbed.train_tokenizer([*testbed.lexicon(testbed.text_world(k=3, bayes_accuracy=.8, length=8, vocab=60, topics=1, seed=0)), learned.VERBAL['answer']], keep=[*toy().words, 'False', 'True'])
@cache
def clf(): return models.PromptClassifier(models.build('bert', (1, 16, 2), tokenizer(), 'masked'), tokenizer(), toy(), max_length=24)
def head(): return models.HeadClassifier(models.build('bert', (1, 16, 2), tokenizer(), 'classify', n_labels=3), tokenizer(), toy(), max_length=24)
def answers(split='val', wrong=20, n=40):
    "Answers of which the first `wrong` are wrong."
    label = np.arange(n) % 3
    z = np.eye(3)[np.where(np.arange(n) < wrong, (label + 1) % 3, label)]
    return from_logits(z, label, toy()[split].uid[:n], dict(split=split))
def probe(p=None, task=None): return learned.fit_probe(answers() if p is None else p, task or toy(), learned.States(clf()))
def extrinsic(p): return learned.fit_extrinsic(p, toy(), clf(), Training(steps=1))
def soft(): return delta.soft_prompt(models.PromptClassifier(models.build('bert', (1, 16, 2), tokenizer(), 'masked'), tokenizer(), toy(), max_length=24), 2)

def seen_again():
    "A task whose val texts stand in train too, under other names."
    v = toy()['val']
    return Task('toy', dict(train=replace(v, uid=np.char.add('again-', v.uid)), val=v), toy().classes, toy().words, toy().template)

def on(change=lambda path: None, model=None):
    "Load a saved calibrator, after something happened to the file."
    with tempfile.TemporaryDirectory() as d:
        path = learned.save_calibrator(probe(), Path(d) / 'c.safetensors')
        change(path)
        learned.load_calibrator(path, model or clf(), toy())

def words_that_collide():
    "A tokenizer in which False and True are both unknown."
    t = testbed.train_tokenizer(['a b bad good mediocre It was'], keep=['bad', 'good'])
    task = Task('other', {}, ('x', 'y'), ('bad', 'good'), '{a} . It was {m} .')
    learned.judge_view(models.PromptClassifier(models.build('bert', (1, 16, 2), t, 'masked'), t, task, max_length=24), task)

def words_that_share():
    "A tokenizer in which False and True begin with the same piece."
    t = testbed.train_tokenizer(['a b bad good'], kind='bpe', vocab=300)
    models.word_ids(t, ('False', 'Falsehood'))

CASES = [
    ('a test split', lambda: probe(answers('test', n=24)), ValueError, "fitted on split 'val', got 'test'"),
    ('all right', lambda: probe(answers(wrong=0)), ValueError, 'must hold right and wrong answers to fit, got 40 all right'),
    ('all wrong', lambda: extrinsic(answers(wrong=40)), ValueError, 'got 40 all wrong'),
    ('too few errors', lambda: extrinsic(answers(wrong=5)), ValueError, 'at least 8 right and 8 wrong answers, got 35 right and 5 wrong in 40; about 24 more questions'),
    ('too few errors for a probe', lambda: probe(answers(wrong=7)), ValueError, 'got 33 right and 7 wrong'),
    ('training questions', lambda: probe(replace(answers(n=24), uid=toy()['train'].uid)), ValueError, 'must be disjoint, and question'),
    ('training texts under other names', lambda: probe(task=seen_again()), ValueError, 'was trained on under another uid (40 of 40 are)'),
    ('questions of nobody', lambda: probe(replace(answers(), uid=np.arange(40))), ValueError, "has no text for question '0'"),
    ('questions of two splits', lambda: learned.texts_of(toy(), replace(answers(n=2), uid=np.array(['toy-val-0', 'toy-test-0']))), ValueError, "'toy-test-0' is not in the split of 'toy-val-0'"),
    ('answers that are not known', lambda: learned.answers_of(from_grades(np.array([.5]), np.array([True]))), ValueError, 'must know which answer was given'),
    ('a judge of an LSTM', lambda: learned.judge_view(torch.nn.Linear(1, 1), toy()), ValueError, 'PromptClassifier or HeadClassifier, got Linear'),
    ('a judge beside a soft prompt', lambda: learned.judge_view(soft(), toy()), ValueError, 'soft prompt'),
    ('label words that are unknown', words_that_collide, ValueError, "label word 'False' is unknown"),
    ('label words that share a token', words_that_share, ValueError, 'both begin with token'),
    ('P(True) of a new head', lambda: learned.p_true(toy(), head()), ValueError, 'a new head has learned nothing'),
    ('states of nowhere', lambda: learned.States(clf(), 'middle'), ValueError, "where must be 'answer' or 'all', got 'middle'"),
    ('I-method of another kind', lambda: learned.fit_intrinsic(answers(), toy(), clf(), 'joint'), ValueError, "how must be 'iter' or 'simul', got 'joint'"),
    ('half a round', lambda: learned.fit_intrinsic(answers(), toy(), clf(), 'iter', Training(epochs=1.5)), ValueError, 'whole epochs, the rounds of training, got epochs=1.5'),
    ('steps instead of rounds', lambda: learned.fit_intrinsic(answers(), toy(), clf(), 'simul', Training(steps=5)), ValueError, 'and steps=5'),
    ('a calibrator of another model', lambda: on(model=head()), ValueError, 'was fitted for the answers of another model'),
    ('half a file', lambda: on(lambda p: p.write_bytes(p.read_bytes()[:-9])), ValueError, 'is no whole .safetensors file'),
    ('other weights', lambda: on(lambda p: save_file({'w': torch.zeros(2)}, p)), ValueError, 'was not written by save_calibrator'),
    ('no file', lambda: on(lambda p: p.unlink()), FileNotFoundError, 'there is no calibrator file c.safetensors'),
]
