"Tasks: the right rows, the right labels, nothing in two splits, and the same from files and from the hub."
import json, os, re, string, subprocess, sys, unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
import numpy as np, pandas as pd, pytest
from plcal_study.lm import alignment, tasks
from plcal_study.lm.tasks import NLI, ORDERS, TASKS, files, load_task, manifest, mnli, trex, two_way

ROOT = Path(__file__).parents[1]
HERE = [n for n, m in manifest().iterrows() if m.train or m.val or m.test] # their raw files are among the data of the project's makers
WITH_HUB = [n for n, m in manifest().iterrows() if m.hub_id]

@pytest.fixture(scope='session')
def raw():
    root = os.environ.get('PLCAL_DATA')
    if not root or not (Path(root) / 'sst2').exists(): pytest.skip('the original files of the tasks are not in the data folder (nbs/lm/09_tasks.ipynb says which)')
    return Path(root)

@cache
def task(name): return load_task(name, os.environ['PLCAL_DATA'])

NO_LETTER = {i: ' ' for i in range(128) if not chr(i).isalnum()}

def plain(text):
    "A normalisation of its own: letters and digits of the decomposed text, in lower case, all else a space."
    small = text.lower() if text.isascii() else ''.join(c for c in unicodedata.normalize('NFKD', text.casefold()) if not unicodedata.combining(c))
    return ' '.join(small.translate(NO_LETTER if small.isascii() else {ord(c): ' ' for c in set(small) if not c.isalnum()}).split()) or text.strip()

def fields_are_there(t):
    "Every field of the template is a column of every split, and no text is left out of the prompt."
    asked = {f for _, f, _, _ in string.Formatter().parse(t.template) if f is not None}
    for s, e in t.splits.items():
        have = {'a', *e.extra} | ({'b'} if e.b is not None else set()) | ({'options'} if e.options is not None else set())
        assert asked - {'m'} <= have, f'{t.name}, {s}: the template {t.template!r} asks for {asked - have - {"m"}}'
        assert (e.options is None) == ('options' not in asked), f'{t.name}: options without a place in {t.template!r}, or a place without options'
        assert not t.template or have & {'a', 'b'} <= asked, f'{t.name}, {s}: {t.template!r} leaves out {(have & {"a", "b"}) - asked}'

# ---- the manifest

def test_the_manifest_is_whole():
    m = manifest()
    assert list(m.index) == list(TASKS) and m.title.is_unique and (m.licence != '').all() and (m.used_by != '').all()
    assert set(m.kind) == {'text', 'pair', 'choice', 'plain', 'cloze'}
    assert all(r in ('', 'refs/convert/parquet') or re.fullmatch('[0-9a-f]{40}', r) for r in m.revision)
    assert all(bool(h) == bool(s) for h, s in zip(m.hub_id, m.hub_splits, strict=True)) and ((m.hub_id != '') | (m.folder != '')).all()
    known = {f.split('/')[0] for f in files()}
    pairs = {f.split('/')[0] for f in alignment.FILES.values()} # instructions and preferences, which are no tasks
    assert {m.folder[n] for n in HERE} | pairs == known, 'every folder that was read has its checksums, and no other'

def test_the_checksums_are_those_of_the_files(raw):
    assert len(files()) > 200
    for f in files(): assert tasks.read_raw(raw, f)

# ---- the rows: counts and labels as published, stated here and not read from the code

TEST_LABELS = dict( # of the official test set, in the order of our classes
    sst2=[912, 909], sst5=[279, 633, 389, 510, 399], sst3=[279, 399, 389], dynasent=[1440, 1440, 1440], semeval=[3972, 2375, 5937], trec=[9, 94, 138, 65, 81, 113],
    snli=[131, 146, 123], anli=[1062, 1070, 1066], hans=[15000, 15000], rte=[146, 131], winogrande=[628, 639], openbookqa=[138, 126, 132, 104], yelp_sentences=[500, 500], amazon_sentences=[500, 500],
    offensive=[620, 240], hate_tweets=[1718, 1252])
ALL_LABELS = dict( # over all splits, where the test set was cut here; with what was removed
    ag_news=[1900] * 4, mnli=[3394 + 3265, 3239 + 3552, 3367 + 3183], hate_speech18=[9507, 1196], hellaswag=[2515, 2485, 2584, 2458], sst2=[428 + 912 + 3310, 444 + 909 + 3610],
    offensive=[8840 + 620, 4400 + 240], hate_tweets=[5217 - 7 + 573 - 1 + 1718, 3783 + 427 + 1252]) # 7 and 1 tweets without any text, none of them hate
