"Worlds that cannot be, and texts that are of no world, with what the message must say."
from functools import cache
import numpy as np
from plcal_study.lm.testbed import as_task, corpus, new_topic, pair_world, reframe, shift_covariate, shift_prior, text_world, train_tokenizer

@cache
def W(): return text_world(k=2, length=6, vocab=20, topics=1, bayes_accuracy=.7)

@cache
def P(): return pair_world()

def pair(a, b): return P().posterior([a], [b])
def fact(i=0, j=0): return f'{P().entities[i]} is {P().values[j]}'
def sure(i=0, j=0): return f'{P().hedges[0]} {fact(i, j)}'

CASES = [
    ('text_world: below chance',         lambda: text_world(k=4, bayes_accuracy=.2), ValueError, 'bayes_accuracy must be in [0.25, 1), got 0.2'),
    ('text_world: below the prior',      lambda: text_world(k=2, prior=[.9, .1], bayes_accuracy=.8), ValueError, 'bayes_accuracy must be in [0.9, 1)'),
    ('text_world: certainty',            lambda: text_world(bayes_accuracy=1.), ValueError, 'got 1.0'),
    ('text_world: percent',              lambda: text_world(bayes_accuracy=85), ValueError, 'got 85'),
    ('text_world: NaN',                  lambda: text_world(bayes_accuracy=np.nan), ValueError, 'got nan'),
    ('text_world: out of reach',         lambda: text_world(k=2, bayes_accuracy=.99, length=1), ValueError, 'make them longer'),
    ('text_world: too few words',        lambda: text_world(k=10, vocab=40), ValueError, 'vocab must be at least 80 for 10 classes and 4 topics'),
    ('text_world: one class',            lambda: text_world(k=1), ValueError, 'k must be at least 2'),
    ('text_world: no topics',            lambda: text_world(topics=0), ValueError, 'topics must be at least 1'),
    ('text_world: no length',            lambda: text_world(length=0), ValueError, 'length must be at least 1'),
    ('text_world: length backwards',     lambda: text_world(length=(9, 3)), ValueError, 'length must be (smallest, largest)'),
    ('text_world: prior too short',      lambda: text_world(k=3, prior=[.5, .5]), ValueError, 'prior must be 3 probabilities'),
    ('text_world: prior sums to 2',      lambda: text_world(k=2, prior=[1, 1]), ValueError, 'sum to 1, got [1.0, 1.0]'),
    ('text_world: negative prior',       lambda: text_world(k=2, prior=[1.5, -.5]), ValueError, 'prior must be 2 probabilities'),
    ('sample: none',                     lambda: W().sample(0), ValueError, 'n must be at least 1, got 0'),
    ('posterior: a foreign word',        lambda: W().posterior(['xylophone']), ValueError, "the word 'xylophone' is not of this world"),
    ('posterior: an empty text',         lambda: W().posterior([W().words[0], '']), ValueError, 'text 1 is empty'),
    ('posterior: no texts',              lambda: W().posterior([]), ValueError, 'at least one text'),
    ('posterior: words of a new topic',  lambda: W().posterior(new_topic(W()).sample(50).a), ValueError, 'ask the world that made it'),
    ('posterior: one string for many',   lambda: W().posterior('xy'), ValueError, "the word 'x'"),
    ('shift_prior: sums to less',        lambda: shift_prior(W(), [.5, .4]), ValueError, 'prior must be 2 probabilities'),
    ('shift_prior: pairs, two classes',  lambda: shift_prior(P(), [.5, .5]), ValueError, 'prior must be 3 probabilities'),
    ('shift_prior: a class from nothing', lambda: shift_prior(shift_prior(P(), [.5, .5, 0]), [.4, .3, .3]), ValueError, 'prior must be 0 for class contradiction'),
    ('shift_covariate: negative',        lambda: shift_covariate(W(), -1), ValueError, 'strength must be a number of at least 0'),
    ('shift_covariate: NaN',             lambda: shift_covariate(P(), np.nan), ValueError, 'got nan'),
    ('pair_world: below chance',         lambda: pair_world(.3), ValueError, 'bayes_accuracy must be in (1/3, 1]'),
    ('pair_world: above 1',              lambda: pair_world(1.1), ValueError, 'got 1.1'),
    ('pair_world: NaN',                  lambda: pair_world(np.nan), ValueError, 'got nan'),
    ('pair_world: noise too unequal',    lambda: pair_world(.5), ValueError, 'more equal noise'),
    ('pair_world: negative noise',       lambda: pair_world(noise=(-1, 2)), ValueError, 'noise must be one level of at least 0'),
    ('pair_world: no noise levels',      lambda: pair_world(noise=()), ValueError, 'noise must be one level'),
    ('pair_world: all silent',           lambda: pair_world(noise=(0, 0)), ValueError, 'not all 0'),
    ('pair_world: shortcut above 1',     lambda: pair_world(shortcut=2), ValueError, 'shortcut must be in [0, 1]'),
    ('pair_world: shortcut, two hedges', lambda: pair_world(shortcut=.5, noise=(1, 2)), ValueError, 'a hedge for each of the three relations, got 2'),
    ('pair_world: nobody left out',      lambda: pair_world(entities=3, facts=3), ValueError, 'entities must be at least 4, got 3'),
    ('pair_world: one value',            lambda: pair_world(values=1), ValueError, 'values must be at least 2'),
    ('pair_world: no facts',             lambda: pair_world(facts=0), ValueError, 'facts must be at least 1'),
    ('pair_world: no hypotheses',        lambda: pair_world(per_premise=0), ValueError, 'per_premise must be at least 1'),
    ('pairs: sample of none',            lambda: P().sample(0), ValueError, 'n must be at least 1'),
    ('pairs: lengths differ',            lambda: P().posterior([fact()], []), ValueError, 'got 1 and 0'),
    ('pairs: none',                      lambda: P().posterior([], []), ValueError, 'at least one, got 0 and 0'),
    ('pairs: foreign entity',            lambda: pair('dax is blik', sure()), ValueError, "the entity 'dax' is not of this world"),
    ('pairs: foreign value',             lambda: pair(f'{P().entities[0]} is blik', sure()), ValueError, "the value 'blik'"),
    ('pairs: foreign hedge',             lambda: pair(fact(), f'surely {fact()}'), ValueError, "the first word 'surely'"),
    ('pairs: no fact',                   lambda: pair('what', sure()), ValueError, "a fact must read 'entity is value', got 'what'"),
    ('pairs: an entity twice',           lambda: pair(f'{fact(0, 0)} , {fact(0, 1)}', sure()), ValueError, 'must not speak twice of an entity'),
    ('as_task: a shift named test',      lambda: as_task(W(), 5, 5, 5, shifts=dict(test=W())), ValueError, "a shift must not be named 'test'"),
    ('as_task: a negative count',        lambda: as_task(W(), -5, 5, 5), ValueError, 'n must be at least 1, got -5'),
    ('corpus: no words',                 lambda: corpus(W(), 0), ValueError, 'n_tokens must be at least 1'),
    ('corpus: named above 1',            lambda: corpus(W(), 9, named=20), ValueError, 'named must be a share in [0, 1], got 20'),
    ('train_tokenizer: unknown kind',    lambda: train_tokenizer(['a'], kind='unigram'), ValueError, "kind must be 'word' or 'bpe', got 'unigram'"),
    ('train_tokenizer: no mask',         lambda: train_tokenizer(['a'], special=dict(pad='<pad>', unk='<unk>')), ValueError, 'special must name a token for cls, sep, mask'),
    ('train_tokenizer: label word splits', lambda: train_tokenizer(['aa bb'] * 9, vocab=270, kind='bpe', keep=['business']), ValueError, "the word 'business' is not one token in a vocabulary of 270"),
    ('train_tokenizer: label word cut off', lambda: train_tokenizer(['a b c d'] * 9, vocab=10, keep=['business']), ValueError, "the word 'business' is not one token"),
    ('train_tokenizer: unknown frame',   lambda: train_tokenizer(['a'], frame='gpt'), ValueError, 'frame must be one of cls, eos, bos, none'),
    ('reframe: unknown frame',           lambda: reframe(train_tokenizer(['a']), 'bert'), ValueError, "got 'bert'"),
]
