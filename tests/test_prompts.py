"Protects the prompts: the two of the source written out, examples that leak nothing, the rules of reading against a scan by hand, the order against the source's way re-enacted with real texts."
import json, os, random, subprocess, sys
from copy import deepcopy
from dataclasses import fields, replace
from hashlib import sha256
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_array_equal
from plcal_study.lm import facts
from plcal_study.lm.examples import Examples, Task, sample, take
from plcal_study.lm.prompts import LETTERS, PROMPTS, SOURCE_SEED, Prompt, answer_place, ask, in_source_order, letters, options_of, parse_answer, settled, source_order, take_asked, write


def quiz(n, seed=0, origin='q', most=5, clusters=None):
    "Questions whose stems are found nowhere else; two to `most` options, all different, with braces and periods in some."
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, most + 1, n)
    options = [tuple(f'{origin}{i} {{{j}}} choice' for j in range(k)) for i, k in enumerate(sizes)]
    return Examples([f'{origin}-{i}' for i in range(n)], [f'What is {origin}{i} {{it}}?' for i in range(n)], rng.integers(0, sizes), options=options,
                    cluster=None if clusters is None else rng.choice(clusters, n), extra=dict(frequency=rng.integers(9, size=n)))

def shown(prompt, e): return {u for u, a in zip(e.uid, e.a, strict=True) if a in prompt}

TASK = Task('quiz', dict(train=quiz(12, 1, 'train'), val=quiz(6, 2, 'val'), test=quiz(20, 3, 'test')))
TWO = Examples(['0', '1', '2'], ['What is hot?', 'What is cold?', 'What is wet?'], [0, 1, 2], options=[('fire', 'ice'), ('fire', 'ice', 'air'), ('fire', 'air', 'rain')])
SHOTS = {k: Task('two', dict(train=take(TWO, range(k or 1)), test=take(TWO, [2]))) for k in (0, 1, 2)}
def golden(name, shots):
    "The prompt with the examples in the order of TWO: a seed that draws them so."
    return next(p for seed in range(99) if (p := ask(SHOTS[shots], prompt=name, shots=shots, seed=seed).prompt[0]) and (shots < 2 or p.index('hot') < p.index('cold')))


# -- the words ---------------------------------------------------------------------------------------------------------------------------

FIRST = ('Below is a multiple-choice question. Choose the letter which best answers the question. Keep your response as brief as possible; '
         'just state the letter corresponding to your answer, followed by a period, with no explanation. ')
SECOND = ('You will be asked a multiple-choice question. Respond with the letter which corresponds to the correct answer, followed by a period. '
          'There is no need to provide an explanation, so your response should be very short. ')
GOLDEN = {
    ('first', 0): FIRST + '\n\nQuestion:\n            \nWhat is wet?\nA. fire\nB. air\nC. rain\n\nResponse:\n\n',
    ('first', 1): FIRST + '\n\nFirst, here is an example question and the corresponding correct response.\n\nExample question:\nWhat is hot?\nA. fire\nB. ice\nCorrect response: A.\n\n'
                          'Now for the actual question:\n            \nWhat is wet?\nA. fire\nB. air\nC. rain\n\nResponse:\n\n',
    ('first', 2): FIRST + '\n\nFirst, here are some example questions and the corresponding correct responses.\n\nExample question 1:\nWhat is hot?\nA. fire\nB. ice\nCorrect response: A.\n\n'
                          'Example question 2:\nWhat is cold?\nA. fire\nB. ice\nC. air\nCorrect response: B.\n\nNow for the actual question:\n            \n'
                          'What is wet?\nA. fire\nB. air\nC. rain\n\nResponse:\n\n',
    ('second', 0): SECOND + 'Now here is the question:\n\nWhat is wet?\nA. fire\nB. air\nC. rain\n\nAnswer:\n',
    ('second', 1): SECOND + '\n\nFirst, here is an example question and the corresponding correct response.\n\nExample question:\nWhat is hot?\nA. fire\nB. ice\nCorrect response: A.\n\n'
                            'Now for the actual question:\n\nWhat is wet?\nA. fire\nB. air\nC. rain\n\nAnswer:\n',
    ('second', 2): SECOND + '\n\nFirst, here are some example questions and the corresponding correct responses.\n\nExample question 1:\nWhat is hot?\nA. fire\nB. ice\nCorrect response: A.\n\n'
                            'Example question 2:\nWhat is cold?\nA. fire\nB. ice\nC. air\nCorrect response: B.\n\nNow for the actual question:\n\n'
                            'What is wet?\nA. fire\nB. air\nC. rain\n\nAnswer:\n',
    ('plain', 0): 'Question: What is wet?\nA. fire\nB. air\nC. rain\nAnswer:',
    ('plain', 1): 'Question: What is hot?\nA. fire\nB. ice\nAnswer: A\n\nQuestion: What is wet?\nA. fire\nB. air\nC. rain\nAnswer:',
    ('bare', 0): 'Question: What is wet?\nAnswer:',
    ('bare', 2): 'Question: What is hot?\nAnswer: fire\n\nQuestion: What is cold?\nAnswer: ice\n\nQuestion: What is wet?\nAnswer:',
    ('text', 0): 'What is wet?',
    ('text', 1): 'What is hot? fire\n\nWhat is wet?',
    ('quiz', 0): 'question What is wet? ? A fire B air C rain answer',
    ('quiz', 2): 'question What is hot? ? A fire B ice answer A . question What is cold? ? A fire B ice C air answer B . question What is wet? ? A fire B air C rain answer',
}