TOTAL = dict(sst2=9613, sst5=11855, dynasent=8640, semeval=14284, ag_news=7600, trec=5952, hate_speech18=10703, mnli=20000, snli=2266, anli=3198, hans=60000, rte=2767, arc_challenge=2291, arc_easy=4627,
             openbookqa=5457, mmlu=14327, hellaswag=10042, winogrande=11501, truthfulqa=817, wikitext2=120, lambada=5153,
             offensive=13240 + 860, hate_tweets=9000 - 7 + 1000 - 1 + 2970)

@pytest.mark.parametrize('name', HERE)
def test_counts_and_labels_are_the_published_ones(raw, name):
    t = task(name)
    if name in TEST_LABELS: assert np.bincount(t['test'].label).tolist() == TEST_LABELS[name]
    lost = sum(t.source['removed'].values())
    if name in TOTAL: assert sum(map(len, t.splits.values())) + lost == TOTAL[name]
    if name in ALL_LABELS:
        got = sum(np.bincount(e.label, minlength=len(ALL_LABELS[name])) for e in t.splits.values())
        assert (np.array(ALL_LABELS[name]) - got).sum() == lost and (got <= ALL_LABELS[name]).all()
    m = manifest().loc[name]
    assert {s: len(e) for s, e in t.splits.items()} == {s: int(m[s]) for s in ('train', 'val', 'test') if m[s]}, 'the manifest says so'

@pytest.mark.parametrize('name', HERE)
def test_no_input_is_in_two_splits(raw, name):
    "A loop of its own over texts normalised in its own way."
    seen = {}
    for s, e in task(name).splits.items():
        for i in range(len(e)):
            key = (plain(e.a[i]), plain(e.b[i]) if e.b is not None else '', tuple(map(plain, e.options[i])) if e.options else ())
            assert seen.setdefault(key, s) == s, f'{e.uid[i]} is also in {seen[key]}'

@pytest.mark.parametrize('name', HERE)
def test_a_task_is_fit_to_be_asked(raw, name):
    t, kind = task(name), manifest().kind[name]
    assert t.name == name and list(t.splits) == [s for s in ('train', 'val', 'test') if s in t.splits] and 'test' in t.splits
    for e in t.splits.values():
        assert (e.label is None) == (kind in ('plain', 'cloze')) and (e.options is not None) == (kind == 'choice') and (e.b is None or kind == 'pair' or name == 'ag_news')
        assert all(a.strip() for a in e.a)
        if kind == 'choice': assert not t.words and len({len(o) for o in e.options} - {2, 3, 4, 5}) == 0 or name == 'truthfulqa'
        if kind == 'cloze': assert all(x and x == x.strip() for x in e.extra['answer'])
    if kind in ('text', 'pair'):
        assert len(t.words) == len(t.classes) and '{m}' in t.template and '{a}' in t.template and set(np.concatenate([e.label for e in t.splits.values()])) == set(range(len(t.classes)))
        assert t['test'].b is None or '{b}' in t.template

def test_first_rows_are_those_of_the_files(raw):
    assert (task('sst2')['test'].a[0], task('sst2')['test'].label[0]) == ('no movement , no yuks , not much of anything', 0)
    e = task('mnli')['train']
    assert e.a[0] == 'The default procedures provide for the sale of all allowances at a single, clearing price' and task('mnli').classes[e.label[0]] == 'entailment'
    e = task('trec')['test']
    assert (e.a[0], task('trec').classes[e.label[0]], e.extra['fine'][0]) == ('How far is it from Denver to Aspen ?', 'number', 'dist')
    news = {u: (a, b, y) for e in task('ag_news').splits.values() for u, a, b, y in zip(e.uid, e.a, e.b, e.label, strict=True)}
    assert news['ag_news-test-0'][0] == 'Fears for T N pension after talks' and task('ag_news').classes[news['ag_news-test-0'][2]] == 'Business'
    assert news['ag_news-test-1'][1].startswith('SPACE.com - TORONTO, Canada -- A second team of rocketeers'), 'a backslash is a line break'

