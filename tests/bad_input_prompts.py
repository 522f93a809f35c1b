"What the prompts must refuse, with what the message must say; run by the one shared test."
import numpy as np
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.lm.prompts import PROMPTS, Asked, Prompt, answer_place, ask, in_source_order, letters, parse_answer, settled, source_order, take_asked, write

QUIZ = Examples(['1', '2', '3'], ['one?', 'two?', 'three?'], [0, 1, 2], options=[('x', 'y', 'z')] * 3)
PAIRS = Examples(['1', '2'], ['one', 'two'], [0, 1], b=['eins', 'zwei'])
PLAIN = Examples(['1', '2'], ['fine film', 'dull film'], None)
CLOZE = Examples(['1', '2'], ['The capital of France is', 'The capital of Peru is'], None, extra=dict(answer=['Paris', 'Lima']))
LONG = Examples(['1'], ['which?'], [0], options=[tuple(f'option {i}' for i in range(27))])
TASK = Task('quiz', dict(train=take(QUIZ, [0, 1]), test=take(QUIZ, [2])))
FILMS, FACTS = Task('films', dict(test=PLAIN)), Task('facts', dict(train=take(CLOZE, [0]), test=take(CLOZE, [1])))
class NoTemplate: chat_template = None

def asked(**other):
    "Two questions by hand, with a column of another length."
    return Asked(**dict(uid=np.array(['1', '2']), prompt=['a', 'b'], options=[(), ()], label=None, cluster=None, posterior=None, extra={}, group=np.zeros(2, int), meta={}) | other)

