"What writing and measuring text must refuse, and what it must say."
from plcal_study.lm import generation as g, models, testbed

tokenizer = testbed.train_tokenizer(['a', 'b'], keep=['a', 'b'], frame='bos')
model = models.build('llama', (1, 16, 1), tokenizer, 'causal').eval()
short = models.build('llama', (1, 16, 1), tokenizer, 'causal', max_position_embeddings=8).eval()
masked = models.build('bert', (1, 16, 1), testbed.reframe(tokenizer, 'cls'), 'masked').eval()
other = testbed.train_tokenizer([f'w{i}' for i in range(50)], frame='bos')
def write(m=model, t=tokenizer, p=('a',), **kw): return g.sample(m, t, list(p), **kw)

CASES = [
    ('no prompt', lambda: write(p=()), ValueError, 'prompts must hold at least one text, got none'),
    ('a prompt that is none', lambda: write(p=(None,)), ValueError, 'prompts must be texts, got None in place 0'),
    ('no continuation', lambda: write(n=0), ValueError, 'n must be a whole number of at least 1, got 0'),
    ('half a token', lambda: write(max_tokens=1.5), ValueError, 'max_tokens must be a whole number of at least 1, got 1.5'),
    ('no batch', lambda: write(batch=0), ValueError, 'batch must be a whole number'),
    ('below freezing', lambda: write(temperature=-1), ValueError, 'temperature must be a finite number of at least 0'),
    ('a temperature that is no number', lambda: write(temperature=float('nan')), ValueError, 'temperature must be a finite number'),
    ('an empty nucleus', lambda: write(top_p=0), ValueError, 'top_p must lie in (0, 1], got 0'),
    ('a nucleus in percent', lambda: write(top_p=95), ValueError, 'top_p must lie in (0, 1], got 95'),
    ('a model that fills gaps', lambda: write(masked), ValueError, 'the model must be causal to write, got BertForMaskedLM'),
    ("another model's tokenizer", lambda: write(model, other, ['w1']), ValueError, 'token'),
    ('more than the model has places', lambda: write(short, max_tokens=50), ValueError, 'must fit the 8 positions of the model'),
    ('prompts for other texts', lambda: g.fluency(None, ['a'], ['b', 'c']), ValueError, 'prompts must be one for each of the 2 texts, got 1'),
    ('relevance to nothing', lambda: g.relevance(['a'], ['b', 'c']), ValueError, 'prompts must be one for each of the 2 texts, got 1'),
    ('similarity to nothing', lambda: g.similarity(['a'], ['b', 'c']), ValueError, 'prompts must be one for each of the 2 texts, got 1'),
    ('one text for many', lambda: g.distinct('a b'), ValueError, "texts must be a list of at least 1, got 'a b'"),
    ('no text', lambda: g.repetition([]), ValueError, 'texts must be at least 1, got 0'),
    ('nothing to be like', lambda: g.self_bleu(['a']), ValueError, 'texts must be at least 2, got 1'),
    ('no gram', lambda: g.distinct(['a'], 0), ValueError, 'n must be a whole number of at least 1, got 0'),
]