@pytest.mark.parametrize('name, part, meant', [('semeval', 'sentiment', ('negative', 'neutral', 'positive')), ('offensive', 'offensive', ('benign', 'toxic')), ('hate_tweets', 'hate', ('benign', 'toxic'))])
def test_a_tweet_and_its_label_stand_on_the_same_line(raw, name, part, meant):
    "Line by line, from the two files open side by side."
    t, ours = task(name), {}
    for e in t.splits.values(): ours |= {u: (a, t.classes[y]) for u, a, y in zip(e.uid, e.a, e.label, strict=True)}
    found, seen = 0, set()
    for split in ('val', 'test') if name == 'semeval' else ('train', 'val', 'test'):
        with open(raw / f'tweeteval/{part}/{split}_text.txt', encoding='utf-8', newline='\n') as texts, open(raw / f'tweeteval/{part}/{split}_labels.txt') as labels:
            for i, (a, y) in enumerate(zip(texts, labels, strict=True)):
                uid = f'{name if name == "semeval" else part}-{split}-{i}'
                if uid in ours: found += ours[uid] == (a[:-1], meant[int(y)])
                elif a.strip(): seen.add(plain(a))
    assert found == len(ours) and seen <= {plain(a) for a, _ in ours.values()}, 'what was left out is empty or stands in a later split'

@pytest.mark.parametrize('name', HERE)
def test_the_template_s_fields_are_in_the_files(raw, name): fields_are_there(task(name))

# ---- the templates of the source, letter by letter (papers.md 1.3: a and b for the texts)

@pytest.mark.parametrize('name, template, words', [
    ('sst2', 'It was {m} . {a}', 'bad good'), ('ag_news', 'A {m} news : {a} {b}', 'politics sports business technology'), ('mnli', NLI, 'No Yes Maybe'),
    ('dynasent', ' It was {m} . {a}', 'bad good neutral'), ('hate_speech18', 'It was {m} . {a}', 'benign toxic'),
    ('offensive', 'It was {m} . {a}', 'benign toxic'), ('hate_tweets', 'It was {m} . {a}', 'benign toxic')])
def test_templates_and_words_are_the_source_s(raw, name, template, words):
    assert (task(name).template, ' '.join(task(name).words)) == (template, words)
    assert NLI == 'Given the two sentences: (1) {a}. (2) {b}. Does the first sentence entails the second ? {m}.'

def test_the_two_orders_of_mnli_say_the_same_of_every_pair(raw):
    one, other = task('mnli'), mnli(raw, order='hf')
    assert one.words == other.words == ('No', 'Yes', 'Maybe') and one.classes == ORDERS['openprompt'] and other.classes == ORDERS['hf']
    for s in one.splits:
        assert one[s].uid.tolist() == other[s].uid.tolist()
        assert [one.classes[y] for y in one[s].label] == [other.classes[y] for y in other[s].label]
    entailed = one['test'].label == 1
    assert {one.words[y] for y in one['test'].label[entailed]} == {'Yes'} and {other.words[y] for y in other['test'].label[entailed]} == {'No'}, 'the trap'

def test_two_way_is_the_source_s_sum():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    np.testing.assert_allclose(two_way(p, 'hf'), [[a, b + c] for a, b, c in p], rtol=1e-12)
    np.testing.assert_allclose(two_way(p[:, [2, 0, 1]], 'openprompt'), two_way(p, 'hf'), rtol=1e-12)

# ---- multiple choice against the official keys

@pytest.mark.parametrize('name, key, letters', [('arc_challenge', 'arc/official-key-challenge.jsonl', None), ('arc_easy', 'arc/official-key-easy.jsonl', None), ('openbookqa', 'openbookqa/official-key-test.jsonl', 'ABCD')])
def test_gold_is_the_official_key(raw, name, key, letters):
    official = [json.loads(line)['answerKey'] for line in (raw / key).read_text().splitlines()]
    names = [letters] * len(official) if letters else [json.loads(line)['choices']['label'] for line in (raw / f"arc/ARC-{'Challenge' if 'chal' in name else 'Easy'}-test.derived.jsonl").read_text().splitlines()]
    e = task(name)['test']
    assert [names[i][y] for i, y in enumerate(e.label)] == official and all(len(o) == len(n) for o, n in zip(e.options, names, strict=True))
    digits = [i for i, k in enumerate(official) if k.isdigit()]
    assert len(digits) == dict(arc_challenge=22, arc_easy=97, openbookqa=0)[name] and all(e.label[i] == int(official[i]) - 1 for i in digits)