@pytest.mark.parametrize('name, shots', GOLDEN)
def test_every_prompt_written_out(name, shots):
    assert golden(name, shots) == GOLDEN[name, shots]

def test_only_the_prompts_of_the_source_are_for_chat_models_and_those_without_options_have_no_letters():
    assert list(PROMPTS) == ['first', 'second', 'plain', 'bare', 'text', 'quiz'] and all(p.name == name for name, p in PROMPTS.items())
    assert {name for name, p in PROMPTS.items() if p.chat} == {'first', 'second'}
    assert {name for name, p in PROMPTS.items() if p.lettered} == {'first', 'second', 'plain', 'quiz'}
    assert not Prompt('dashes', '{examples}{question}', option='- {text}').lettered and not Prompt('none', '{examples}{question}', '{a}').lettered

def test_the_quiz_is_that_of_the_corpora():
    world = facts.fact_world(entities=20, relations=3, random_relations=1, values=6)
    for k in (2, 5):
        e = facts.questions(world, 20, options=k, n_tokens=5_000)
        assert ask(Task('world', dict(test=e)), prompt='quiz').prompt == [facts.ask(a, o) for a, o in zip(e.a, e.options, strict=True)]

def test_options_without_letters_may_be_many_and_braces_in_texts_are_text():
    e = Examples(['1'], ['{question} of {x}'], [0], options=[tuple(f'{{{i}}}' for i in range(30))])
    p = Prompt('dashes', '{{so}} {examples}{question}', option='- {text}', join=' {and} ', none='{{none}} ')
    assert write(p, e, e.options, 0) == '{so} {none} {question} of {x}\n' + ' {and} '.join(f'- {{{i}}}' for i in range(30))

def test_pairs_and_other_columns_have_their_places():
    e = Examples(['1', '2'], ['rain', 'sun'], [1, 0], b=['wet', 'wet'], extra=dict(year=[1999, 2000], b=['x', 'y']))
    task = Task('pairs', dict(test=e), ('yes', 'no'))
    assert ask(task, prompt=Prompt('pair', '{examples}{question}', '{a} / {b} ({year})\n{options}', join='; ')).prompt == ['rain / wet (1999)\nA. yes; B. no', 'sun / wet (2000)\nA. yes; B. no']

def test_options_are_those_of_the_row_or_the_classes_or_none():
    e = quiz(3)
    assert options_of(e, Task('t', {}, ('x', 'y'))) == e.options
    bare = replace(e, options=None, label=np.array([0, 1, 0]))
    assert options_of(bare, Task('t', {}, ('x', 'y'))) == [('x', 'y')] * 3 and options_of(bare, Task('t', {})) == [()] * 3
    assert letters(1) == 'A' and letters(26) == LETTERS and len(LETTERS) == 26

