"Bad inputs of `plcal_study.study.plaut2024` and of the ledger: (name, call, exception, part of the message)."
import tempfile
from pathlib import Path
import pandas as pd
from plcal_study.study.plaut2024 import PROMPTS, abstention_table, cells, predictions, read
from plcal_study.study.published import KEY, ledger, published

HEAD = 'grade confidence_level\n'
GOOD = HEAD + 'Correct 0.75\nWrong 0.5\nCorrect 0.9\n'


def name(model='A', questions='0to3', score='norm', prompt='first', data='arc'):
    return f'{data}_{model}-q{questions}_no_abst_{score}_logits_{prompt}_prompt.txt'

def study(**change):
    "A study of two models, read; `change` gives a file another text, or None to leave it out."
    texts = {name(m, s, score, p): GOOD for m in 'AB' for s in ('0to3', '3to6') for p in PROMPTS for score in ('norm', 'raw')} | change
    with tempfile.TemporaryDirectory() as d:
        (folder := Path(d) / 'main_results').mkdir()
        for file, text in texts.items():
            if text is not None: (folder / file).write_bytes(text.encode() if isinstance(text, str) else text)
        return read(d)

def bad(text, **where): return lambda: study(**{name(**where): text})
def keys(**change): return pd.DataFrame([dict.fromkeys(KEY, 'x') | {'published': '1.0'} | change])

CASES = [
    ('unknown grade',          bad(HEAD + 'Correct 0.7\nMaybe 0.5\nWrong 0.1\n'),   ValueError, f'{name()}, line 3: expected one of Wrong, Correct, Unparseable, Abstained'),
    ('grade in small letters', bad(HEAD + 'correct 0.7\nWrong 0.5\nWrong 0.1\n'),   ValueError, 'line 2: expected one of'),
    ('no number',              bad(HEAD + 'Correct 0.7\nWrong x\nWrong 0.1\n'),     ValueError, f"{name()}, line 3: expected a number after Wrong, got 'x'"),
    ('grade alone',            bad(HEAD + 'Correct 0.7\nWrong\nWrong 0.1\n'),       ValueError, "line 3: expected a number after Wrong, got ''"),
    ('three columns',          bad(HEAD + 'Correct 0.7 1\nWrong 0.5\nWrong 0.1\n'), ValueError, "line 2: expected a number after Correct, got '0.7 1'"),
    ('empty line',             bad(HEAD + 'Correct 0.7\n\nWrong 0.1\n'),            ValueError, 'line 3: expected one of'),
    ('not a number',           bad(HEAD + 'Correct 0.7\nWrong nan\nWrong 0.1\n'),   ValueError, 'line 3: expected a finite number, got nan'),
    ('infinite logit',         bad(HEAD + 'Correct 9\nWrong inf\nWrong 0.1\n', score='raw'), ValueError, 'line 3: expected a finite number, got inf'),
    ('MSP above 1',            bad(HEAD + 'Correct 0.7\nWrong 1.01\nWrong 0.1\n'),  ValueError, 'line 3: an MSP must lie in [0, 1], got 1.01'),
    ('MSP below 0',            bad(HEAD + 'Correct 0.7\nWrong -0.1\nWrong 0.1\n'),  ValueError, 'line 3: an MSP must lie in [0, 1], got -0.1'),
    ('unusual number',         bad(HEAD + 'Correct 0.7\nWrong 0_1\nWrong 0.1\n'),   ValueError, 'a number written in an unusual way'),
    ('no header',              bad('Correct 0.7\nWrong 0.5\nWrong 0.1\nWrong 0.1\n'), ValueError, "line 1: expected the header 'grade confidence_level'"),
    ('comma separated',        bad('grade,confidence_level\nCorrect,1\nWrong,1\nWrong,1\n'), ValueError, "line 1: expected the header"),
    ('other line ends',        bad(GOOD.replace('\n', '\r\n')),                     ValueError, 'line 1: expected the header'),
    ('bytes, no text',         bad(b'\xff\xfe\x00'),                                ValueError, 'line 1: expected the header'),
    ('an empty file',          bad(''),                                             ValueError, f'{name()}, line 1: expected the header'),
    ('a row short',            bad(HEAD + 'Correct 0.7\nWrong 0.5\n'),              ValueError, f'{name()}: expected 3 answers for questions 0 to 3, got 2'),
    ('a row more',             bad(GOOD + 'Wrong 0.5\n'),                           ValueError, 'expected 3 answers for questions 0 to 3, got 4'),
    ('broken off in a line',   bad(GOOD[:-2]),                                      ValueError, 'line 4: the file breaks off'),
    ('a gap',                  lambda: study(**{name(): None}),                     ValueError, 'A arc first norm: questions 0 to 3 are missing'),
    ('an overlap',             lambda: study(**{name(questions='2to5'): GOOD}),     ValueError, 'A arc first norm: questions 2 to 3 are there twice'),
    ('the end is missing',     lambda: study(**{name('B', '3to6'): None}),          ValueError, 'B arc first norm has 3 questions where others have 6'),
    ('half a prompt',          lambda: study(**{name('B', q, prompt='second'): None for q in ('0to3', '3to6')}), ValueError, 'B arc second norm is missing'),
    ('half a score',           lambda: study(**{name('B', q, 'raw'): None for q in ('0to3', '3to6')}), ValueError, 'B arc first raw is missing'),
    ('a data set of one only', lambda: study(**{name('B', data='mmlu'): GOOD}),     ValueError, 'A mmlu first norm is missing'),
    ('another name',           lambda: study(**{'notes.txt': 'x'}),                 ValueError, 'notes.txt: expected a name like'),
    ('a falling range',        lambda: study(**{name(questions='9to6'): GOOD}),     ValueError, 'the range of questions must rise, got 9 to 6'),
    ('no files',               lambda: study(**{name(m, s, c, p): None for m in 'AB' for s in ('0to3', '3to6') for p in PROMPTS for c in ('norm', 'raw')}), ValueError, 'holds no main_results/*.txt'),
    ('no such place',          lambda: read('no/such/place'),                       FileNotFoundError, 'holds neither main_results/ nor an archive'),
    ('unknown model',          lambda: predictions(study(), 'C', 'arc', 'first'),   ValueError, 'no answers for C arc first norm; there are models A, B'),
    ('unknown prompt',         lambda: predictions(study(), 'A', 'arc', 'third'),   ValueError, 'prompts first, second'),
    ('all labelled',           lambda: abstention_table(study(), 12),               ValueError, 'k must lie in 1'),
    ('all right',              lambda: cells(study(**{name('A', q, s, p): HEAD + 3 * 'Correct 0.5\n' for q in ('0to3', '3to6') for s in ('norm', 'raw') for p in PROMPTS}), 0), ValueError, 'right'),
    ('unknown source',         lambda: published('nobody'),                         ValueError, "no published cells of 'nobody'"),
    ('a cell twice',           lambda: ledger(pd.concat([keys(), keys()]), {}),     ValueError, 'must be unique, got twice'),
    ('a cell of nobody',       lambda: ledger(keys(), {('y',) * 4: 1.}),            ValueError, 'never published'),
]