def test_arc_in_its_original_form_has_the_same_golds(raw):
    "The dumps of AI2's own files lack the rows with digits; all others agree in option text."
    ours = {plain(a): o[y] for a, o, y in zip(task('arc_challenge')['test'].a, task('arc_challenge')['test'].options, task('arc_challenge')['test'].label, strict=True)}
    n = 0
    for line in (raw / 'arc/original_format/ARC-Challenge-Test.partial.jsonl').read_text().splitlines():
        q = json.loads(line)
        right = next(c['text'] for c in q['question']['choices'] if c['label'] == q['answerKey'])
        if (k := plain(q['question']['stem'])) in ours: n += plain(ours[k]) == plain(right)
    assert n > 1100

def test_the_right_answer_of_truthfulqa_does_not_stand_first(raw):
    right = {r['question']: next(a for a, v in r['mc1_targets'].items() if v) for r in json.loads((raw / 'truthfulqa/v1/mc_task.json').read_text())}
    t = task('truthfulqa')
    at = [y for e in t.splits.values() for y in e.label]
    assert all(e.options[i][y] == right[e.a[i]] for e in t.splits.values() for i, y in enumerate(e.label))
    share = np.mean(np.array(at) == 0)
    expected = np.mean([1 / len(o) for e in t.splits.values() for o in e.options])
    assert abs(share - expected) < 4 * np.sqrt(expected / 817)
    assert len({c for e in t.splits.values() for c in e.cluster}) == 38

def test_twins_stay_together(raw):
    t = task('winogrande')
    sides = {s: set(e.cluster) for s, e in t.splits.items()}
    assert not sides['train'] & sides['val'] and Counter(Counter(t['train'].cluster).values()).most_common(1)[0][0] == 2
    assert all('_' in a for a in t['test'].a)

def test_premises_and_posts_stay_on_one_side(raw):
    for name in ('mnli', 'rte', 'hate_speech18'):
        t = task(name)
        a, b = ('val', 'test') if name == 'mnli' else ('train', 'val')
        assert not set(t[a].cluster) & set(t[b].cluster)
    e = task('mnli')['test']
    assert len({(c, plain(a)) for c, a in zip(e.cluster, e.a, strict=True)}) == len(set(e.cluster))

# ---- running text and facts

def test_articles_and_passages_lose_nothing(raw):
    text = (raw / 'wikitext2/test.txt').read_text()
    assert Counter(' '.join(task('wikitext2')['test'].a).split()) == Counter(text.split())
    assert all(re.match(r'\s*= [^=]', a) for a in task('wikitext2')['test'].a)
    text = (raw / 'tinyshakespeare/input.txt').read_text()
    assert ''.join(' '.join(a for e in task('tiny_shakespeare').splits.values() for a in e.a).split()) == ''.join(text.split())

def test_facts_are_cut_before_the_answer(raw):
    t = task('trex')
    for e in t.splits.values():
        x = e.extra
        assert all(s.startswith(a) and '[Y]' in s[len(a):] and '[X]' not in s for a, s in zip(e.a, x['sentence'], strict=True)) and (e.cluster == x['relation']).all()
    fact = {(r, s, o) for e in t.splits.values() for r, s, o in zip(e.extra['relation'], e.extra['subject'], e.extra['answer'], strict=True)}
    assert ('P36', 'France', 'Paris') in fact or ('P1376', 'Paris', 'France') in fact
    many = trex(raw, patterns=4)
    where = {}
    for s, e in many.splits.items():
        for f in zip(e.extra['relation'], e.extra['subject'], e.extra['answer'], strict=True): where.setdefault(f, set()).add(s)
    assert len(many['train']) > 2 * len(t['train']) and sum(len(s) > 1 for s in where.values()) == 0

def test_random_words_have_the_words_and_the_lengths(raw):
    t, like = load_task('random_words', raw, seed=3), task('sst2')['test']
    known, lengths = {w for a in like.a for w in a.split()}, {len(a.split()) for a in like.a}
    assert all(set(a.split()) <= known and len(a.split()) in lengths for a in t['test'].a) and len(t['test']) == 1000
    assert t['test'].a.tolist() == load_task('random_words', raw, seed=3)['test'].a.tolist() != load_task('random_words', raw, seed=4)['test'].a.tolist()

