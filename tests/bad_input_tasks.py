"Bad inputs of `plcal_study.lm.tasks`: (name, call, exception, part of the message)."
import os, tempfile
from pathlib import Path
import numpy as np, pandas as pd
from plcal_study.lm.tasks import cloze_facts, data_dir, files, gold, load_task, mnli, parse_csv, parse_jsonl, pick, review_sentences, arc, random_words, shuffle_options, to_examples, toxic_tweets, trex, two_way, read_raw, read_tweets, lettered


def _folder(change, file='sst2/dev.tsv'):
    "What reading a file says that was made by `change` from the right size."
    with tempfile.TemporaryDirectory() as d:
        at = Path(d) / file
        at.parent.mkdir(parents=True)
        if (raw := change(files()[file][0])) is not None: at.write_bytes(raw)
        return read_raw(Path(d), file)

def _without_hub(name, data=None):
    "A task when neither files nor hub are there."
    with tempfile.TemporaryDirectory() as d:
        before = os.environ.get('PLCAL_HUB')
        os.environ['PLCAL_HUB'] = d
        try: return load_task(name, data or d)
        finally:
            del os.environ['PLCAL_HUB']
            if before is not None: os.environ['PLCAL_HUB'] = before

def _incomplete():
    with tempfile.TemporaryDirectory() as d:
        (Path(d) / 'sst2').mkdir()
        return load_task('sst2', d)

def _tweets(labels, split='val'):
    "A part of TweetEval with two tweets and these labels."
    with tempfile.TemporaryDirectory() as d:
        (at := Path(d) / 'tweeteval/toy').mkdir(parents=True)
        (at / 'val_text.txt').write_text('one\ntwo\n')
        (at / 'val_labels.txt').write_text(labels)
        return read_tweets(Path(d), 'toy', split)

T = pd.DataFrame(dict(a=['one', 'two'], label=['yes', 'perhaps']))
FACT = dict(fact=['1'], relation='P1', subject='X', answer='Y', pattern='[Y] of [X]')

CASES = [
    ('unknown task',        lambda: load_task('sst4'),                 ValueError, "no task is named 'sst4'; there are: sst2, sst5"),
    ('no such folder',      lambda: load_task('sst2', 'no/such'),      FileNotFoundError, "'no/such', which is no folder"),
    ('no folder either',    lambda: data_dir('no/such/folder'),        FileNotFoundError, 'make it or correct the name'),
    ('neither files nor hub', lambda: _without_hub('rte'),             FileNotFoundError, 'put the original files into superglue_rte/ in a folder and name that folder by PLCAL_DATA or data=, or let the hub be reached (aps/super_glue)'),
    ('hub alone',           lambda: _without_hub('yahoo'),             FileNotFoundError, 'let the hub be reached (community-datasets/yahoo_answers_topics), or name a mirror'),
    ('files alone',         lambda: _without_hub('dsc'),               FileNotFoundError, 'put the original files into dsc/'),
    ('a file missing',      _incomplete,                               FileNotFoundError, 'sst2/train.tsv is missing in the data folder'),
    ('broken off',          lambda: _folder(lambda n: b'x' * (n - 1)), ValueError, 'so it broke off'),
    ('another version',     lambda: _folder(lambda n: b'x' * (n + 1)), ValueError, 'so it is another version'),
    ('edited',              lambda: _folder(lambda n: b'x' * n),       ValueError, 'so labels may be wrong'),
    ('line ends',           lambda: _folder(lambda n: b'x\r\n' + b'x' * (n - 2)), ValueError, 'its line ends were changed'),
    ('says both sums',      lambda: _folder(lambda n: b''),            ValueError, 'expected sha256 eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359, got e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'),
    ('a field too many',    lambda: parse_csv(b'x\t1\ny\t2\t3\n', 'f.tsv', ('a', 'label'), sep='\t', header=False), ValueError, 'f.tsv, row 1: expected 2 fields (a, label), got 3'),
    ('another header',      lambda: parse_csv(b'text,class\nx,1\n', 'f.csv', ('text', 'label')), ValueError, "f.csv: the first row must name text, label, and 'label' is not there"),
    ('an empty file',       lambda: to_examples(parse_csv(b'a,label\n', 'f.csv', ('a', 'label')), 'f', '01'), ValueError, 'is the file empty?'),
    ('no JSON',             lambda: parse_jsonl(b'{"a": 1}\n{"a": ', 'f.jsonl', ('a',)), ValueError, 'f.jsonl, row 1: no JSON'),
    ('JSON but no object',  lambda: parse_jsonl(b'[1, 2]\n', 'f.jsonl', ('a',)), ValueError, 'f.jsonl, row 0: no JSON object'),
    ('a key missing',       lambda: parse_jsonl(b'{"b": 1}\n', 'f.jsonl', ('a',)), ValueError, "f.jsonl, row 0: no field 'a'"),
    ('mislabelled',         lambda: to_examples(T, 'f', ('yes', 'no')), ValueError, "f, row 1: label 'perhaps' is none of yes, no"),
    ('not the hub\'s columns', lambda: pick(T, a='text'),              ValueError, "expected a column 'text', got a, label"),
    ('an order that is none', lambda: mnli(order='glue'),              ValueError, "order must be one of openprompt, hf, got 'glue'"),
    ('two classes merged',  lambda: two_way(np.ones((3, 2)) / 2),      ValueError, 'shape (n, 3), got (3, 2)'),
    ('a key that is none',  lambda: gold(['A', '5'], ['AB', '1234'], 'f'), ValueError, "f, row 1: the answer '5' is none of the options 1, 2, 3, 4"),
    ('no options',          lambda: shuffle_options(to_examples(T, 'f', ('yes', 'perhaps'))), ValueError, 'needs options'),
    ('a part of ARC',       lambda: arc(part='Hard'),                  ValueError, "part must be 'Challenge' or 'Easy'"),
    ('a site',              lambda: review_sentences(site='imdb'),     ValueError, "site must be 'yelp' or 'amazon'"),
    ('a part of TweetEval', lambda: toxic_tweets(part='irony'),        ValueError, "part must be 'offensive' or 'hate', got 'irony'"),
    ('a label too few',     lambda: _tweets('0\n'),                    ValueError, 'tweeteval/toy/val: 2 texts and 1 labels, expected as many; fetch both files again'),
    ('a label too many',    lambda: _tweets('0\n1\n1\n'),              ValueError, '2 texts and 3 labels'),
    ('no such split',       lambda: _tweets('0\n1\n', 'dev'),          FileNotFoundError, 'tweeteval/toy/dev_text.txt is missing in the data folder'),
    ('no patterns',         lambda: trex(patterns=0),                  ValueError, 'patterns must be at least 1'),
    ('no random texts',     lambda: random_words(n=0),                 ValueError, 'n must be at least 1'),
    ('answers in front',    lambda: cloze_facts(pd.DataFrame(FACT), dict(test=1.)), ValueError, 'at least one example'),
    ('one option', lambda: lettered(['yes']),            ValueError, 'there must be 2 to 26 options'),
]