def test_a_cloze_is_shown_with_its_answer():
    e = Examples(['1', '2'], ['The capital of Peru is', 'The capital of France is'], None, extra=dict(answer=np.array(['Lima', 'Paris'])))
    q = ask(Task('facts', dict(train=take(e, [0]), test=take(e, [1]))), prompt='text', shots=1)
    assert q.prompt == ['The capital of Peru is Lima\n\nThe capital of France is'] and q.options == [()] and q.label is None


# -- what is asked -----------------------------------------------------------------------------------------------------------------------

def test_all_that_is_known_of_a_question_goes_along():
    e = replace(quiz(6, most=2, clusters=['x', 'y']), posterior=np.full((6, 2), .5))
    q = ask(Task('t', dict(test=e)))
    for name in ('uid', 'label', 'cluster', 'posterior'): assert_array_equal(getattr(q, name), getattr(e, name), strict=True)
    assert q.options == e.options and list(q.extra) == ['frequency'] and (q.extra['frequency'] == e.extra['frequency']).all()
    assert len(q) == 6 and (q.group == 0).all() and q.prompt == [write(PROMPTS['plain'], e, e.options, i) for i in range(6)]

@pytest.mark.parametrize('rows', [[3, 1], slice(2, 5), np.arange(6) % 2 == 0])
def test_take_asked_takes_every_column(rows):
    e = replace(quiz(6, most=2, clusters=['x', 'y']), posterior=None if isinstance(rows, slice) else np.random.default_rng(0).dirichlet([1, 1], 6))
    task = Task('t', dict(train=quiz(40, 5, 'train', clusters=['x', 'y']), test=e))
    got, want = take_asked(ask(task, shots=2), rows), take(e, rows)
    whole = dict(zip(e.uid, ask(task, shots=2).prompt, strict=True))
    for name in ('uid', 'label', 'cluster', 'posterior'): assert_array_equal(getattr(got, name), getattr(want, name), strict=True)
    assert got.options == want.options and got.prompt == [whole[u] for u in want.uid]
    assert (got.extra['frequency'] == want.extra['frequency']).all() and len(set(got.group)) == len(set(want.cluster)) and got.meta['n'] == len(got) == len(want)

def test_a_limit_draws_questions_and_changes_nothing_else():
    for how in (dict(), dict(shots=2), dict(shots=2, draw='each')):
        whole, part = ask(TASK, **how), ask(TASK, limit=7, **how)
        assert part.uid.tolist() == sample(TASK['test'], 7, 0).uid.tolist() and part.meta['n'] == 7
        at = {u: i for i, u in enumerate(whole.uid)}
        assert part.prompt == [whole.prompt[at[u]] for u in part.uid]
    for limit in (20, 99): assert ask(TASK, limit=limit).uid.tolist() == TASK['test'].uid.tolist()
    assert ask(TASK, limit=7, seed=1).uid.tolist() == sample(TASK['test'], 7, 1).uid.tolist()

def test_meta_is_json_and_the_hash_knows_the_words():
    q = ask(TASK, prompt='first', shots=np.int64(2), seed=np.int64(5), limit=3)
    p = PROMPTS['first']
    words = '\0'.join([p.form, p.question, p.option, p.join, p.example, p.none, p.one, p.many])
    assert json.loads(json.dumps(q.meta)) == dict(task='quiz', split='test', prompt='first', shots=2, draw='fixed', examples='train', chat=False, seed=5, n=3, prompt_sha256=sha256(words.encode()).hexdigest()[:16])
    assert ask(TASK).meta['examples'] is None and ask(TASK, shots=1, draw='each').meta['examples'] == 'test, each anew'
    def sha(**other): return ask(TASK, prompt=replace(PROMPTS['plain'], **other)).meta['prompt_sha256']
    texts = {f.name: '{examples}{question} ' if f.name == 'form' else getattr(PROMPTS['plain'], f.name) + ' ' for f in fields(Prompt) if f.name not in ('name', 'chat')}
    assert len({sha(**{name: text}) for name, text in texts.items()} | {sha()}) == len(texts) + 1 == 9 and sha(name='other') == sha()