@pytest.mark.parametrize('name', ['ag_news', 'trec', 'rte', 'truthfulqa', 'winogrande'])
def test_a_seed_makes_the_cut(raw, name):
    again, other = load_task(name, raw, seed=0), load_task(name, raw, seed=1)
    for s, e in task(name).splits.items(): assert e.uid.tolist() == again[s].uid.tolist() and (e.label == again[s].label).all() and e.options == again[s].options
    assert set(other['val'].uid) != set(task(name)['val'].uid)
    if name in ('trec', 'rte', 'winogrande'): assert other['test'].uid.tolist() == task(name)['test'].uid.tolist(), 'the published test set does not move'

# ---- the hub: local folders in its layout, read by load_dataset

def choice(q, key='question'): return [{key: f'{q} {i}?', 'choices': dict(text=[f'x{i}', 'y', 'z'], label=list('ABC') if i % 2 else list('123')), 'answerKey': 'B' if i % 2 else '3'} for i in range(40)]
def rows(n, **f): return [{k: v(i) for k, v in f.items()} for i in range(n)]
def nli(q, **more): return rows(40, premise=lambda i: f'{q} premise {i}', hypothesis=lambda i: f'hypothesis {i}', label=lambda i: i % 3, **more)
def text(q, k, label='label', a='text'): return rows(60, **{a: lambda i: f'{q} text {i}', label: lambda i: i % k})
three = ('train', 'validation', 'test')
HUB = { # task: (configuration folder → split → rows), and what the first row of the first split must become
    'sst2': {'': {s: text(s, 2) for s in three}}, 'sst5': {'': {s: text(s, 5) for s in three}}, 'sst3': {'': {s: text(s, 5) for s in three}},
    'amazon_food': {'': dict(train=rows(100, Text=lambda i: f'food {i}', Score=lambda i: i % 5 + 1))},
    'dynasent': {c: {s: rows(30, sentence=lambda i, s=s, c=c: f'{s} {c} {i}', gold_label=lambda i: ('negative', 'neutral', 'positive')[i % 3]) for s in three} for c in ('dynabench.dynasent.r1.all', 'dynabench.dynasent.r2.all')},
    'semeval': {'sentiment': {s: text(s, 3) for s in three}}, 'offensive': {'offensive': {s: text(s, 2) for s in three}}, 'hate_tweets': {'hate': {s: text(s, 2) + [dict(text=' ', label=0)] for s in three}},
    'ag_news': {'': {s: text(s, 4) for s in ('train', 'test')}},
    'yahoo': {'': {s: rows(200, question_title=lambda i, s=s: f'{s} title {i}', question_content=lambda i: 'body' * (i % 2), best_answer=lambda i: 'best', topic=lambda i: i % 10) for s in ('train', 'test')}},
    'trec': {'': {s: text(s, 6, 'coarse_label') for s in ('train', 'test')}}, 'civil_comments': {'': {s: rows(60, text=lambda i, s=s: f'{s} text {i}', toxicity=lambda i: i % 4 * .25) for s in three}},
    'hate_speech18': {'': dict(train=text('post', 4))}, 'implicit_hate': {'': dict(train=rows(30, post=lambda i: f'post {i}', **{'class': lambda i: ('not_hate', 'implicit_hate', 'explicit_hate')[i % 3]}))},
    'mnli': {'': {s: nli(s) for s in ('train', 'validation_matched')}}, 'snli': {'': {s: nli(s) + [dict(premise='p', hypothesis='h', label=-1)] for s in three}},
    'anli': {'': {f'{s}_r{r}': nli(f'{s}{r}') for s in ('train', 'dev', 'test') for r in '123'}},
    'hans': {'': {s: rows(40, premise=lambda i, s=s: f'{s} premise {i}', hypothesis=lambda i: 'h', label=lambda i: i % 2, heuristic=lambda i: 'subsequence') for s in ('train', 'validation')}},
    'rte': {'rte': {s: rows(40, premise=lambda i, s=s: f'{s} premise {i}', hypothesis=lambda i: 'h', label=lambda i: i % 2) for s in three}},
    'arc_challenge': {'ARC-Challenge': {s: choice(s) for s in three}}, 'arc_easy': {'ARC-Easy': {s: choice(s) for s in three}}, 'openbookqa': {'main': {s: choice(s, 'question_stem') for s in three}},
    'mmlu': {'all': {s: rows(20, question=lambda i, s=s: f'{s} {i}?', choices=lambda i: list('wxyz'), answer=lambda i: i % 4, subject=lambda i: 'anatomy') for s in ('dev', 'validation', 'test')}},
    'hellaswag': {'': {s: rows(40, activity_label=lambda i: 'Baking', ctx=lambda i, s=s: f'{s} {i} [title] go [step] on', endings=lambda i: ['a [x] b', 'c', 'd', 'e'], label=lambda i: str(i % 4)) for s in ('train', 'validation')}},
    'winogrande': {'winogrande_xl': {s: rows(40, sentence=lambda i, s=s: f'{s} {i // 2} _ word{i % 2}', option1=lambda i: f'A{i // 2}', option2=lambda i: 'B', answer=lambda i: str(i % 2 + 1)) for s in ('train', 'validation')}},
    'truthfulqa': {'multiple_choice': dict(validation=rows(40, question=lambda i: f'Q{i}', mc1_targets=lambda i: dict(choices=[f'right{i}', 'wrong', 'odd'], labels=[1, 0, 0])))},
    'wikitext2': {'wikitext-2-v1': {s: [dict(text=t) for t in ('', ' = One = \n', '', f' {s} words \n', '', ' = = Part = = \n', '', f' {s} more \n', '', f' = Two of {s} = \n', '', ' end \n')] for s in three}},
    'tiny_shakespeare': {'': {s: [dict(text=f'{s} speech\n\nanother')] for s in three}}, 'pile': {'': dict(train=rows(30, text=lambda i: f'document {i}', meta=lambda i: dict(pile_set_name='Books' if i % 2 else 'Law')))},
    'lambada': {'': dict(test=rows(5, text=lambda i: f'the word {i} is last{i}'))}, 'bookcorpus': {'': dict(train=rows(30, text=lambda i: f'sentence {i}'))},
    'trex': {'trex': dict(train=rows(60, uuid=lambda i: f'u{i % 30}', predicate_id=lambda i: 'P36', sub_label=lambda i: f'Land {i % 30}', obj_label=lambda i: f'Town{i % 30}', template=lambda i: 'The capital of [X] is [Y] .'))},
}
POLAR, INFERENCE, OFFENCE = ('negative', None, 'neutral', None, 'positive'), ('entailment', 'neutral', 'contradiction'), ('benign', 'toxic', 'toxic')
MEANING = dict( # what the hub's labels 0, 1, 2 … stand for, row by row in the mirrors above; None: the row is left out
    sst2=('negative', 'positive'), sst5=('very negative', 'negative', 'neutral', 'positive', 'very positive'), sst3=POLAR, amazon_food=POLAR, dynasent=POLAR[::2], semeval=POLAR[::2], ag_news=('World', 'Sports', 'Business', 'Sci/Tech'),
    yahoo=('society', 'science', 'health', 'education', 'computers', 'sports', 'business', 'entertainment', 'relationships', 'politics'), trec=('abbreviation', 'entity', 'description', 'human', 'location', 'number'),
    civil_comments=('benign', 'benign', 'toxic', 'toxic'), hate_speech18=('benign', 'toxic', None, None), implicit_hate=OFFENCE, offensive=OFFENCE[:2], hate_tweets=OFFENCE[:2], mnli=INFERENCE, snli=INFERENCE, anli=INFERENCE, hans=('entailment', 'non-entailment'), rte=('entailment', 'not_entailment'))

