"What the three aspects must refuse, and what it must say."
import tempfile
from pathlib import Path
import numpy as np
from plcal_study.lm import facts
from plcal_study.measure.predictions import Predictions
from plcal_study.study import aspects as A
from plcal_study.study import ladder

world = facts.fact_world(entities=6, relations=2, random_relations=1, values=3, quiz=.3, seed=0)
small = facts.fact_world(entities=3, relations=1, random_relations=0, values=3, quiz=.3, seed=0)
model, tokenizer = ladder.decoder(world, '1x16', 0)
few, _ = ladder.decoder(small, '1x16', 0)
def p(n=4, docs=2): return Predictions({}, [str(i) for i in range(n)], np.arange(n) % 2 == 0, np.full(n, .5), cluster=[str(i % docs) for i in range(n)])
def damaged(data):
    path = Path(tempfile.mkdtemp()) / 'x.safetensors'
    if data is None:
        from safetensors.numpy import save_file
        save_file(dict(sums=np.zeros(2)), path)
    else: path.write_bytes(data)
    return path

CASES = [
    ('a set of questions that there is not', lambda: A.aspects(None, dict(quiz=None)), ValueError, "asked must hold some of text, cloze and test, got 'quiz'"),
    ('no questions', lambda: A.aspects(None, {}), ValueError, 'asked must hold some of text, cloze and test, got nothing'),
    ('no answers', lambda: A.tally([]), ValueError, 'parts must hold at least one answer, got none'),
    ('one row for all', lambda: A.tally([p()], rows=1), ValueError, 'rows must be at least 2 and draws at least 1, got 1 and 200'),
    ('a null of no draws', lambda: A.tally([p()], draws=0), ValueError, 'got 256 and 0'),
    ('a change of other questions', lambda: A.difference(A.tally([p(4)]), A.tally([p(6)])), ValueError, 'late and early must be of the same questions, got 4 in 2 documents and 6 in 2'),
    ('a change within one document', lambda: A.change(p(4, 1), p(4, 1)), ValueError, 'a change needs at least 2 documents, got 1'),
    ('a change without common questions', lambda: A.change(p(4), Predictions({}, list('abcd'), [1, 0, 1, 0], [.5] * 4)), ValueError, 'uid'),
    ('sums cut short', lambda: A.load_tally(damaged(b'\x10\0\0\0')), ValueError, 'x.safetensors is damaged or cut short'),
    ('sums of another kind', lambda: A.load_tally(damaged(None)), ValueError, 'x.safetensors must hold sums, gaps, fine, null, documents, got sums'),
    ('a corpus shorter than one context', lambda: A.packed(model, tokenizer, ['. .'], 64), ValueError, 'the corpus must have at least one context of 64 tokens, got 4'),
    ('no corpus', lambda: A.packed(model, tokenizer, [], 64), ValueError, 'there must be at least one document, got none'),
    ('a tokenizer of another model', lambda: A.packed(few, tokenizer, ['.'], 64), ValueError, 'take the tokenizer that belongs to the model'),
    ('a tokenizer too large to be read with', lambda: A.aspects(__import__('plcal_study.lm.scoring', fromlist=['Scorer']).Scorer(few, tokenizer), {}), ValueError, 'take the tokenizer that belongs to the model'),
    ('a base of a size that is none', lambda: A.base_of(world, 'small', 0, tempfile.mkdtemp(), 100, 1), ValueError, "size must be layers x width, e.g. '2x64', got 'small'"),
    ('a base of a family that there is not', lambda: A.base_of(world, '1x16', 0, tempfile.mkdtemp(), 100, 1, model='bert'), ValueError, 'model must be llama or gpt_neox'),
    ('a base of a corpus too short', lambda: A.base_of(world, '1x16', 0, tempfile.mkdtemp(), 1, 1, context=128), ValueError, 'the corpus must have at least one context of 128 tokens'),
]