# -- examples ----------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('split, pool', [('test', 'train'), ('val', 'train'), ('train', 'val')])
def test_fixed_examples_are_the_same_for_all_and_of_another_split(split, pool):
    for shots in (1, 3, 6):
        q = ask(TASK, split, shots=shots)
        for u, text in zip(q.uid, q.prompt, strict=True):
            assert shown(text, TASK[split]) == {u} and len(shown(text, TASK[pool])) == shots and q.meta['examples'] == pool
        assert len({frozenset(shown(t, TASK[pool])) for t in q.prompt}) == 1 and (q.group == 0).all()

def test_fixed_examples_come_from_val_where_there_is_no_train():
    q = ask(Task('t', dict(val=TASK['val'], test=TASK['test'])), shots=6)
    assert shown(q.prompt[0], TASK['val']) == set(TASK['val'].uid)

def test_the_seed_draws_the_fixed_examples_and_more_shots_keep_the_first():
    def drawn(shots, seed): return [a for a in ask(TASK, prompt='bare', shots=shots, seed=seed).prompt[0].split('Question: ')[1:-1]]
    assert drawn(5, 3)[:2] == drawn(2, 3) and len({tuple(drawn(2, s)) for s in range(20)}) > 10
    assert len({tuple(drawn(1, s)) for s in range(200)}) == 12 # every row can be drawn

def test_examples_of_the_own_cluster_in_the_order_of_the_file():
    train = Examples([f't{i}' for i in range(8)], [f'train {i}' for i in range(8)], [0, 1] * 4, options=[('no', 'yes')] * 8, cluster=list('bacabcaa'))
    test = Examples([f'q{i}' for i in range(5)], [f'test {i}' for i in range(5)], [0] * 5, options=[('no', 'yes')] * 5, cluster=list('cabca'))
    task, alone = Task('subjects', dict(train=train, test=test)), Task('alone', dict(train=replace(train, cluster=None), test=test))
    q = ask(task, prompt='bare', shots=2)
    def rows(text): return [int(t.split()[1]) for t in text.split('Question: ')[1:-1]]
    assert [rows(t) for t in q.prompt] == [[2, 5], [1, 3], [0, 4], [2, 5], [1, 3]] and q.group.tolist() == [0, 1, 2, 0, 1] and q.meta['examples'] == 'train, by cluster'
    part = ask(task, prompt='bare', shots=2, limit=2)
    assert [rows(t) for t in part.prompt] == [rows(q.prompt[int(u[1])]) for u in part.uid] and set(part.group) == {0, 1}
    for seed in range(20): # four are too many for b and c: filled up with others, the same ones as far as they are not their own
        q, (drawn,) = ask(task, prompt='bare', shots=4, seed=seed), {tuple(rows(t)) for t in ask(alone, prompt='bare', shots=8, seed=seed).prompt}
        assert [rows(t) for t in q.prompt[:3]] == [[2, 5, *[i for i in drawn if i not in (2, 5)][:2]], [1, 3, 6, 7], [0, 4, *[i for i in drawn if i not in (0, 4)][:2]]]
    lacking = Task('lacking', dict(train=take(train, [1, 3, 6, 7, 2]), test=test))
    for limit in (None, 1, 2): # no row of b, whichever question is asked: the same for all
        q = ask(lacking, prompt='bare', shots=3, limit=limit)
        assert len({tuple(rows(t)) for t in q.prompt}) == 1 and (q.group == 0).all() and q.meta['examples'] == 'train'
    assert ask(alone, shots=2).meta['examples'] == 'train' == ask(Task('odd', dict(train=train, test=replace(test, cluster=None))), shots=2).meta['examples']

def test_examples_drawn_for_each_question_are_never_the_question():
    q = ask(TASK, shots=19, draw='each') # all the others, so one mistake would show
    for u, text in zip(q.uid, q.prompt, strict=True):
        assert shown(text, TASK['test']) == set(TASK['test'].uid) and text.count(TASK['test'].a[list(q.uid).index(u)]) == 1
        assert text.rindex('Question: ') < text.index(TASK['test'].a[list(q.uid).index(u)])
    assert q.group.tolist() == list(range(20))

def test_examples_drawn_for_each_question_are_drawn_evenly():
    e = quiz(4, 4)
    seen = np.zeros((4, 4), int)
    for seed in range(300):
        for i, text in enumerate(ask(Task('t', dict(test=e)), shots=1, draw='each', seed=seed).prompt):
            for u in shown(text, e) - {e.uid[i]}: seen[i, list(e.uid).index(u)] += 1
    assert (seen.diagonal() == 0).all() and (np.abs(seen[~np.eye(4, dtype=bool)] - 100) < 35).all() # sd 8