def mirror(root, name):
    "A data set in the layout of the hub: Parquet files by configuration and split, and a card that names them."
    m = manifest().loc[name]
    at, card, converted = root / m.hub_id, [], m.revision.startswith('refs/')
    for config, splits in HUB[name].items():
        for s, table in splits.items():
            file = Path(config or 'data') / (f'{s}/0000.parquet' if converted else f'{s}-00000-of-00001.parquet')
            (at / file).parent.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(table).to_parquet(at / file)
        if not converted: card += [f'- config_name: {config or "default"}', '  data_files:'] + [x for s in splits for x in (f'  - split: {s}', f'    path: {config or "data"}/{s}-*')]
    if not converted: (at / 'README.md').write_text('\n'.join(['---', 'configs:', *card, '---', 'A card.']))

@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    datasets = pytest.importorskip('datasets', reason='the hub is read with datasets, which is not here')
    datasets.disable_progress_bars()
    root = tmp_path_factory.mktemp('hub')
    for name in HUB: mirror(root / name, name)
    return root

def test_every_hub_task_has_a_mirror(): assert set(HUB) == set(WITH_HUB)

def test_every_task_is_read_one_way_or_the_other(): assert set(TASKS) == {*HERE, *WITH_HUB, 'dsc'}, 'dsc: see test_sets_that_we_could_not_see_are_read_by_their_description'

