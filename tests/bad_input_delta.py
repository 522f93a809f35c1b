"What delta tuning must refuse, with what the message must say; run by the one shared test."
import tempfile
from functools import cache
from pathlib import Path
import torch
from safetensors.torch import save_file
from plcal_study.lm.baselines import LSTM, vocabulary
from plcal_study.lm.delta import adapter, load_delta, lora, save_delta, soft_prompt
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.models import HeadClassifier, LanguageModel, PromptClassifier, build
from plcal_study.lm.testbed import train_tokenizer

E = Examples(['1', '2'], ['a fine film', 'a dull film'], [1, 0])
TASK = Task('films', dict(train=E), ('negative', 'positive'), ('bad', 'good'), '{a} was {m}')

@cache
def tokenizer(): return train_tokenizer(['a fine dull film was'], keep=TASK.words)
def clf(family='bert', kind='masked', max_length=32, **config): return PromptClassifier(build(family, (1, 8, 2), tokenizer(), kind, **config), tokenizer(), TASK, max_length=max_length)
def head(k=2, classes=('negative', 'positive')):
    task = Task('films', dict(train=E), classes)
    return HeadClassifier(build('bert', (1, 8, 2), tokenizer(), 'classify', n_labels=k), tokenizer(), task, max_length=32)

def strange():
    "A family that nobody told us of."
    c = clf()
    c.model.config.model_type = 'strange'
    return c

def on(model, change=lambda path: None, made=lambda: adapter(clf(), 2)):
    "Load a saved delta, after something happened to the file."
    with tempfile.TemporaryDirectory() as d:
        path = save_delta(made(), Path(d) / 'delta.safetensors')
        change(path)
        load_delta(model, path)

def truncate(path): path.write_bytes(path.read_bytes()[:-100])
def garbage(path): path.write_bytes(b'not a delta')
def foreign(path): save_file({'w': torch.zeros(2)}, path)
def edited(path):
    from safetensors import safe_open
    from safetensors.torch import save_file
    with safe_open(path, 'pt') as f: meta, tensors = f.metadata(), {n: f.get_tensor(n) for n in f.keys()}
    save_file(dict(list(tensors.items())[1:]), path, meta)

CASES = [
    ('adapter: no bottleneck',        lambda: adapter(clf(), 0), ValueError, 'bottleneck must be at least 1, got 0'),
    ('adapter: unknown family',       lambda: adapter(strange(), 2), ValueError, "bert, roberta, t5, gpt_neox and llama, got 'strange'"),
    ('adapter: twice',                lambda: adapter(adapter(clf(), 2), 2), ValueError, 'has one already'),
    ('adapter: on LoRA',              lambda: adapter(lora(clf(), 2), 2), ValueError, 'has one already'),
    ('adapter: on an LSTM',           lambda: adapter(LSTM(TASK, vocabulary(E), embed=2, hidden=2), 2), ValueError, 'a delta needs a transformer'),
    ('adapter: on a bare model',      lambda: adapter(clf().model, 2), ValueError, 'a delta needs a transformer'),
    ('soft_prompt: no token',         lambda: soft_prompt(clf(), 0), ValueError, 'tokens must be at least 1, got 0'),
    ('soft_prompt: longer than BERT', lambda: soft_prompt(clf(max_length=512), 1), ValueError, 'longer than the 512 positions of the bert model; build the classifier with max_length=510'),
    ('soft_prompt: longer than RoBERTa', lambda: soft_prompt(clf('roberta', max_length=510), 2), ValueError, 'max_length=508'),
    ('soft_prompt: longer than Llama', lambda: soft_prompt(clf('llama', 'causal', max_position_embeddings=40), 5), ValueError, 'longer than the 40 positions'),
    ('soft_prompt: language model',   lambda: soft_prompt(LanguageModel(clf('llama', 'causal').model, tokenizer()), 2), ValueError, 'needs a HeadClassifier or PromptClassifier'),
    ('soft_prompt: twice',            lambda: soft_prompt(soft_prompt(clf(), 2), 2), ValueError, 'has one already'),
    ('lora: no rank',                 lambda: lora(clf(), 0), ValueError, 'rank must be at least 1, got 0'),
    ('lora: all dropped',             lambda: lora(clf(), dropout=1.), ValueError, 'dropout must lie in [0, 1), got 1.0'),
    ('lora: unknown family',          lambda: lora(strange()), ValueError, "no maps to choose in the family 'strange'"),
    ('lora: unknown map',             lambda: lora(clf(), modules=('q_proj',)), ValueError, "got 'q_proj'"),
    ('save_delta: no delta',          lambda: save_delta(clf(), 'nowhere'), ValueError, 'this one has none'),
    ('save_delta: no folder',         lambda: save_delta(adapter(clf(), 2), Path('no') / 'such' / 'folder'), FileNotFoundError, 'no/such'),
    ('load_delta: no file',           lambda: load_delta(clf(), 'nowhere.safetensors'), FileNotFoundError, 'no delta file nowhere.safetensors'),
    ('load_delta: on a delta',        lambda: on(adapter(clf(), 2)), ValueError, 'has one already'),
    ('load_delta: other weights',     lambda: on(PromptClassifier(build('bert', (1, 8, 2), tokenizer(), 'masked', seed=1), tokenizer(), TASK, 32)), ValueError, 'the weights are not'),
    ('load_delta: other shapes',      lambda: on(PromptClassifier(build('bert', (2, 8, 2), tokenizer(), 'masked'), tokenizer(), TASK, 32)), ValueError, 'of other shapes'),
    ('load_delta: other family',      lambda: on(clf('roberta')), ValueError, 'another base: bert, and this model is roberta'),
    ('load_delta: a head instead',    lambda: on(head()), ValueError, 'and this model is a head for 2 classes'),
    ('load_delta: other classes',     lambda: on(head(3, ('a', 'b', 'c')), made=lambda: adapter(head(), 2)), ValueError, 'a head for 2 classes, and this model is a head for 3 classes'),
    ('load_delta: cut off',           lambda: on(clf(), truncate), ValueError, 'no whole .safetensors file'),
    ('load_delta: no delta at all',   lambda: on(clf(), garbage), ValueError, 'no whole .safetensors file'),
    ('load_delta: other weights file', lambda: on(clf(), foreign), ValueError, 'was not written by save_delta'),
    ('load_delta: edited',            lambda: on(clf(), edited), ValueError, 'other tensors than its settings say'),
]