@pytest.mark.parametrize('name', PROMPTS)
@pytest.mark.parametrize('draw, clusters', [('fixed', None), ('fixed', ['x', 'y']), ('each', None)])
def test_one_group_is_one_beginning_and_the_key_is_right(name, draw, clusters):
    task = Task('t', dict(train=quiz(30, 6, 'train', clusters=clusters), test=quiz(12, 7, 'test', clusters=clusters)))
    q = ask(task, prompt=name, shots=2, draw=draw)
    own = ask(task, prompt=name).prompt
    begin = [t[:t.rindex(a)] for t, a in zip(q.prompt, task['test'].a, strict=True)]
    for g in np.unique(q.group): assert len({b for b, h in zip(begin, q.group, strict=True) if h == g}) == 1
    assert len(set(begin)) == len(set(q.group)) == {('fixed', False): 1, ('fixed', True): 2, ('each', False): 12}[draw, clusters is not None]
    assert all(t[t.rindex(a):] == o[o.rindex(a):] for t, o, a in zip(q.prompt, own, task['test'].a, strict=True)) # the question itself is untouched
    e = task['test' if draw == 'each' else 'train']
    for text in begin:
        for i in np.flatnonzero([a in text for a in e.a]): assert solved(name, e.a[i], e.options[i], e.label[i]) in text

def solved(name, a, options, y):
    lines, right, x = '\n'.join(f'{x}. {o}' for x, o in zip(LETTERS, options, strict=False)), options[y], LETTERS[y]
    if name == 'plain': return f'Question: {a}\n{lines}\nAnswer: {x}\n\n'
    if name == 'bare': return f'Question: {a}\nAnswer: {right}\n\n'
    if name == 'text': return f'{a} {right}\n\n'
    if name == 'quiz': return f"question {a} ? {lines.replace(chr(10), ' ').replace('. ', ' ')} answer {x} . "
    return f'\n{a}\n{lines}\nCorrect response: {x}.\n\n'


# -- chat --------------------------------------------------------------------------------------------------------------------------------

def tokenizer(template):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({'<s>': 0}, '<s>')), bos_token='<s>', chat_template=template)

TEMPLATE = "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"

@pytest.mark.parametrize('prompt, chat, goes', [('first', None, True), ('second', None, True), ('plain', None, False), ('bare', None, False), ('plain', True, True), ('first', False, False)])
def test_a_chat_template_is_used_where_it_should_be(prompt, chat, goes):
    plain, q = ask(TASK, prompt=prompt), ask(TASK, prompt=prompt, tokenizer=tokenizer(TEMPLATE), chat=chat)
    assert q.prompt == ([f'<s><|user|>{t}<|end|><|assistant|>' for t in plain.prompt] if goes else plain.prompt) and q.meta['chat'] is goes and plain.meta['chat'] is False

def test_a_base_model_reads_the_text_alone():
    for t in (None, tokenizer(None)): assert ask(TASK, prompt='first', tokenizer=t).prompt == ask(TASK, prompt='first').prompt


# -- reading an answer -------------------------------------------------------------------------------------------------------------------

def begins(text, i, target): return text[i:i + len(target)] == target
def slow_parse(text, options):
    "Rule after rule, character after character."
    k = len(options)
    for i in range(len(text) + 1):
        for j in range(k):
            if begins(text, i, LETTERS[j] + '.'): return j, 'letter.'
    for i in range(len(text) + 1):
        for j in range(k):
            if begins(text.lower(), i, options[j].lower()): return j, 'text'
    for i in range(len(text) + 1):
        for j in range(k):
            if begins(text, i, LETTERS[j]): return j, 'letter'
    return None, 'none'

def slow_place(text, options):
    for i in range(len(text) + 1):
        if any(begins(text, i, LETTERS[j] + '.') for j in range(len(options))): return i
    for i in range(len(text) + 1):
        if any(begins(text, i, o) or begins(text, i, LETTERS[j]) for j, o in enumerate(options)): return i
    return None

