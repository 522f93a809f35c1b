"Bad inputs of `plcal_study.lm.models`: (name, call, exception, part of the message)."
import functools, json, tempfile
from pathlib import Path
from safetensors.torch import load_file, save_file
import torch
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.models import HeadClassifier, LanguageModel, PromptClassifier, build, load, local_encoder, save, word_ids
from plcal_study.lm.testbed import train_tokenizer

@functools.cache
def tok(): return train_tokenizer(['it was bad good . a fine film'])

@functools.cache
def model(family='bert', kind='masked', n=None, **kw): return build(family, (2, 16, 2), tok(), kind, n_labels=n, **kw)

FILM = Examples(['1', '2'], ['a fine film', 'bad'], [1, 0])
def task(template='it was {m} . {a}', words=('bad', 'good')): return Task('films', dict(train=FILM), ('no', 'yes')[:len(words)] or ('no', 'yes'), words, template)
def prompt(family='bert', kind='masked', t=None, **kw): return PromptClassifier(model(family, kind), tok(), t or task(), **kw)

def broken(change, kind='masked', n=None, family='bert', saved='masked', n_saved=None):
    "What `load` says of a saved model after `change(folder)`."
    with tempfile.TemporaryDirectory() as d:
        change(save(model(family, saved, n_saved), tok(), Path(d) / 'made'))
        return load(Path(d) / 'made', kind, n_labels=n)

def config(**fields):
    def change(folder):
        path = folder / 'config.json'
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return change

def weights(change):
    "Edit the tensors of the file."
    def edit(folder):
        w = load_file(folder / 'model.safetensors')
        change(w)
        save_file(w, folder / 'model.safetensors', metadata=dict(format='pt'))
    return edit

def as_bin(folder):
    torch.save(load_file(folder / 'model.safetensors'), folder / 'pytorch_model.bin')
    (folder / 'model.safetensors').unlink()

def without(*names): return lambda folder: [(folder / n).unlink() for n in names]
def cut(folder): (folder / 'model.safetensors').write_bytes((folder / 'model.safetensors').read_bytes()[:-999])
def text(name, said): return lambda folder: (folder / name).write_text(said)
def remote_tokenizer(folder):
    path = folder / 'tokenizer_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(tokenizer_class='Theirs', auto_map=dict(AutoTokenizer=['theirs.Theirs', None]))))
    (folder / 'theirs.py').write_text("raise SystemExit('their code ran')")

def occupied():
    with tempfile.TemporaryDirectory() as d:
        (Path(d) / 'thesis.txt').write_text('ten years')
        return save(model(), tok(), d)

def no_pad():
    t = train_tokenizer(['a b'])
    t.pad_token = t.eos_token = t.unk_token = None
    return build('llama', 'nano', t, 'causal')