@pytest.mark.parametrize('name', WITH_HUB)
def test_the_hub_is_read(hub, tmp_path, monkeypatch, name):
    monkeypatch.setenv('PLCAL_HUB', str(hub / name))
    monkeypatch.setattr('datasets.config.HF_DATASETS_CACHE', tmp_path)
    t, m = load_task(name, 'hub'), manifest().loc[name]
    assert t.source['came'] == 'hub' and t.source['hub_id'] == m.hub_id and t.source['pinned'] == bool(re.fullmatch('[0-9a-f]{40}', m.revision))
    assert (t.source['revision'], t.source['splits']) == (m.revision, m.hub_splits)
    fields_are_there(t)
    if m.kind in ('text', 'pair'):
        for e in t.splits.values():
            meant = [MEANING[name][int(u.rsplit('-', 1)[1]) % len(MEANING[name])] for u in e.uid] if name != 'anli' else [MEANING[name][int(a.split()[-1]) % 3] for a in e.a]
            assert [t.classes[y] for y in e.label] == meant
    if m.kind == 'choice': check_choice(name, t)
    if name == 'ag_news': assert t.template.format(m='sports', a='A title and a body') == 'A sports news : A title and a body' and t['train'].b is None
    if name == 'wikitext2': assert len(t['test']) == 2 and t['test'].a[0].split() == '= One = test words = = Part = = test more'.split()
    if name == 'lambada': assert (t['test'].a[0], t['test'].extra['answer'][0]) == ('the word 0 is', 'last0')
    if name == 'trex': assert sum(len(e) for e in t.splits.values()) == 30 and t['test'].a[0].startswith('The capital of Land')
    if name == 'snli': assert len(t['train']) == 40, 'no gold label, no row'
    if name == 'anli': assert len(t['test']) == 120 and set(t['test'].extra['round']) == set('123')
    if name == 'dynasent': assert len(t['train']) == 60
    if name == 'hate_tweets': assert len(t['train']) == len(t['test']) == 60, 'no text, no row'
    if name == 'pile': assert set(t['train'].cluster) == {'Books', 'Law'}

def check_choice(name, t):
    for e in t.splits.values():
        right = [o[y] for o, y in zip(e.options, e.label, strict=True)]
        if name in ('arc_challenge', 'arc_easy', 'openbookqa'): assert set(right) == {'y', 'z'}
        if name == 'truthfulqa': assert all(r == f'right{a[1:]}' for r, a in zip(right, e.a, strict=True))
        if name == 'mmlu': assert all(r == 'wxyz'[int(a.split()[1][:-1]) % 4] for r, a in zip(right, e.a, strict=True))
        if name == 'hellaswag': assert all(' go  on'.strip().split() == a.split()[-2:] for a in e.a) and 'a b' in e.options[0]
        if name == 'winogrande': assert all((r == 'B') == a.endswith('word1') for r, a in zip(right, e.a, strict=True))
    if name == 'winogrande': assert not {a.split()[1] for a in t['train'].a} & {a.split()[1] for a in t['val'].a}

def test_files_and_hub_give_the_same_task(raw, tmp_path, monkeypatch):
    "The rows of the original files, put into the hub's form: the same texts, labels and classes come back."
    datasets = pytest.importorskip('datasets', reason='the hub is read with datasets, which is not here')
    datasets.disable_progress_bars()
    monkeypatch.setenv('PLCAL_HUB', str(tmp_path)); monkeypatch.setattr('datasets.config.HF_DATASETS_CACHE', tmp_path / 'cache')
    (at := tmp_path / 'SetFit' / 'sst5').mkdir(parents=True)
    for f, s in dict(train='train', dev='validation', test='test').items():
        lines = [line.split('\t') for line in (raw / f'sst5/sst_{f}.txt').read_text().splitlines()]
        (at / f'{s}.jsonl').write_text('\n'.join(json.dumps(dict(text=b, label=int(a[-1]) - 1)) for a, b in lines))
    for name in ('sst5', 'sst3'):
        for s, e in load_task(name, 'hub').splits.items(): assert e.a.tolist() == task(name)[s].a.tolist() and (e.label == task(name)[s].label).all()