WORDS = st.lists(st.sampled_from(['A', 'B', 'C', 'D', '.', 'a', 'b', ' ', 'an', 'An', 'ann', 'Bee', 'bee']), max_size=8).map(''.join)

@settings(max_examples=250, deadline=None)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=4))
def test_answers_are_read_by_the_rules_of_the_source(text, options):
    assert parse_answer(text, options) == slow_parse(text, options) and answer_place(text, options) == slow_place(text, options)

@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS, st.lists(WORDS, min_size=1, max_size=4))
def test_what_is_settled_stays_and_what_is_not_can_change(text, more, options):
    k = len(options)
    assert settled(text, k) == (parse_answer(text, options).rule == 'letter.')
    if settled(text, k): assert parse_answer(text + more, options) == parse_answer(text, options) and answer_place(text + more, options) == answer_place(text, options)
    else: assert [parse_answer(f'{text}\n{x}.', options) for x in LETTERS[:k]] == [(j, 'letter.') for j in range(k)]

@pytest.mark.parametrize('text, said, place', [
    ('B.', (1, 'letter.'), 0), ('\n\nB. Pear', (1, 'letter.'), 2), ('Not A. It is C.', (0, 'letter.'), 4), ('Apple. B.', (1, 'letter.'), 7), ('(B)', (1, 'letter'), 1), ('D. Apple', (0, 'text'), 3),
    ('PEAR', (1, 'text'), 2), ('pear', (1, 'text'), None), ('A pear', (1, 'text'), 0), ('Plum or Pear', (2, 'text'), 0), ('C or B', (2, 'letter'), 0), ('from the USA.', (0, 'letter.'), 11), ('b', (None, 'none'), None), ('', (None, 'none'), None)])
def test_answers_by_hand(text, said, place):
    fruit = ['Apple', 'Pear', 'Plum']
    assert parse_answer(text, fruit) == said and answer_place(text, fruit) == place

def test_of_two_options_at_one_place_the_first_is_said_and_an_empty_one_is_always_said():
    assert parse_answer('pears', ['pea', 'pear', 'pears']) == (0, 'text') == parse_answer('pears', ['pears', 'pear', 'pea'])
    assert parse_answer('A', ['x', '']) == (1, 'text') and answer_place('x A', ['y', '']) == 0 and parse_answer('A.', ['x', '']) == (0, 'letter.')


# -- the order of the source -------------------------------------------------------------------------------------------------------------

def reenact(data, start, end, shots, fresh=False):
    "The source's program in our words: dictionaries with lists of texts, shuffled where they lie, by the module's own random numbers."
    kept, data = random.getstate(), deepcopy(data)
    try:
        random.seed(2549900867)
        random.shuffle(data)
        def make(i):
            choices = list(data[i]['choices']) if fresh else data[i]['choices']
            right = choices[data[i]['key']]
            random.shuffle(choices)
            return data[i]['stem'], list(choices), choices.index(right)
        out = []
        for i in range(start, min(end, len(data))):
            asked = make(i)
            numbers = random.sample([j for j in range(len(data)) if j != i], shots) if shots else []
            out.append((asked, [make(j) for j in numbers]))
        return out
    finally: random.setstate(kept)

def dictionaries(e): return [dict(stem=a, choices=list(o), key=int(y)) for a, o, y in zip(e.a, e.options, e.label, strict=True)]

@pytest.mark.parametrize('shots', [0, 1, 3])
@pytest.mark.parametrize('start, end', [(0, 60), (0, 25), (37, 60), (20, 1000)])
@pytest.mark.parametrize('fresh', [False, True])
def test_the_order_is_that_of_the_source(shots, start, end, fresh):
    e = quiz(60, 8)
    e = replace(e, options=[o if i % 7 else (o[0],) * len(o) for i, o in enumerate(e.options)]) # some with equal texts
    want = reenact(dictionaries(e), start, end, shots, fresh)
    o, got = source_order([len(x) for x in e.options], start, end, shots, in_place=not fresh), in_source_order(e, start, end, shots, in_place=not fresh)
    assert [(a, list(x), y) for a, x, y in zip(got.a, got.options, got.extra['source_label'], strict=True)] == [asked for asked, _ in want]
    for (_, solved), rows, orders, keys in zip(want, o.examples, o.example_orders, o.example_keys, strict=True):
        mine = [[e.options[r][j] for j in order] for r, order in zip(rows, orders, strict=True)]
        assert [(e.a[r], x, x.index(x[key[e.label[r]]])) for r, x, key in zip(rows, mine, keys, strict=True)] == solved
    if not shots or fresh: assert all(key[y] == order.index(y) for order, key in zip(o.orders, o.keys, strict=True) for y in range(len(order)))
    elif end - start > 30: assert any(key[y] != order.index(y) for order, key in zip(o.orders, o.keys, strict=True) for y in range(len(order)))

