"Worlds of facts that cannot be, and what is asked of a world that it cannot give."
from functools import lru_cache
from plcal_study.lm.facts import ask, cloze, corpus, documents, fact_counts, fact_world, instructions, next_token_posterior, next_token_probability, preferences, questions, reward, statements


@lru_cache
def world(): return fact_world(entities=6, relations=3, random_relations=1, values=4, seed=0)
def sentence(): return f"{stem()} {fact()} ."
def who(): return int((world().facts[:, 0] >= 2).argmax()) # the first two values have two words each
def stem(): w = world(); return w.templates[0][0].format(e=w.names[who()], v='').removesuffix(' .').strip()
def fact(other=0): return world().values[0][world().facts[who(), 0] - other]

CASES = [(f'fact_world: {name}', lambda kw=kw: fact_world(**kw), ValueError, says) for name, kw, says in [
    ('one entity',            dict(entities=1), 'entities must be a whole number of at least 2, got 1'),
    ('half an entity',        dict(entities=2.5), 'entities must be a whole number of at least 2, got 2.5'),
    ('no relation',           dict(relations=0), 'relations must be a whole number of at least 1, got 0'),
    ('relations, not words',  dict(relations=5_000), 'this world needs'),
    ('entities, not words',   dict(entities=10 ** 9), 'only 24,500 can be made; ask for fewer'),
    ('no paraphrase',         dict(paraphrases=0), 'paraphrases must be'),
    ('one value',             dict(values=1), 'values must be a whole number of at least 2'),
    ('more random than all',  dict(relations=3, random_relations=4), 'random_relations must be at most relations = 3, got 4'),
    ('negative random',       dict(random_relations=-1), 'random_relations must be'),
    ('negative zipf',         dict(zipf=-.1), 'zipf must be a finite exponent of at least 0'),
    ('NaN zipf',              dict(zipf=float('nan')), 'zipf must be a finite exponent'),
    ('infinite zipf',         dict(zipf=float('inf')), 'zipf must be a finite exponent'),
    ('always the same',       dict(stay=1.), 'stay must lie in [0, 1), got 1.0'),
    ('negative share',        dict(it=-.1), 'it must lie in [0, 1)'),
    ('NaN share',             dict(quiz=float('nan')), 'quiz must lie in [0, 1), got nan'),
    ('quizzes only',          dict(quiz=1), 'quiz must lie in [0, 1), got 1'),
    ('one sentence',          dict(sentences=1), 'sentences must be more than 1 and finite, got 1'),
    ('endless documents',     dict(sentences=float('inf')), 'sentences must be more than 1 and finite, got inf'),
    ('NaN sentences',         dict(sentences=float('nan')), 'sentences must be more than 1'),
]]
CASES += [(f'{f.__name__}: {name}', lambda f=f, n=n: list(f(world(), n)), ValueError, f'n_tokens must be a whole number of at least 1, got {n!r}')
          for f in (corpus, documents, fact_counts) for name, n in [('no token', 0), ('negative', -5), ('half a token', 2.5)]]
CASES += [(f'next_token_posterior: {name}', lambda text=text: next_token_posterior(world(), text()), ValueError, says) for name, text, says in [
    ('other language',        lambda: 'the capital of France', "word 0, 'the', is not among its"),
    ('unknown word later',    lambda: sentence() + ' Paris', "word 6, 'Paris', is not among"),
    ('a wrong fact',          lambda: f'{stem()} {fact(other=1)}', 'cannot stand there'),
    ('where it is wrong',     lambda: sentence() + ' .', "text is not of this world: word 6, '.', cannot stand there"),
    ('it, of nobody',         lambda: 'it', "word 0, 'it', cannot stand there"),
    ('a quiz that begins late', lambda: sentence() + ' question', "word 6, 'question', cannot"),
    ('one option',            lambda: ask(stem(), [fact()]), "'answer', cannot stand there"),
    ('an option twice',       lambda: ask(stem(), [fact()] * 2), 'cannot stand there'),
    ('a wrong answer',        lambda: ask(stem(), [fact(), fact(other=1)]) + ' B', "'B', cannot stand there; A could"),
]]
CASES += [
    ('next_token_probability: columns', lambda: next_token_probability(world(), '', [0, 1]), ValueError, 'words must have shape (1,), one for each word of the text and one for what follows, got (2,)'),
    ('next_token_probability: range',   lambda: next_token_probability(world(), '', [10 ** 6]), ValueError, 'words must be columns from 0 to'),
    ('cloze: too many',           lambda: cloze(world(), n=19), ValueError, 'n must be from 1 to 18, the facts of this world, got 19'),
    ('cloze: none',               lambda: cloze(world(), n=0), ValueError, 'n must be from 1'),
    ('questions: above values',   lambda: questions(world(), 5, options=5), ValueError, 'options must be from 2 to 4 (4 values a relation'),
    ('questions: above letters',  lambda: questions(fact_world(seed=0), 5, options=6), ValueError, 'options must be from 2 to 5'),
    ('questions: one option',     lambda: questions(world(), 5, options=1), ValueError, 'options must be from 2'),
    ('questions: none',           lambda: questions(world(), 0), ValueError, 'n must be at least 1, got 0'),
    ('questions: share',          lambda: questions(world(), 5, unseen=1.5), ValueError, 'unseen must be a share in [0, 1], got 1.5'),
    ('questions: all were seen',  lambda: questions(world(), 5, unseen=.5, n_tokens=100_000), ValueError, 'facts that were unseen, and the corpus has none'),
    ('instructions: diversity',   lambda: instructions(world(), 5, 1.1), ValueError, 'diversity must lie in [0, 1], got 1.1'),
    ('instructions: NaN',         lambda: instructions(world(), 5, float('nan')), ValueError, 'diversity must lie'),
    ('instructions: right',       lambda: instructions(world(), 5, right=-1), ValueError, 'right must lie in [0, 1], got -1'),
    ('instructions: none',        lambda: instructions(world(), 0), ValueError, 'n must be at least 1'),
    ('preferences: none',         lambda: preferences(world(), 0), ValueError, 'n must be at least 1'),
    ('preferences: NaN reward',   lambda: preferences(world(), 5, truth=float('nan')), ValueError, 'truth and polite must be finite'),
    ('reward: no fact',           lambda: reward(world(), 'please tell me', 'well'), ValueError, 'prompt must hold a statement of this world up to its value'),
    ('ask: six options',          lambda: ask('x', list('abcdef')), ValueError, 'options must be 1 to 5 texts, got 6'),
    ('statements: not a text',    lambda: statements(world(), None), ValueError, 'text must be a str, got None'),
    ('next_token_posterior: not a text', lambda: next_token_posterior(world(), ['a']), ValueError, "text must be a str, got ['a']"),
]
