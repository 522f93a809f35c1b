"What extraction must refuse, with what the message must say; run by the one shared test."
import functools, tempfile
from pathlib import Path
import numpy as np
import torch
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.lm.extraction import How, add_p_true, estimate, extract, open_model, position_bias, read_permuted, rotated
from plcal_study.lm.models import build, save
from plcal_study.lm.prompts import Prompt, ask
from plcal_study.lm.scoring import Scorer
from plcal_study.lm.testbed import reframe, train_tokenizer
from plcal_study.measure.predictions import from_grades, from_logits

WORDS = 'the a cat dog house red on sat A B C D Question Answer : . ?'.split()
QUIZ = Examples(['x', 'y', 'z'], ['the cat sat on', 'a dog', 'the red house'], [0, 1, 0], options=[('a house', 'the dog'), ('a', 'red', 'cat'), ('cat', 'dog')])
CLOZE = Examples(['x', 'y'], ['the cat sat on', 'the dog sat on'], None, extra=dict(answer=['a house', 'a cat']))
PLAIN = Examples(['x', 'y'], ['the cat sat on', 'a red house'], None)

@functools.cache
def tok(frame='none'): return reframe(train_tokenizer([' '.join(WORDS)], keep=WORDS, frame='none'), frame)

@functools.cache
def scorer(family='gpt_neox', kind='causal', frame='none', **kw): return Scorer(build(family, (1, 16, 2), tok(), kind, **kw), tok(frame))

def run(e=QUIZ, mode='letters', s=None, how=extract, classes=(), **kw):
    return how(s or scorer(), Task('quiz', dict(test=e), classes), mode, **(dict(progress=False) if how is extract else {}) | kw)

def options(*own): return Examples([str(i) for i in range(len(own))], ['the cat'] * len(own), [0] * len(own), options=list(own))

def chat():
    "A chat template that is there."
    t = reframe(tok(), 'none')
    t.chat_template = "{{ messages[0]['content'] }}"
    return Scorer(scorer().model, t)

def broken(value):
    m = build('gpt_neox', (1, 16, 2), tok(), 'causal')
    with torch.no_grad(): m.get_output_embeddings().weight.fill_(value)
    return Scorer(m, tok())

def letters_in_two():
    "Bytes: the letter after a space is a space and a letter."
    t = train_tokenizer([''], 300, kind='bpe', frame='none')
    return Scorer(build('gpt_neox', (1, 16, 2), t, 'causal'), t)

def in_folder(first, then):
    "What is said of a folder that holds another extraction."
    with tempfile.TemporaryDirectory() as d:
        run(out=d, **first)
        return run(out=d, **then)

def opened(kind=None, family='gpt_neox', n=None, **kw):
    "What is said of a model in a folder, or of a folder without one."
    with tempfile.TemporaryDirectory() as d:
        if kind: save(build(family, (1, 16, 2), tok(), kind, n_labels=n), tok(), Path(d) / 'm')
        else: (Path(d) / 'm').mkdir()
        return extract(Path(d) / 'm', Task('quiz', dict(test=QUIZ)), progress=False, **kw)

def no_answer(): return from_grades(np.ones(3), np.ones(3), QUIZ.uid)