def test_the_truth_follows_its_text():
    rng = np.random.default_rng(0) # four options: an order of two is its own inverse
    e = replace(quiz(50, 9, clusters=['x', 'y']), b=[f'b{i}' for i in range(50)], options=[tuple(f'{i} {j}' for j in range(4)) for i in range(50)],
                label=rng.integers(4, size=50), posterior=rng.dirichlet(np.ones(4), 50))
    for shots in (0, 2):
        got = in_source_order(e, 10, 40, shots)
        assert len(got) == 30 and got.label.tolist() != e.label[[int(u.split('-')[1]) for u in got.uid]].tolist()
        for i, r in enumerate(int(u.split('-')[1]) for u in got.uid):
            assert got.options[i][got.label[i]] == e.options[r][e.label[r]] and (got.a[i], got.b[i], got.cluster[i], got.extra['frequency'][i]) == (e.a[r], e.b[r], e.cluster[r], e.extra['frequency'][r])
            assert dict(zip(got.options[i], got.posterior[i], strict=True)) == dict(zip(e.options[r], e.posterior[r], strict=True))
    bare = in_source_order(replace(e, label=None))
    assert bare.label is None and 'source_label' not in bare.extra and bare.options == in_source_order(e).options

def test_the_seed_is_that_of_the_source_and_the_state_of_others_is_untouched():
    before = random.getstate()
    o = source_order([4] * 10)
    assert SOURCE_SEED == 2549900867 and random.getstate() == before
    assert o.rows.tolist() == ROWS and o.orders[:2] == ORDERS
    assert source_order([4] * 10, seed=1).rows.tolist() != ROWS and source_order([4] * 10, end=3).rows.tolist() == ROWS[:3]

ROWS, ORDERS = [0, 8, 7, 6, 9, 2, 1, 3, 4, 5], [(3, 2, 0, 1), (2, 1, 0, 3)] # of random.shuffle after random.seed, run apart from this code


# -- the real tasks ----------------------------------------------------------------------------------------------------------------------

def real(name):
    from plcal_study.lm.tasks import load_task
    if not os.environ.get('PLCAL_DATA'): pytest.skip('PLCAL_DATA is not set')
    return load_task(name)

def test_mmlu_shows_the_five_of_the_subject():
    task = real('mmlu')
    q, e = ask(task, shots=5, limit=600), task['train']
    assert {'clinical_knowledge', 'college_medicine'} < set(q.cluster)
    assert len(e) == 280, 'of 285, five stand in the test too'
    for subject, text in zip(q.cluster, q.prompt, strict=True):
        own = np.flatnonzero(e.cluster == subject)
        assert text.startswith(''.join(f"{write(PROMPTS['plain'], e, e.options, i)} {LETTERS[e.label[i]]}\n\n" for i in own)) and text.count('\nAnswer:') == 6
        assert len(own) == dict(clinical_knowledge=3, college_medicine=2).get(subject, 5)
    assert len(set(q.group)) == len(set(q.cluster)) and q.meta['examples'] == 'train, by cluster'

def test_classes_and_clozes_of_real_tasks():
    sst, trex = real('sst2'), real('trex')
    assert ask(sst, limit=2).options == [('negative', 'positive')] * 2 and ask(sst, limit=1).prompt[0].endswith('\nA. negative\nB. positive\nAnswer:')
    q = ask(trex, prompt='text', shots=1, limit=5)
    assert all(t == t.rstrip() and '\n\n' in t for t in q.prompt) and q.label is None and len(q.extra['answer']) == 5

def test_prompts_need_neither_torch_nor_transformers():
    script = "import sys, plcal_study.lm.prompts; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout.strip() == '[]'