CASES = [
    ('Prompt: no question in the form',    lambda: Prompt('p', '{examples} Answer:'), ValueError, "prompt 'p': form must have {examples} {question} and may have none, got {examples}"),
    ('Prompt: no examples in the form',    lambda: Prompt('p', '{question}'), ValueError, "form must have {examples} {question}"),
    ('Prompt: unknown hole in the form',   lambda: Prompt('p', '{examples}{question}{answer}'), ValueError, 'got {answer} {examples} {question}'),
    ('Prompt: unknown hole in an option',  lambda: Prompt('p', '{examples}{question}', option='{leter}. {text}'), ValueError, 'option must have {text} and may have {letter}, got {leter} {text}'),
    ('Prompt: option without text',        lambda: Prompt('p', '{examples}{question}', option='{letter}.'), ValueError, 'option must have {text}'),
    ('Prompt: unknown hole in an example', lambda: Prompt('p', '{examples}{question}', example='{a} {letter}'), ValueError, 'example must have none and may have {i} {letter} {question} {text}, got {a} {letter}'),
    ('Prompt: hole where none is filled',  lambda: Prompt('p', '{examples}{question}', none='{question}'), ValueError, 'none must have none and may have none, got {question}'),
    ('Prompt: frame without its picture',  lambda: Prompt('p', '{examples}{question}', one='An example:'), ValueError, 'one must have {examples}'),
    ('Prompt: frame of several, likewise', lambda: Prompt('p', '{examples}{question}', many='{example}'), ValueError, 'many must have {examples}'),
    ('Prompt: question without a text',    lambda: Prompt('p', '{examples}{question}', 'Which?'), ValueError, 'question must have {a} or another column'),
    ('Prompt: a brace left open',          lambda: Prompt('p', '{examples}{question'), ValueError, "prompt 'p', form: "),
    ('Prompt: a number for a name',        lambda: Prompt('p', '{examples}{question}', '{0}'), ValueError, "prompt 'p', question: {0}"),
    ('Prompt: empty braces',               lambda: Prompt('p', '{examples}{question}', '{}'), ValueError, 'is no plain name; write a brace that is meant as text twice'),
    ('Prompt: a way into the object',      lambda: Prompt('p', '{examples}{question}', '{a.__class__}'), ValueError, '{a.__class__}'),
    ('Prompt: a format',                   lambda: Prompt('p', '{examples}{question}', '{a:>10}'), ValueError, 'is no plain name'),
    ('Prompt: a conversion',               lambda: Prompt('p', '{examples}{question}', '{a!r}'), ValueError, 'is no plain name'),
    ('letters: beyond the alphabet',       lambda: letters(27), ValueError, '27 options: options beyond the alphabet'),
    ('letters: none',                      lambda: letters(0), ValueError, 'at least one option'),
    ('write: no options',                  lambda: write(PROMPTS['plain'], PLAIN, [(), ()], 1), ValueError, "shows options, and example 2 has none"),
    ('write: more options than letters',   lambda: write(PROMPTS['first'], LONG, LONG.options, 0), ValueError, 'options beyond the alphabet'),
    ('write: no such column',              lambda: write(Prompt('p', '{examples}{question}', '{a} {answers}'), CLOZE, [(), ()], 0), ValueError, "prompt 'p' has {answers}, and there is no such column; there are a, answer"),
    ('write: no second text',              lambda: write(Prompt('p', '{examples}{question}', '{a} {b}'), PLAIN, [(), ()], 0), ValueError, 'has {b}, and there is no such column'),
    ('write: a second text left out',      lambda: write(PROMPTS['text'], PAIRS, [(), ()], 0), ValueError, "two texts, and prompt 'text' shows one"),
    ('ask: unknown prompt',                lambda: ask(TASK, prompt='third'), ValueError, "no prompt is named 'third'; there are: first, second, plain, bare, text, quiz"),
    ('ask: unknown draw',                  lambda: ask(TASK, draw='some'), ValueError, "draw must be 'fixed' or 'each', got 'some'"),
    ('ask: shots below 0',                 lambda: ask(TASK, shots=-1), ValueError, 'shots must be a whole number of at least 0, got -1'),
    ('ask: half a shot',                   lambda: ask(TASK, shots=.5), ValueError, 'shots must be a whole number of at least 0, got 0.5'),
    ('ask: shots as a truth value',        lambda: ask(TASK, shots=True), ValueError, 'shots must be a whole number'),
    ('ask: no question',                   lambda: ask(TASK, limit=0), ValueError, 'limit must be a whole number of at least 1, got 0'),
    ('ask: unknown split',                 lambda: ask(TASK, 'dev'), KeyError, "task quiz has no split 'dev'; it has train, test"),
    ('ask: no options to show',            lambda: ask(FILMS), ValueError, "task films, split test: prompt 'plain' shows options, and example 1 has none"),
    ('ask: nowhere to draw examples from', lambda: ask(FILMS, prompt='text', shots=1), ValueError, "task films, split test: there is no other split 'train' or 'val' to draw examples from, only test"),
    ('ask: the split itself is no place',  lambda: ask(TASK, 'train', shots=1), ValueError, 'task quiz, split train: there is no other split'),
    ('ask: too few for the shots',         lambda: ask(TASK, shots=3), ValueError, "task quiz, split test: shots must be at most 2, the size of split 'train', got 3"),
    ('ask: too few others',                lambda: ask(TASK, 'train', shots=2, draw='each'), ValueError, "shots must be less than 2, the size of split 'train', got 2"),
    ('ask: examples without answers',      lambda: ask(FILMS, prompt='text', shots=1, draw='each'), ValueError, "task films, split test: example 2 has neither a label nor extra['answer']"),
    ('ask: examples without letters',      lambda: ask(FACTS, prompt=Prompt('p', '{examples}{question}', '{a}', example='{question} {letter}'), shots=1), ValueError, 'example 1 has no label or no options, so there is no letter to show'),
    ('ask: a prompt without examples',     lambda: ask(TASK, prompt=Prompt('p', '{examples}{question}'), shots=1), ValueError, "prompt 'p' says nothing of examples"),
    ('ask: chat without a tokenizer',      lambda: ask(TASK, chat=True), ValueError, 'no tokenizer was given, so the text has no chat template; pass chat=False, or a chat model'),
    ('ask: chat without a template',       lambda: ask(TASK, tokenizer=NoTemplate(), chat=True), ValueError, 'the tokenizer has no chat template; pass chat=False, or a chat model'),
    ('Asked: a column too short',          lambda: asked(prompt=['a']), ValueError, 'prompt must have 2 rows like uid, got 1'),
    ('Asked: an extra too long',           lambda: asked(extra=dict(answer=np.zeros(3))), ValueError, "extra['answer'] must have 2 rows like uid, got 3"),
    ('take_asked: a mask too long',        lambda: take_asked(asked(), np.ones(3, bool)), IndexError, 'boolean index'),
    ('parse_answer: too many options',     lambda: parse_answer('A.', ['x'] * 27), ValueError, 'options beyond the alphabet'),
    ('parse_answer: nothing to choose',    lambda: parse_answer('A.', []), ValueError, 'at least one option'),
    ('answer_place: nothing to choose',    lambda: answer_place('A.', []), ValueError, 'at least one option'),
    ('settled: nothing to choose',         lambda: settled('A.', 0), ValueError, 'at least one option'),
    ('source_order: no questions',         lambda: source_order([]), ValueError, 'holds none of 0 questions'),
    ('source_order: an empty range',       lambda: source_order([2, 2], 1, 1), ValueError, 'the range [1, 1) holds none of 2 questions'),
    ('source_order: a range past the end', lambda: source_order([2, 2], 2), ValueError, 'the range [2, None) holds none of 2 questions'),
    ('source_order: before the beginning', lambda: source_order([2, 2], -1), ValueError, 'the range [-1, None)'),
    ('source_order: too many shots',       lambda: source_order([2, 2], shots=2), ValueError, 'shots must lie in [0, 2), as there are 2 questions, got 2'),
    ('source_order: shots below 0',        lambda: source_order([2, 2], shots=-1), ValueError, 'shots must lie in [0, 2)'),
    ('in_source_order: no options',        lambda: in_source_order(PLAIN), ValueError, 'needs options in every row'),
]
