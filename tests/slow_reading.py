"The slow way to read a model, from its definition: one text at a time, no cache, nothing shared, all logits, float64, prompt and option encoded as one text. It knows transformers and the tokenizer only."
import functools
import numpy as np
import torch


def kind_of(model): return 'seq2seq' if model.config.is_encoder_decoder else 'masked' if type(model).__name__.endswith('MaskedLM') else 'causal'

def log_p(model, ids, **more): # (t, V) after each token; more: decoder_input_ids
    batch = dict(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)) | {k: torch.tensor([v]) for k, v in more.items()}
    with torch.no_grad(): return model(**batch).logits[0].double().log_softmax(-1)

def told(model, stem, branch): # (len(branch), V) log-probabilities where each token of the branch stands, from ids; stem: with the mask or the sentinel
    kind = kind_of(model)
    if kind == 'causal': return log_p(model, stem + branch[:-1])[len(stem) - 1:]
    if kind == 'seq2seq': return log_p(model, stem, decoder_input_ids=[model.config.decoder_start_token_id, model.sentinel, *branch[:-1]])[1:]
    at = stem.index(model.mask)
    rows = [[*stem[:at], *branch[:j], model.mask, *branch[j + 1:], *stem[at + 1:]] for j in range(len(branch))] # each token hidden in turn
    return torch.stack([log_p(model, r)[at + j] for j, r in enumerate(rows)])

def loglik(model, stem, branch, skip=0): return sum(p[t].item() for p, t in list(zip(told(model, stem, branch), branch, strict=True))[skip:])


# ---- the same from texts

def encode(model, tok, text, special=True): # ids of a text that ends where the answer begins
    if kind_of(model) == 'causal': return tok(text, add_special_tokens=special)['input_ids']
    ids = tok(text.rstrip(' '))['input_ids'] # the space before a mask belongs to what stands there
    return [*ids[:-1], model.mask if kind_of(model) == 'masked' else model.sentinel, ids[-1]] # before the separator, before the end

def after(model, tok, prompt, special=True): # (V,) log-probabilities of the word after a prompt, at the mask, at the sentinel
    return told(model, encode(model, tok, prompt, special), [0])[0]

@functools.cache
def said(model, tok, prompt, texts, special=True): # (tuples of texts) of each continuation its log-likelihood and its number of tokens
    if kind_of(model) != 'causal':
        branches = [tok(' ' + t.strip(), add_special_tokens=False)['input_ids'] for t in texts]
        return [(loglik(model, encode(model, tok, prompt, special), b), len(b)) for b in branches]
    prompt, space = prompt.rstrip(' '), prompt[len(prompt.rstrip(' ')):] # a space at the end belongs to the continuation
    own, wholes = encode(model, tok, prompt, special), [encode(model, tok, prompt + space + t, special) for t in texts]
    shared = min(next((i for i, (a, b) in enumerate(zip(own, w, strict=False)) if a != b), len(own)) for w in wholes) # what the prompt and all continuations begin with
    begin, out = ([] if shared else [tok.bos_token_id]), []
    for t, whole in zip(texts, wholes, strict=True):
        ends = [end for _, end in tok(prompt + space + t, add_special_tokens=special, return_offsets_mapping=True)['offset_mapping']]
        n = len(own) if shared == len(own) else sum(end <= len(prompt) for end in ends) # the first token that says anything of the continuation
        out.append((loglik(model, begin + whole[:shared], whole[shared:], n - shared), len(whole) - n))
    return out

@functools.cache
def of_words(model, tok, prompt, special=True):
    p = after(model, tok, prompt, special)
    top = p.exp().sort(descending=True).values
    return dict(msp=top[0].item(), margin=(top[0] - top[1]).item(), entropy=-(p.exp() * p).nansum().item(), word=p.argmax().item())

@functools.cache
def spelt(tok): return [tok.decode([i]).strip() for i in range(len(tok))]

@functools.cache
def letters(model, tok, prompt, k, special=True): # (k,) log-probability of each letter, over all tokens that say it
    p = after(model, tok, prompt, special).exp().tolist()
    return np.array([np.log(sum(p[i] for i, t in enumerate(spelt(tok)) if t in (x, x + '.'))) for x in 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[:k]])

def options(model, tok, prompt, texts, special=True): # the five ways, (k,) each
    parts = [t if prompt[-1:].isspace() else ' ' + t for t in texts]
    raw, n = np.array(said(model, tok, prompt, tuple(parts), special)).T
    alone = np.array([said(model, tok, '', (t,), special)[0][0] for t in parts])
    return dict(raw=raw, char=raw / [len(t) for t in texts], byte=raw / [len(t.encode()) for t in texts], token=raw / n, pmi=raw - alone)

@functools.cache
def write(model, tok, prompt, most, special=True): # greedy: tokens without the end, and the (V,) log-probabilities that each, and the end, was taken from
    out, rows = [], []
    while len(out) < most:
        p = told(model, encode(model, tok, prompt, special) + out, [0])[0]
        rows.append(p)
        if (word := p.argmax().item()) == tok.eos_token_id: break
        out.append(word)
    return out, rows

def every_token(model, ids, window, stride): # of every token but the first: its place, log-probability, and the distribution it was drawn from
    for t in range(1, len(ids)):
        end = min(len(ids), window + -(-max(0, t + 1 - window) // stride) * stride) # of the window that asks for it
        p = log_p(model, ids[max(0, end - window):t])[-1]
        yield t, p[ids[t]].item(), p