CASES = [
    # build
    ('a family that is none', lambda: build('gpt5', 'tiny', tok(), 'causal'), ValueError, "family must be one of bert, roberta, t5, gpt_neox, llama, got 'gpt5'"),
    ('a size of another family', lambda: build('t5', '70m', tok(), 'seq2seq'), ValueError, "size of t5 must be one of nano, tiny"),
    ('heads that do not divide the width', lambda: build('bert', (2, 10, 3), tok(), 'masked'), ValueError, 'a width that the heads divide, got (2, 10, 3, 0, 0)'),
    ('no layers', lambda: build('bert', (0, 16, 2), tok(), 'masked'), ValueError, 'at least one layer'),
    ('a kind that the family does not speak', lambda: build('bert', 'tiny', tok(), 'causal'), ValueError, "kind of bert must be one of masked, classify, encoder, got 'causal'"),
    ('classes without a head', lambda: build('bert', 'tiny', tok(), 'masked', n_labels=2), ValueError, "n_labels is the number of classes for kind 'classify'"),
    ('a head without classes', lambda: build('bert', 'tiny', tok(), 'classify'), ValueError, 'got None'),
    ('a config field misspelt', lambda: build('bert', 'nano', tok(), 'masked', hiden_dropout_prob=0), ValueError, "config of bert has no field 'hiden_dropout_prob'"),
    ('a vocabulary smaller than the tokenizer', lambda: build('bert', 'nano', tok(), 'masked', vocab_size=5), ValueError, 'vocab_size must be at least 16'),
    ('nothing to pad with', no_pad, ValueError, 'has no token to pad with'),
    # load
    ('no such folder', lambda: load(Path('nowhere'), 'masked'), FileNotFoundError, 'there is no folder nowhere'),
    ('an empty folder', lambda: load(tempfile.mkdtemp(), 'masked'), FileNotFoundError, 'must be a model folder with a config.json; it has nothing'),
    ('a kind that is none', lambda: load('bert-base', 'bert'), ValueError, "kind must be one of masked, causal, seq2seq, classify, encoder, got 'bert'"),
    ('load: a head without classes', lambda: broken(lambda f: None, 'classify'), ValueError, "n_labels is the number of classes for kind 'classify'"),
    ('weights as .bin', lambda: broken(as_bin), ValueError, 'must have its weights as .safetensors, got pytorch_model.bin; other formats can run code'),
    ('no weights', lambda: broken(without('model.safetensors')), FileNotFoundError, 'got no weights'),
    ('no tokenizer', lambda: broken(without('tokenizer.json', 'tokenizer_config.json')), FileNotFoundError, 'has no tokenizer (tokenizer.json'),
    ('a file of weights cut short', lambda: broken(cut), ValueError, 'has no weights that can be read as .safetensors'),
    ('a config that is no JSON', lambda: broken(text('config.json', '{')), ValueError, 'has a config.json or tokenizer_config.json that cannot be read'),
    ('a tokenizer config that is no JSON', lambda: broken(text('tokenizer_config.json', '{')), ValueError, 'tokenizer_config.json that cannot be read'),
    ('a tokenizer that is no JSON', lambda: broken(text('tokenizer.json', '{')), ValueError, 'has no tokenizer that can be read'),
    ('a config that asks for code', lambda: broken(config(auto_map=dict(AutoModel='modeling.Theirs'))), ValueError, "asks for code of its own ({'AutoModel': 'modeling.Theirs'}), which is not run"),
    ('a tokenizer that asks for code', lambda: broken(remote_tokenizer), ValueError, "asks for code of its own ({'AutoTokenizer': ['theirs.Theirs', None]})"),
    ('a config of another width', lambda: broken(config(hidden_size=32)), ValueError, 'does not fit its weights: bert.embeddings.LayerNorm.bias is (16,) in the file and (32,) by config.json'),
    ('a config of another vocabulary', lambda: broken(config(vocab_size=99)), ValueError, 'bert.embeddings.word_embeddings.weight is (16, 16) in the file and (99, 16) by config.json'),
    ('a config with more layers', lambda: broken(config(num_hidden_layers=3)), ValueError, 'has no weights for bert.encoder.layer.2.'),
    ('a config with fewer layers', lambda: broken(config(num_hidden_layers=1)), ValueError, 'has weights that its config does not know: bert.encoder.layer.1.'),
    ('a T5 with fewer layers', lambda: broken(config(num_layers=1, num_decoder_layers=1), 'seq2seq', family='t5', saved='seq2seq'), ValueError, 'has weights that its config does not know: decoder.block.1.'),
    ('a Llama of more layers', lambda: broken(config(num_hidden_layers=3), 'classify', 2, family='llama', saved='causal'), ValueError, 'has no weights for model.layers.2.'),
    ('a tensor that is not there', lambda: broken(weights(lambda w: w.pop('bert.encoder.layer.0.attention.self.query.weight'))), ValueError, 'has no weights for bert.encoder.layer.0.attention.self.query.weight'),
    ('an encoder asked for words', lambda: broken(lambda f: None, saved='encoder'), ValueError, "which a model of kind 'masked' needs and which would be random"),
    ('a causal model asked at the mask', lambda: broken(lambda f: None, family='llama', saved='causal'), ValueError, 'llama'),
    ('weights of another family', lambda: broken(config(model_type='roberta')), ValueError, 'weights'),
    ('a tokenizer larger than the model', lambda: HeadClassifier(model('bert', 'classify', 2), train_tokenizer(['b c d e f g h i j k l m n o p q r s t']), task()), ValueError, 'take the tokenizer that belongs to the model'),
    ('not the real encoder', lambda: local_encoder(tempfile.mkdtemp()), FileNotFoundError, 'must hold the model.safetensors of sentence-transformers/all-MiniLM-L6-v2'),
    # save
    ('a folder with other things', occupied, ValueError, 'holds other things than a model'),
    ('no tokenizer to save', lambda: save(model(), None, 'nowhere'), ValueError, 'a model is saved with its tokenizer'),
    # label words and templates
    ('words that collide', lambda: word_ids(tok(), ['good', 'good film']), ValueError, "label words 'good' and 'good film' both begin with token 'good' (id 13) in TokenizersBackend"),
    ('an unknown word', lambda: word_ids(tok(), ['bad', 'splendid']), ValueError, "label word 'splendid' is unknown to TokenizersBackend"),
    ('an empty word', lambda: word_ids(tok(), ['bad', '']), ValueError, "label word '' is unknown"),
    ('a prompt without words', lambda: prompt(t=Task('plain', dict(train=FILM), ('no', 'yes'))), ValueError, 'must have label words and a template'),
    ('a template without a mask', lambda: prompt(t=task('{a} it was')), ValueError, 'template must have {m} once'),
    ('a template with two', lambda: prompt(t=task('{m} {a} {m}')), ValueError, 'template must have {m} once'),
    ('a template without text', lambda: prompt(t=task('it was {m}')), ValueError, 'template must have a place for a text'),
    ('a template with a format', lambda: prompt(t=task('{a:>9} {m}')), ValueError, 'without a format'),
    ('a column that is not there', lambda: prompt(t=task('{a} {b} {m}')).encode(FILM), ValueError, 'the template asks for {b}, and the examples have no such column; they have a'),
    ('a causal mask in the middle', lambda: prompt('llama', 'causal'), ValueError, 'the template must end with {m} for a causal model'),
    ('a head that is asked for words', lambda: PromptClassifier(model('bert', 'classify', 2), tok(), task()), ValueError, "needs a model of kind 'masked', 'seq2seq' or 'causal', got BertForSequenceClassification"),
    ('words that are asked for a head', lambda: HeadClassifier(model(), tok(), task()), ValueError, "needs a model of kind 'classify', got BertForMaskedLM"),
    ('a head of other classes', lambda: HeadClassifier(model('bert', 'classify', 3), tok(), task()), ValueError, 'the model must have 2 labels, as task films has classes, got 3'),
    # lengths
    ('rows longer than the model', lambda: prompt(max_length=513), ValueError, 'max_length must be at most 512, the positions of the bert model, got 513'),
    ('rows longer than RoBERTa', lambda: prompt('roberta', max_length=513), ValueError, 'max_length must be at most 512'),
    ('a template longer than the model', lambda: prompt(max_length=6), ValueError, 'template and special tokens alone are 6 tokens, got 6'),
    ('a direction that is none', lambda: prompt(truncate='middle'), ValueError, "truncate must be 'tail' or 'head', got 'middle'"),
    ('encode: a direction that is none', lambda: prompt().encode(FILM, 'middle'), ValueError, "truncate must be 'tail' or 'head'"),
    ('padding a masked model on the left', lambda: prompt().collate(prompt().encode(FILM), left=True), ValueError, 'only a causal model can be padded on the left'),
    # language models
    ('an objective of another model', lambda: LanguageModel(model(), tok(), 'causal'), ValueError, "objective must be 'causal' or 'masked', as the model was made, got 'causal' for BertForMaskedLM"),
    ('an objective that is none', lambda: LanguageModel(model('t5', 'seq2seq'), tok(), 'span'), ValueError, "got 'span'"),
    ('a share in percent', lambda: LanguageModel(model(), tok(), 'masked', mask_rate=15), ValueError, 'mask_rate must lie strictly between 0 and 1, got 15'),
    ('blocks of one', lambda: LanguageModel(model('llama', 'causal'), tok(), max_length=1), ValueError, 'max_length must be at least 3'),
    ('blocks longer than the model', lambda: LanguageModel(model('llama', 'causal'), tok(), max_length=9999), ValueError, 'max_length must be at most 2048'),
    ('a corpus of nothing', lambda: LanguageModel(model('llama', 'causal'), tok()).pack([]), ValueError, 'at least one document'),
]