CASES = [
    ('How: unknown mode',                 lambda: run(mode='guess'), ValueError, 'mode must be one of letters, options, answer, permuted, cloze, tokens, got \'guess\''),
    ('How: unknown prompt',               lambda: run(prompt='third'), ValueError, "no prompt is named 'third'; there are: first, second"),
    ('How: no tokens to write',           lambda: run(mode='answer', max_tokens=0), ValueError, 'max_tokens must be a whole number of at least 1, got 0'),
    ('How: half a token',                 lambda: run(mode='answer', max_tokens=2.5), ValueError, 'max_tokens must be a whole number of at least 1, got 2.5'),
    ('How: window of nothing',            lambda: run(PLAIN, 'tokens', window=0), ValueError, 'window must be a whole number of at least 2, got 0'),
    ('How: window of one',                lambda: How(window=1), ValueError, 'window must be a whole number of at least 2, got 1'),
    ('How: half a window',                lambda: How(window=2.5), ValueError, 'window must be a whole number of at least 2, got 2.5'),
    ('How: no stride',                    lambda: run(PLAIN, 'tokens', stride=0), ValueError, 'stride must be a whole number of at least 1, got 0'),
    ('How: true is no stride',            lambda: How(stride=True), ValueError, 'stride must be a whole number of at least 1, got True'),
    ('How: p_true of tokens',             lambda: run(PLAIN, 'tokens', p_true=True), ValueError, "p_true asks about an option that was chosen, in mode letters, options or answer; got mode 'tokens'"),
    ('How: p_true of all orders',         lambda: How(mode='permuted', p_true=True), ValueError, "got mode 'permuted'"),
    ('tokens: stride of the window',      lambda: run(PLAIN, 'tokens', window=4, stride=4), ValueError, 'stride must be from 1 to 3, one less than the window, got 4'),
    ('tokens: window of the model',       lambda: run(PLAIN, 'tokens', scorer(max_position_embeddings=6), window=7), ValueError, 'window must be at most 6, what the model reads, got 7'),
    ('tokens: a masked model',            lambda: run(PLAIN, 'tokens', scorer('bert', 'masked', 'cls')), ValueError, 'only a causal model predicts every next token'),
    ('tokens: nothing to predict',        lambda: run(Examples(['1'], [''], None), 'tokens'), ValueError, 'no text has a token after the first, so nothing can be predicted'),
    ('letters: no labels',                lambda: run(Examples(['1'], ['the'], None, options=[('a', 'red')])), ValueError, 'task quiz has no labels, so its answers cannot be graded'),
    ('options: no labels',                lambda: run(Examples(['1'], ['the'], None, options=[('a', 'red')]), 'options'), ValueError, 'task quiz has no labels'),
    ('answer: no labels',                 lambda: run(Examples(['1'], ['the'], None, options=[('a', 'red')]), 'answer'), ValueError, 'task quiz has no labels'),
    ('letters: no options',               lambda: run(Examples(['1'], ['the'], [0])), ValueError, 'task quiz, split test: prompt \'plain\' shows options, and example 1 has none'),
    ('options: no options',               lambda: run(PLAIN, 'options'), ValueError, "question 'x' of task quiz has 0 options, and at least two are needed; use mode 'cloze' for statements"),
    ('letters: one option',               lambda: run(options(('cat', 'dog'), ('cat',))), ValueError, "question '1' of task quiz has 1 options, and at least two are needed"),
    ('options: one option',               lambda: run(options(('cat',)), 'options'), ValueError, "question '0' of task quiz has 1 options"),
    ('answer: one option',                lambda: run(options(('cat',)), 'answer'), ValueError, "question '0' of task quiz has 1 options"),
    ('permuted: one option',              lambda: run(options(('cat', 'dog'), ('cat',)), 'permuted'), ValueError, "question '1' of task quiz has 1 options"),
    ('letters: beyond the alphabet',      lambda: run(options(('cat',) * 27)), ValueError, '27 options: options beyond the alphabet have no letter (26 at most)'),
    ('permuted: beyond the alphabet',     lambda: run(options(('cat',) * 27), 'permuted'), ValueError, 'options beyond the alphabet have no letter'),
    ('letters: a letter that is no token', lambda: run(options(('cat',) * 5)), ValueError, "has no token for the letter 'E'; ask by mode 'options'"),
    ('answer: a letter that is no token', lambda: run(options(('cat',) * 5), 'answer'), ValueError, "has no token for the letter 'E'"),
    ('letters: not the next token',       lambda: run(s=letters_in_two()), ValueError, 'after this prompt the letter A is not one token but'),
    ('letters: none are shown',           lambda: run(prompt='bare'), ValueError, "mode 'letters' asks for a letter, and prompt 'bare' shows none; use prompt 'first', 'second', 'plain' or 'quiz', or mode 'options'"),
    ('permuted: none are shown',          lambda: run(mode='permuted', prompt=Prompt('mine', '{examples}{question}', '{a} {options}', '{text}')), ValueError, "mode 'permuted' asks for a letter, and prompt 'mine' shows none"),
    ('options: an empty one',             lambda: run(options(('cat', ''), ('cat', 'dog')), 'options'), ValueError, "option 1 of question '0' is empty; an option must say something"),
    ('options: one of a space',           lambda: run(options(('cat', 'dog'), ('cat', 'dog', ' \n')), 'options'), ValueError, "option 2 of question '1' is empty"),
    ('letters: too long',                 lambda: run(s=scorer(max_position_embeddings=14)), ValueError, "the prompt of question 'x' has 16 tokens, and the model reads 14; pass truncate=True"),
    ('options: too long',                 lambda: run(mode='options', s=scorer(max_position_embeddings=8)), ValueError, "the prompt of question 'x' has 8 tokens, its answer 2, and the model reads 8"),
    ('answer: no room to write',          lambda: run(mode='answer', prompt='plain', s=scorer(max_position_embeddings=32)), ValueError, "its answer 100, and the model reads 32"),
    ('answer: never any room',            lambda: run(mode='answer', prompt='plain', truncate=True, s=scorer(max_position_embeddings=32)), ValueError, "question 'x' has an answer of 100 tokens, which leaves no room for a prompt in the 32"),
    ('answer: a masked model',            lambda: run(mode='answer', s=scorer('bert', 'masked', 'cls')), ValueError, "only a causal model writes an answer, got one of kind 'masked'"),
    ('letters: logits that are NaN',      lambda: run(s=broken(float('nan'))), ValueError, 'are NaN or infinite; the model is damaged'),
    ('options: logits that are NaN',      lambda: run(mode='options', s=broken(float('nan'))), ValueError, 'are NaN or infinite'),
    ('letters: logits that are all equal', lambda: run(s=broken(0.)), ValueError, 'are all equal, so the model says nothing; were its weights loaded?'),
    ('options: logits that are all equal', lambda: run(mode='options', s=broken(0.)), ValueError, 'are all equal'),
    ('cloze: logits that are all equal',  lambda: run(CLOZE, 'cloze', s=broken(0.)), ValueError, "the logits of question 'x' are all equal"),
    ('tokens: logits that are all equal', lambda: run(PLAIN, 'tokens', s=broken(0.)), ValueError, 'are all equal'),
    ('cloze: no answer',                  lambda: run(PLAIN, 'cloze'), ValueError, "task quiz has neither extra['answer'] nor options with labels, so there is nothing to complete a statement with"),
    ('cloze: an empty answer',            lambda: run(Examples(['1'], ['the cat'], None, extra=dict(answer=[''])), 'cloze'), ValueError, "option 0 of question '1' has no tokens"),
    ('chat: no template',                 lambda: run(chat=True), ValueError, 'the tokenizer has no chat template; pass chat=False, or a chat model'),
    ('extract: no such split',            lambda: run(split='train'), KeyError, "task quiz has no split 'train'; it has test"),
    ('extract: examples from nowhere',    lambda: run(shots=1), ValueError, "there is no other split 'train' or 'val' to draw examples from"),
    ('extract: no such setting',          lambda: run(shot=1), TypeError, "unexpected keyword argument 'shot'"),
    ('extract: another seed in the folder', lambda: in_folder({}, dict(seed=1)), ValueError, 'is of another extraction: seed was 0 and is 1; give another --out, or remove that file'),
    ('extract: other questions there',    lambda: in_folder({}, dict(e=take(QUIZ, [0, 1]))), ValueError, 'n was 3 and is 2'),
    ('extract: another model there',      lambda: in_folder({}, dict(s=Scorer(build('gpt_neox', (1, 16, 2), tok(), 'causal', seed=9), tok()))), ValueError, 'weights was'),
    ('extract: another template there',   lambda: in_folder({}, dict(s=chat(), chat=True)), ValueError, 'chat was False and is True'),
    ('open_model: unknown dtype',         lambda: opened('causal', dtype='int8'), ValueError, "dtype must be one of float32, bfloat16, float16, got 'int8'"),
    ('open_model: a classification head', lambda: opened('classify', n=2), ValueError, 'has no weights for'),
    ('open_model: an empty folder',       lambda: opened(), FileNotFoundError, 'm must be a model folder with a config.json'),
    ('open_model: no folder',             lambda: open_model('./nowhere'), FileNotFoundError, 'there is no folder nowhere'),
    ('estimate: unknown mode',            lambda: run(mode='guess', how=estimate), ValueError, 'mode must be one of'),
    ('estimate: too long',                lambda: run(s=scorer(max_position_embeddings=14), how=estimate), ValueError, 'and the model reads 14'),
    ('rotated: no options',               lambda: rotated(PLAIN, 1), ValueError, 'rotated needs options in every row'),
    ('permuted: too few orders',          lambda: read_permuted(scorer(), [ask(Task('q', dict(test=QUIZ)))] * 2), ValueError, 'asks must hold 3 orders, one for each place of an option, got 2'),
    ('position_bias: of letters',         lambda: position_bias(from_logits(np.eye(2), [0, 1])), ValueError, "position_bias needs predictions of mode 'permuted'"),
    ('P(True): no answer is known',       lambda: add_p_true(scorer(), no_answer(), QUIZ, Task('q', dict(test=QUIZ))), ValueError, 'P(True) needs to know which option was chosen'),
]