def test_the_pinned_revision_is_asked_for(monkeypatch, tmp_path):
    pytest.importorskip('datasets', reason='the hub is read with datasets, which is not here')
    asked = []
    def refuse(path, name=None, data_dir=None, revision=None, streaming=False): asked.append((path, name, data_dir, revision)); raise ConnectionError('no route')
    monkeypatch.setattr('datasets.load_dataset', refuse)
    monkeypatch.delenv('PLCAL_HUB', raising=False)
    for name in ('rte', 'sst2', 'dynasent'):
        with pytest.raises(FileNotFoundError, match='let the hub be reached') as e: load_task(name, 'hub')
        assert isinstance(e.value.__cause__, ConnectionError)
    with pytest.raises(FileNotFoundError): load_task('hans', tmp_path) # an empty data folder: the hub is next
    assert asked == [('aps/super_glue', 'rte', None, manifest().revision['rte']), ('SetFit/sst2', None, None, None),
                     ('dynabench/dynasent', None, 'dynabench.dynasent.r1.all', 'refs/convert/parquet'), ('jhu-cogsci/hans', None, None, 'refs/convert/parquet')]

def test_sets_that_we_could_not_see_are_read_by_their_description(tmp_path):
    (tmp_path / 'dsc').mkdir(); (tmp_path / 'implicit_hate').mkdir()
    for p in ('Baby', 'Books'):
        for f in ('train', 'dev', 'test'): (tmp_path / f'dsc/{p}_{f}.tsv').write_text(f'{p} {f} good\t1\n{p} {f} bad\t-1\n')
    t = load_task('dsc', tmp_path)
    assert t['test'].a.tolist() == ['Baby test good', 'Baby test bad', 'Books test good', 'Books test bad'] and t['test'].label.tolist() == [1, 0, 1, 0] and t['test'].cluster.tolist() == ['Baby'] * 2 + ['Books'] * 2
    (tmp_path / 'implicit_hate/implicit_hate_v1_stg1_posts.tsv').write_text('post\tclass\none\tnot_hate\ntwo\timplicit_hate\nthree\texplicit_hate\n')
    t2 = load_task('implicit_hate', tmp_path)
    fields_are_there(t); fields_are_there(t2)
    assert t2['test'].label.tolist() == [0, 1, 1] and t.source['checked'] is t2.source['checked'] is False and t.source['came'] == 'files'
    (tmp_path / 'implicit_hate/implicit_hate_v1_stg1_posts.tsv').write_text('post\tclass\none\tnot hate\n')
    with pytest.raises(ValueError, match="label 'not hate' is none of"): load_task('implicit_hate', tmp_path)

def test_a_whole_training_file_is_used_where_it_is(raw, tmp_path):
    (tmp_path / 'ag_news').mkdir()
    (tmp_path / 'ag_news/test.csv').write_bytes((raw / 'ag_news/test.csv').read_bytes())
    (tmp_path / 'ag_news/train.csv').write_text('\n'.join(f'"{i % 4 + 1}","title {i}","body"' for i in range(100)))
    t = load_task('ag_news', tmp_path)
    assert len(t['test']) == 7600 and len(t['train']) == 95
    fields_are_there(t)

# ---- a bare install

def test_tasks_need_no_torch_and_no_datasets(raw):
    block = "import sys\nclass No:\n    def find_spec(self, name, *a):\n        if name.split('.')[0] in ('torch', 'datasets', 'transformers', 'tokenizers'): raise ImportError(name)\nsys.meta_path.insert(0, No())\n"
    script = block + "from plcal_study.lm.tasks import load_task\nprint(len(load_task('sst2')['test']))\ntry: load_task('yahoo')\nexcept FileNotFoundError as e: print('plcal_study[lm]' in str(e))"
    out = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT, env=os.environ | {'PLCAL_DATA': str(raw)}, check=True)
    assert out.stdout.split() == ['1821', 'True']

def test_sst5_in_three_is_a_part_of_sst5(raw):
    for split, e in task('sst3').splits.items():
        label = dict(zip(task('sst5')[split].uid, task('sst5')[split].label, strict=True))
        assert [{0: 0, 4: 1, 2: 2}[label[u]] for u in e.uid] == e.label.tolist()
