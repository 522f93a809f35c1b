"Endpoints against a real small model behind a real server on this machine: numbers, bounds, every fault, and what is kept."
import codecs, json, math, os, ssl, sys, threading, time
from dataclasses import replace
from pathlib import Path
import numpy as np
import pytest
import torch
from endpoint import KEY, Speaker, chat_text, serving
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from plcal_study.lm import api
from plcal_study.lm.api import Endpoint, EndpointError, answer_of, first_of, heard_of, letters_of, option_of, read_endpoint, reply_of, token_at
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.models import build, load
from plcal_study.lm.prompts import answer_place, ask, parse_answer, take_asked
from plcal_study.lm.testbed import train_tokenizer
from plcal_study.measure.predictions import probs_of

QUESTIONS = ['Which town is north?', 'Who wrote it?', 'Is café one word?', 'What is 2 + 2?', 'Why not?', 'Which way to Rome?', 'Name one river.', 'How far is it?']
OPTIONS = [('Oslo', 'Rome'), ('a poet', 'no one', 'Ann'), ('yes', 'naïve café', 'so it is', 'never'), ('4', 'four', '22'), ('because', 'so'), ('north', 'south', 'east', 'west'), ('Tiber', 'Rhône'), ('far', 'not far at all')]
QUIZ = Examples([f'q{i}' for i in range(8)], QUESTIONS, [0, 2, 1, 0, 1, 3, 1, 0], options=OPTIONS, cluster=list('aabbccdd'))
TASK = Task('quiz', dict(test=QUIZ))
CORPUS = [t for t in [*QUESTIONS, *(o for row in OPTIONS for o in row), 'Question Answer user assistant A. B. C. D.'] if t.isascii()] # so that é is two tokens


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    "No proxy and no key from outside, and no certificates read, as nothing here is encrypted."
    monkeypatch.setattr(ssl.SSLContext, 'load_verify_locations', lambda *args, **kwargs: None)
    for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY'):
        for n in (name, name.lower()): monkeypatch.delenv(n, raising=False)
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)

@pytest.fixture(scope='module')
def speaker():
    tokenizer = train_tokenizer(CORPUS, 400, kind='bpe', keep='ABCD', frame='none')
    return Speaker(build('llama', (2, 64, 2), tokenizer, 'causal', seed=4, initializer_range=.15), tokenizer)

def client(server, **how): return Endpoint(server.base, 'tiny', **dict(wait=.01, timeout=20) | how)

def ask_about(rows=None, prompt='plain'):
    q = ask(TASK, prompt=prompt)
    return q if rows is None else take_asked(q, rows)

def by_letter(speaker, ids, k):
    "Oracle: probability of each letter after `ids`, over all of its spellings, and the whole distribution."
    p = speaker.log_p(ids)[-1].exp().numpy()
    mass = np.zeros(k)
    for i in range(len(p)):
        text = speaker.raw(i).decode('utf-8', 'replace').strip()
        for j in range(k):
            if text in ('ABCD'[j], 'ABCD'[j] + '.'): mass[j] += p[i]
    return mass, p


# -- numbers against the model itself --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('chat', [True, False])
def test_letters_are_the_models_own(speaker, chat):
    q, n = ask_about(), len(speaker.tokenizer)
    with serving(speaker) as server: p = read_endpoint(client(server, chat=chat, top=n), q)['letters']
    for i, text in enumerate(q.prompt):
        mass, whole = by_letter(speaker, speaker.ids(chat_text(text) if chat else text), k := len(q.options[i]))
        assert_allclose(np.exp(p.logits[i, :k]), mass, atol=1e-5); assert np.isnan(p.logits[i, k:]).all()
        assert_allclose([p.conf[i], p.scores['msp'][i], p.scores['off_option_mass'][i]], [mass.max() / mass.sum(), whole.max(), 1 - mass.sum()], atol=1e-5)
        assert p.correct[i] == (mass.argmax() == q.label[i]) and p.scores['missing'][i] == 0
        assert_allclose([p.scores[f'mass_{x}'][i] for x in 'ABCD'], np.pad(mass, (0, 4 - k)), atol=1e-5)
    assert_array_equal(p.uid, QUIZ.uid); assert_array_equal(p.cluster, QUIZ.cluster)
    assert_allclose(p.scores['entropy'], [-sum(x * math.log(x) for x in row if x) for row in p.probs]); assert not p.scores['tie'].any()
    assert server.asked[0][0] == ('/v1/chat/completions' if chat else '/v1/completions') and len(server.asked) == 8
    assert all(q['temperature'] == 0 and q['max_tokens'] == 1 for _, q, *_ in server.asked)

@pytest.mark.parametrize('top', [3, 40, 150])
@pytest.mark.parametrize('chat', [True, False])
def test_bounds_hold_for_a_real_model_that_is_told_in_part(speaker, top, chat):
    q = ask_about()
    with serving(speaker) as server: p = read_endpoint(client(server, chat=chat, top=top), q)['letters']
    for i, text in enumerate(q.prompt):
        mass, _ = by_letter(speaker, speaker.ids(chat_text(text) if chat else text), k := len(q.options[i]))
        if p.scores['missing'][i] == k: assert (p.conf[i], p.correct[i], p.scores['unparseable'][i], p.scores['conf_lo'][i], p.scores['conf_hi'][i]) == (0, False, 1, 0, 1)
        else:
            told = letters_of(**(first := server_first(speaker, text, top, chat)), k=k)
            assert first['floor'] < 0 and told.conf_lo - 1e-9 <= mass[np.argmax(told.logits)] / mass.sum() <= told.conf_hi + 1e-9
            assert_allclose([p.scores['conf_lo'][i], p.scores['conf_hi'][i], p.conf[i]], [told.conf_lo, told.conf_hi, probs_of(told.logits[None]).max()], atol=1e-9)
    assert top != 3 or p.logits is None # no honest logits for all rows

def server_first(speaker, text, top, chat):
    p = speaker.log_p(speaker.ids(chat_text(text) if chat else text))[-1]
    v, i = p.topk(top)
    first = [(speaker.raw(int(j)).decode('utf-8', 'replace'), float(x)) for x, j in zip(v, i, strict=True)]
    if not chat: first = list(dict(reversed(first)).items()) # a completion cannot tell two tokens of one text apart
    return dict(first=first, floor=min(x for _, x in first))

@pytest.mark.parametrize('chat', [True, False])
def test_answers_are_those_of_a_slow_greedy_loop(speaker, chat):
    q = ask_about()
    with serving(speaker) as server: p = read_endpoint(client(server, chat=chat), q, 'answer', max_tokens=10)['answer']
    rules = set()
    for i, text in enumerate(q.prompt):
        ids = speaker.ids(chat_text(text) if chat else text)
        written, probs = [], []
        for _ in range(10):
            z = speaker.model(input_ids=torch.tensor([ids + written])).logits[0, -1].detach().double().softmax(0)
            written.append(int(z.argmax())); probs.append(float(z.max()))
            if written[-1] == speaker.tokenizer.eos_token_id: break
        spoken = [j for j in written if j not in speaker.special]
        decode = codecs.getincrementaldecoder('utf-8')('replace').decode
        pieces = [decode(speaker.raw(j), j is spoken[-1]) for j in spoken]
        said, owner = ''.join(pieces), [t for t, x in enumerate(pieces) for _ in x]
        option, place = parse_answer(said, q.options[i]).option, answer_place(said, q.options[i])
        rules.add(parse_answer(said, q.options[i]).rule)
        assert_allclose(p.conf[i], probs[owner[place]] if option is not None and place is not None else 0, atol=1e-6)
        assert p.correct[i] == (option == q.label[i]) and p.scores['unparseable'][i] == (option is None)
        assert p.scores['option'][i] == (-1 if option is None else option) and p.scores['tokens'][i] == len(written)
    assert p.logits is None and p.meta['max_tokens'] == 10 and len(rules) > 1, f'all answers alike: {rules}'

def sums(speaker, text, option, special=True):
    "Oracle: log-likelihood of the tokens that begin in the option or in the space before it; and how many."
    whole, begin = text.rstrip() + (text[len(text.rstrip()):] or ' ') + option, len(text.rstrip())
    ids = speaker.ids(whole, special)
    lp = speaker.log_p(ids)
    at, total, n = len(speaker.bos) if special else 0, 0., 0
    for t in range(at, len(ids)):
        place = len(b''.join(map(speaker.raw, ids[at:t])).decode('utf-8', 'ignore')) - (t > at) # a space stands before the text
        if place >= begin: total, n = total + float(lp[t - 1, ids[t]]), n + 1
    return total, n

def check_options(p, q, speaker):
    for i, (text, options) in enumerate(zip(q.prompt, q.options, strict=True)):
        for j, o in enumerate(options):
            total, n = sums(speaker, text, o)
            got = [p[by].logits[i, j] for by in ('raw', 'char', 'byte', 'token')]
            assert_allclose(got, [total, total / len(o), total / len(o.encode()), total / n], atol=1e-4)

HOW = dict(plain={}, bytes=dict(tokens='bytes'), vocabulary=dict(tokens='raw', offsets='minus'), sglang=dict(tokens='bytes', offsets='minus'), no_offsets=dict(tokens='bytes', offsets='none'), ends_at_once=dict(tokens='bytes', least_tokens=1))

@pytest.mark.parametrize('how, bos', [*((h, False) for h in HOW.values()), (HOW['plain'], True), (HOW['sglang'], True)], ids=[*HOW, 'plain_bos', 'sglang_bos'])
def test_options_are_sums_of_the_models_own_log_softmax(speaker, how, bos):
    plain = [0, 1, 3, 7] # a vocabulary entry of half a character is not text, and can only be placed by the server
    q = ask_about(plain if how.get('tokens') == 'raw' else [0, 2, 3, 6], 'bare')
    other = Speaker(speaker.model, speaker.tokenizer, bos)
    with serving(other, **how) as server: p = read_endpoint(client(server), q, 'options')
    check_options(p, q, other)
    assert list(p) == ['raw', 'char', 'byte', 'token'] and all(x['path'] == '/completions' and x['chat'] is False for x in (v.meta for v in p.values()))
    assert len(server.asked) == sum(map(len, q.options)) and all(x['echo'] and x['max_tokens'] == 1 for _, x, *_ in server.asked)
    for x in p.values(): assert_array_equal(x.scores['loglik'], p['raw'].logits[np.arange(len(q)), np.nanargmax(x.logits, 1)])
    assert_allclose(p['raw'].scores['margin'], [np.diff(np.sort(r)[-2:])[0] for r in p['raw'].probs])

def test_a_space_that_the_question_ends_in_is_the_options(speaker):
    q = ask_about([1, 2], 'bare')
    spaced = replace(q, prompt=[t + ' ' for t in q.prompt])
    lined = replace(q, prompt=[t + '\n' for t in q.prompt])
    with serving(speaker, tokens='bytes') as server: a, b, c = (read_endpoint(client(server), x, 'options') for x in (q, spaced, lined))
    assert_allclose(a['raw'].logits, b['raw'].logits); check_options(c, lined, speaker)
    assert not np.allclose(a['raw'].logits, c['raw'].logits, equal_nan=True)

def test_garbled_characters_are_placed_by_the_servers_count_or_not_at_all(speaker):
    q = ask_about([2], 'bare') # café before, naïve café as an option
    with serving(speaker) as server: check_options(read_endpoint(client(server), q, 'options'), q, speaker)
    whole = replace(q, options=[('yes', 'no', 'so', 'far')])
    with serving(speaker, offsets='minus') as server: check_options(read_endpoint(client(server), whole, 'options'), whole, speaker) # what is garbled stands before the option
    with serving(speaker, offsets='drift') as server, pytest.raises(EndpointError, match='do not spell it'): read_endpoint(client(server), q, 'options')

def test_a_template_that_wrote_the_beginning_token_is_not_given_another(speaker):
    q, other = ask_about(prompt='bare'), Speaker(speaker.model, speaker.tokenizer, bos=True)
    q = replace(q, meta=q.meta | dict(chat=True))
    with serving(other, tokens='bytes') as server:
        p = read_endpoint(client(server), q, 'options')['raw']
        read_endpoint(client(server, chat=False), replace(ask_about([0]), meta=q.meta | dict(prompt='own')), 'answer', 3)
    assert_allclose(p.logits[0, 0], sums(other, q.prompt[0], q.options[0][0], special=False)[0], atol=1e-4)
    assert all(x['add_special_tokens'] is False for _, x, *_ in server.asked) and p.meta['chat'] is True

STORY_SPANS = {'stories260K': [(' happy.', 2, False), (' sad and', 3, False)], 'TinyStories-656K': [('.', 1, True), ('sad and', 2, False)]} # what is left of the option, in how many tokens, and whether its beginning is fused with the question

@pytest.mark.parametrize('name', STORY_SPANS)
def test_real_decoders_with_other_tokenizers(name):
    "One puts spaces before words, one behind them."
    folder = Path(os.environ.get('PLCAL_DATA', '.')).parent / 'models' / name
    if not folder.exists(): pytest.skip(f'the decoder {name} is not in the folder models beside the data')
    model, tokenizer = load(folder, 'causal')
    context = 'Once upon a time, there was a little girl named Lily. She was very'
    got = []
    for o in ('happy.', 'sad and'):
        ids = [tokenizer.bos_token_id, *tokenizer(f'{context} {o}', add_special_tokens=False)['input_ids']]
        with torch.no_grad(): lp = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        texts = [tokenizer.convert_ids_to_tokens(i).replace('▁', ' ') for i in ids]
        texts[1] = texts[1].removeprefix(' ')
        assert ''.join(texts[1:]) == f'{context} {o}'
        places = [len(''.join(texts[1:t])) for t in range(1, len(ids) + 1)]
        p = [None, *(float(lp[t - 1, i]) for t, i in enumerate(ids) if t)]
        body = dict(choices=[dict(text='', logprobs=dict(tokens=[*texts, '!'], token_logprobs=[*p, -1.], text_offset=[0, *(len(texts[0]) + x for x in places)]))])
        found = option_of(body, f'{context} {o}', f' {o}')
        mine = [x for x, at in zip(p[1:], places, strict=False) if at >= len(context)]
        edge = min(at for at in places if at >= len(context))
        assert found == dict(logprobs=mine, fused=(whole := f'{context} {o}')[len(context):edge].strip() != '')
        got.append((whole[edge:], len(mine), found['fused']))
    assert got == STORY_SPANS[name]


# -- pure functions --------------------------------------------------------------------------------------------------------------------

VOCABULARY = [f'{a}{x}{b}' for x in 'ABCD' for a, b in (('', ''), (' ', ''), ('', '.'), ('▁', ''))] + ['The', 'I', 'An', 'AB', '', '.', ' ', 'a', 'E']

@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(-12, 3), min_size=len(VOCABULARY), max_size=len(VOCABULARY)), st.integers(1, len(VOCABULARY)), st.integers(1, 4))
def test_the_true_share_lies_in_the_bounds(scores, top, k):
    p = np.exp(scores) / np.exp(scores).sum()
    order = np.argsort(-p, kind='stable')[:top]
    h = letters_of([(VOCABULARY[i], math.log(p[i])) for i in order], k)
    truth = np.array([p[4 * j:4 * j + 4].sum() for j in range(k)])
    told = np.array([sum(p[i] for i in order if i // 4 == j) for j in range(k)])
    assert h.missing == (told == 0).sum() and h.msp == pytest.approx(p.max())
    assert h.off_option_mass == pytest.approx(1 - told.sum(), abs=1e-9) and h.off_option_mass >= 1 - truth.sum() - 1e-9
    if h.missing == k: assert (h.conf_lo, h.conf_hi, h.undecided) == (0, 1, True) and np.isnan(h.logits).all(); return
    i = int(h.logits.argmax())
    assert told[i] == told.max() and 0 <= h.conf_lo - 1e-12 <= truth[i] / truth.sum() <= h.conf_hi + 1e-9
    conf = probs_of(h.logits[None]).max()
    assert h.conf_lo - 1e-9 <= conf <= h.conf_hi + 1e-9
    assert h.undecided or truth.argmax() == i
    if top == len(p): assert_allclose([h.conf_lo, h.conf_hi, conf], truth[i] / truth.sum(), atol=1e-4 if truth.sum() > .05 else 1)
    assert (np.exp(h.logits[told == 0]) <= p[order].min() * (1 + 1e-9)).all() and np.exp(h.logits[told == 0]).sum() <= 1 - p[order].sum() + 2e-6

@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-8, 3), min_size=12, max_size=12), st.integers(4, 12))
def test_the_confidence_is_a_lower_bound_where_every_letter_has_one_spelling(scores, top):
    names, p = [*'ABCD', *(f'w{i}' for i in range(8))], np.exp(scores) / np.exp(scores).sum()
    h = letters_of([(names[i], math.log(p[i])) for i in np.argsort(-p)[:top]], 4)
    if h.missing < 4: assert probs_of(h.logits[None]).max() <= p[:4][h.logits.argmax()] / p[:4].sum() + 1e-9

def test_limits_of_letters():
    sure = letters_of([('A', 0.)], 4) # all mass told: nothing is left for the others but rounding
    assert sure.conf_lo > 1 - 1e-5 and sure.conf_hi == pytest.approx(1) and not sure.undecided and np.isfinite(sure.logits).all()
    assert letters_of([('A', math.log(.5)), ('B', math.log(.5))], 2).undecided
    assert letters_of([('A', math.log(.3))], 1)[4:] == (pytest.approx(.3), pytest.approx(1), 0, False)
    shared = letters_of([('A', math.log(.6)), ('x', math.log(.3))], 4) # three letters share the rest of .1, though each alone could have all of it
    assert_allclose(np.exp(shared.logits), [.6, *[.1 / 3] * 3], atol=1e-6); assert probs_of(shared.logits[None]).max() == pytest.approx(shared.conf_lo, abs=1e-6)
    nothing = letters_of([], 3)
    assert (nothing.msp, nothing.off_option_mass, nothing.missing) == (0, 1, 3)
    assert letters_of([('A', math.log(.4)), ('Ġ B.', math.log(.3)), ('C.D', -2.), ('ABC', -2.)], 3).missing == 1
    floor = letters_of([('A', math.log(.6)), ('x', math.log(1e-5))], 2, floor=math.log(.1)) # the least token is the chosen one, which was none of the likeliest
    assert_allclose(np.exp(floor.logits[1]), .1)

def test_the_floor_is_that_of_the_likeliest_without_the_chosen():
    def body(chosen, top): return dict(choices=[dict(message=dict(content='A'), logprobs=dict(content=[dict(token=chosen[0], logprob=chosen[1], top_logprobs=[dict(token=t, logprob=p) for t, p in top])]))])
    assert first_of(body(('x', -9.), [('A', -.5), ('B', -2.), ('x', -9.)])) == dict(first=[['A', -.5], ['B', -2.], ['x', -9.]], floor=-2.)
    assert first_of(body(('x', -9.), [('A', -.5), ('B', -2.)])) == dict(first=[['A', -.5], ['B', -2.], ['x', -9.]], floor=-2.)
    assert first_of(body(('A', -.5), [('A', -.5), ('B', -2.), ('C', -9999.), ('D', -math.inf), ('E', math.nan)])) == dict(first=[['A', -.5], ['B', -2.]], floor=-2.)
    assert first_of(body(('A', -.5), [])) == dict(first=[['A', -.5]], floor=-.5) # greedy: no other token is likelier
    columns = dict(choices=[dict(text='A', logprobs=dict(tokens=['A'], token_logprobs=[-.5], top_logprobs=[{'A': -.5, 'B': -2., 'C': -9999., 'D': None}]))])
    assert first_of(columns) == dict(first=[['A', -.5], ['B', -2.]], floor=-2.)
    with pytest.raises(EndpointError, match='no logprobs'): first_of(body(('A', -9999.), [('B', -.5)]))

WORDS = st.text(st.sampled_from('AB. é日😀x\n'), min_size=1, max_size=12).filter(lambda t: t.strip())

@settings(max_examples=80, deadline=None)
@given(WORDS, st.data())
def test_the_token_of_a_character_holds_its_first_byte(text, data):
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=6)) | {0, len(raw)})
    tokens = [raw[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    before, after = data.draw(st.sampled_from([[], [b'<think>', b' A. ']])), data.draw(st.sampled_from([[], [b'<|A.END|>']]))
    place = data.draw(st.integers(0, len(text) - 1).filter(lambda i: not text[i].isspace()))
    want = len(before) + next(t for t in range(len(tokens)) if cuts[t + 1] > len(text[:place].encode()))
    assert token_at(text, before + tokens + after, place) == want
    if place >= len(text) - len(text.lstrip()): assert token_at(text.strip(), before + tokens + after, place - (len(text) - len(text.lstrip()))) == want # servers strip
    if text[place].isascii(): # half characters garbled, as servers without bytes do
        assert token_at(text, before + [t.decode('utf-8', 'replace').encode() for t in tokens] + after, place) == want

def test_a_text_that_the_tokens_do_not_spell():
    for text, tokens, place in (('A. yes', [b'B', b'. yes'], 0), ('é', ['�'.encode()] * 2, 0), ('A', [], 0)):
        with pytest.raises(EndpointError, match='do not spell'): token_at(text, tokens, place)

@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from('ab :\n'), min_size=1, max_size=10).filter(str.strip), st.text(st.sampled_from('ab '), min_size=1, max_size=8).filter(lambda t: t[0] != ' '), st.data())
def test_the_options_tokens_are_those_that_begin_in_it(context, option, data):
    begin = context.rstrip()
    span = (context[len(begin):] or ' ') + option
    prompt = begin + span
    cuts = sorted(data.draw(st.sets(st.integers(1, len(prompt) - 1), max_size=8)) | {0, len(prompt)})
    tokens, p = [prompt[a:b] for a, b in zip(cuts, cuts[1:], strict=False)], [-float(i) for i in range(1, len(cuts))]
    bos = data.draw(st.sampled_from([[], ['<s>']]))
    offsets = [0] * len(bos) + [len(''.join(bos)) + c for c in cuts]
    body = dict(choices=[dict(text='', logprobs=dict(tokens=[*bos, *tokens, 'b'], token_logprobs=[None] * len(bos) + [*p, -99.], text_offset=offsets))])
    mine = [x for x, at in zip(p, cuts, strict=False) if at >= len(begin)]
    if not mine:
        with pytest.raises(EndpointError, match='no token of its own'): option_of(body, prompt, span)
        return
    edge = min(at for at in cuts if at >= len(begin))
    assert option_of(body, prompt, span) == dict(logprobs=mine, fused=prompt[len(begin):edge].strip() != '')

@pytest.mark.parametrize('tokens, n', [(['x'], 1), ([' Rome'], 1), ([' Rome', ' Rome'], 2)])
def test_a_server_that_does_not_echo_gives_no_number(tokens, n):
    body = dict(choices=[dict(text='x', logprobs=dict(tokens=tokens, token_logprobs=[-.1] * n, text_offset=list(range(n))))])
    with pytest.raises(EndpointError, match='does not echo the prompt'): option_of(body, 'Which town? Rome', ' Rome')

def test_a_repeating_option_is_not_cut_where_nothing_was_generated():
    tokens = ['Say', ' ha', ' ha', ' ha']
    body = dict(choices=[dict(text='', logprobs=dict(tokens=tokens, token_logprobs=[None, -1., -2., -3.], text_offset=[0, 3, 6, 9]))])
    assert option_of(body, 'Say ha ha ha', ' ha ha')['logprobs'] == [-2., -3.]
    assert option_of(body, 'Say ha ha', ' ha')['logprobs'] == [-2.] # here the last one was
    for prompt, want in (('ha ha', [-1.]), ('ha ha ha', [-2.])): # one was generated, or none
        body = dict(choices=[dict(text='', logprobs=dict(tokens=['ha', ' ha', ' ha'], token_logprobs=[None, -1., -2.], text_offset=[0, 2, 5]))])
        assert option_of(body, prompt, ' ha')['logprobs'] == want

def test_impossible_and_unknown_tokens_of_an_option():
    def body(*p): return dict(choices=[dict(text='', logprobs=dict(tokens=['Q', ' a', ' b', '.'], token_logprobs=p, text_offset=[0, 1, 3, 5]))])
    assert option_of(body(None, -1., -9999., -.1), 'Q a b', ' a b')['logprobs'] == [-1., -9999.]
    assert option_of(body(None, -1., -math.inf, -.1), 'Q a b', ' a b')['logprobs'] == [-1., -9999.]
    with pytest.raises(EndpointError, match='has no logprob'): option_of(body(None, None, -1., -.1), 'Q a b', ' a b')
    with pytest.raises(EndpointError, match='logits'): option_of(body(None, 7.5, -1., -.1), 'Q a b', ' a b')

def test_a_reply_that_was_held_back_is_an_unparseable_one():
    held = dict(choices=[dict(message=dict(content=None), finish_reason='content_filter', logprobs=None)])
    refused = dict(choices=[dict(message=dict(content=None, refusal='no'), logprobs=dict(content=None, refusal=[]))])
    ended = dict(choices=[dict(message=dict(content=''), logprobs=dict(content=[]))])
    for body in (held, refused, ended):
        assert reply_of(body).tokens == [] and first_of(body)['first'] == []
        assert answer_of(heard_of(body), ('', 'b')) == (None, 0) # an empty option would be found in an empty text

def test_what_is_reduced_is_json():
    raw = b'\xf0\x9f'
    body = dict(choices=[dict(message=dict(content='A \ufffd'), logprobs=dict(content=[dict(token='A', bytes=[65], logprob=-.5, top_logprobs=[]), dict(token=' \ufffd', bytes=[32, *raw], logprob=-1.)]))])
    for reduced in (heard_of(body), first_of(body)): assert json.loads(json.dumps(reduced, allow_nan=False)) == reduced
    assert answer_of(json.loads(json.dumps(heard_of(body))), ('x', 'y')) == (0, pytest.approx(math.exp(-.5)))

def test_the_pause_before_another_try():
    assert [max(api._pause(None, t, 1.) for _ in range(300)) > .9 * min(60, 2 ** t) for t in range(9)] == [True] * 9
    assert all(.5 * min(60, 2 ** t) <= api._pause(None, t, 1.) <= min(60, 2 ** t) for t in range(9) for _ in range(50))
    assert len({api._pause(None, 3, 1.) for _ in range(9)}) == 9, 'without jitter all workers come back at once'
    assert (api._pause('2.5', 0, 99.), api._pause('-1', 0, 99.), api._pause('inf', 0, 1.)) == (2.5, 0, math.inf)
    from email.utils import formatdate
    assert 25 < api._pause(formatdate(time.time() + 30), 0, 1.) <= 30


# -- faults ----------------------------------------------------------------------------------------------------------------------------

def once(*faults): return lambda n, path, q: faults[n] if n < len(faults) else None

PASSING = dict(busy=('busy', '0.01'), busy_without_a_time='busy', broken=('status', 500), gone=('status', 503), conflict=('status', 409), late=('status', 408), dropped='drop', hanging=('slow', 1.3))

@pytest.mark.parametrize('fault', PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_again(speaker, fault):
    q = ask_about([0, 1])
    with serving(speaker) as server: want = read_endpoint(client(server), q)['letters']
    with serving(speaker, once(fault, fault)) as server: got = read_endpoint(client(server, workers=1, timeout=.9 if fault[0] == 'slow' else 20), q)['letters']
    assert_array_equal(got.conf, want.conf); assert len(server.asked) == 4
    assert [x['messages'] for _, x, *_ in server.asked[:3]] == [server.asked[0][1]['messages']] * 3

LASTING = dict(
    refused=(('status', 401), 'status 401', 'it wants a key, and none was given'), forbidden=(('status', 403), 'OPENAI_API_KEY', 'status 403'), absent=(('status', 404), "knows no model 'tiny'", '/v1/models should list'),
    wrong=(('status', 400), 'the request is refused as it is', 'it says: status 400, as was asked'), moved=('moved', 'it has moved', 'status 307'), html=('text', 'is not JSON', 'welcome'), empty=(('body', {}), 'no choices', 'OpenAI-compatible'),
    no_choice=(('body', dict(choices=[])), 'no choices', ''), a_list=(('body', [1]), 'no choices', 'it says: [1]'), an_error=(('body', dict(error=dict(message=f'no {KEY} here'))), 'no choices', 'it says: no sk-*** here'), patience=(('busy', 7200), 'asks to wait 7200 s', 'too many requests'),
    mute=(('edit', lambda c: c.update(logprobs=None)), 'gives no logprobs; reasoning models give none', "model 'tiny' at http://127.0.0.1"), strange=(('edit', lambda c: c.update(logprobs=dict(content=[7]))), 'form that is not known', 'TypeError'),
    columns=(('edit', lambda c: c.update(logprobs=dict(tokens=['a', 'b'], token_logprobs=[-1.]))), 'form that is not known', '2 tokens, 1 logprobs'), message=(('edit', lambda c: c.update(message=[1])), 'form that is not known', 'AttributeError'),
    logits=(('edit', lambda c: c['logprobs']['content'][0]['top_logprobs'][1].update(logprob=3.)), 'does it send logits', 'raw_logits'))

@pytest.mark.parametrize('fault, says, too', LASTING.values(), ids=LASTING)
def test_what_lasts_is_said_at_once(speaker, fault, says, too):
    with serving(speaker, lambda n, path, q: fault) as server, pytest.raises(EndpointError) as e: read_endpoint(client(server, workers=1), ask_about())
    assert says in str(e.value) and too in str(e.value) and "question 'q0'" in str(e.value) and len(server.asked) == 1, e.value

TIRED = dict(busy=('busy', 'too many requests: lower workers'), broken=(('status', 502), 'status 502 (it says: status 502, as was asked)'), dropped=('drop', 'the connection broke'), hanging=(('slow', .5), 'no answer within 0.1 s; raise Endpoint(timeout=…)'))

@pytest.mark.parametrize('fault, says', TIRED.values(), ids=TIRED)
def test_what_does_not_pass_is_given_up(speaker, fault, says):
    with serving(speaker, lambda n, path, q: fault) as server, pytest.raises(EndpointError) as e: read_endpoint(client(server, workers=1, retries=2, timeout=.1), ask_about())
    assert 'no answer after 3 tries: ' in str(e.value) and says in str(e.value) and len(server.asked) == 3

def test_a_server_that_was_never_there_is_not_waited_for(speaker):
    with serving(speaker) as server: pass
    start = time.monotonic()
    with pytest.raises(EndpointError, match='cannot connect .*is the server running'): read_endpoint(client(server, wait=20), ask_about())
    assert time.monotonic() - start < 5

def test_a_server_that_was_there_is_waited_for(speaker):
    with serving(speaker, lambda n, path, q: 'drop' if n else None) as server:
        def close(done, n): server.shutdown(); server.server_close()
        start = time.monotonic()
        with pytest.raises(EndpointError, match='no answer after 4 tries: the connection broke .ConnectError'): read_endpoint(client(server, workers=1, retries=3, wait=.1), ask_about(), progress=close)
    assert time.monotonic() - start > .35 and len(server.asked) >= 2

def test_the_servers_own_time_wins(speaker):
    with serving(speaker, once(('busy', '0.2'))) as server: read_endpoint(client(server, wait=500), ask_about([0]))
    assert .2 <= server.asked[1][3] - server.asked[0][3] < 5

def test_after_the_last_try_nobody_waits(speaker):
    start = time.monotonic()
    with serving(speaker, lambda n, path, q: ('busy', 30)) as server, pytest.raises(EndpointError, match='no answer after 1 tries'): read_endpoint(client(server, retries=0), ask_about([0]))
    assert time.monotonic() - start < 10

def test_the_pauses_double(speaker):
    with serving(speaker, once('busy', 'busy', 'busy')) as server: read_endpoint(client(server, wait=.1), ask_about([0]))
    gaps = np.diff([a[3] for a in server.asked])
    assert (gaps > [.05, .1, .2]).all() and (gaps < [.6, .7, .9]).all()

def test_newer_models_call_the_number_of_tokens_otherwise(speaker):
    q = ask_about()
    with serving(speaker) as server: want = read_endpoint(client(server), q)['letters']
    with serving(speaker, max_tokens='max_completion_tokens') as server: got = read_endpoint(client(server, workers=1, retries=0), q)['letters']
    assert_array_equal(got.conf, want.conf); assert len(server.asked) == 9, 'asked once under the old name, not once a question'

def test_a_server_that_refuses_logprobs_is_told_from_others(speaker):
    fault = 'body', dict(error=dict(message="x"))
    with serving(speaker, lambda n, path, q: fault) as server, pytest.raises(EndpointError, match='no choices'): read_endpoint(client(server), ask_about([0]))
    assert 'reasoning models give none' in api._refusal(400, "'logprobs' is not supported with reasoning models", client(server))

def test_tokens_as_numbers_are_refused(speaker):
    with serving(speaker, tokens='id') as server, pytest.raises(EndpointError, match='numbers instead of tokens'): read_endpoint(client(server, chat=False), ask_about([0]))

def test_untold_and_fewer_tokens_only_widen_the_bounds(speaker):
    "The server tells 9 of 60, and marks others as not told."
    def cut(c):
        top = c['logprobs']['content'][0]['top_logprobs']
        c['logprobs']['content'][0]['top_logprobs'] = top[:9] + [t | dict(logprob=-9999.) for t in top[9:12]]
    q = ask_about()
    with serving(speaker, lambda n, path, x: ('edit', cut)) as server: p = read_endpoint(client(server, top=60), q)['letters']
    with serving(speaker) as server: few = read_endpoint(client(server, top=9), q)['letters']
    for name, v in few.scores.items(): assert_array_equal(p.scores[name], v, name)

def test_letters_that_are_not_told_in_one_row_take_the_logits_of_all(speaker):
    def mute(c): c['logprobs']['content'][0]['top_logprobs'] = [dict(token='Hello', logprob=-.1)]; c['logprobs']['content'][0].update(token='Hello', bytes=None, logprob=-.1)
    q, n = ask_about(), len(speaker.tokenizer)
    with serving(speaker) as server: whole = read_endpoint(client(server, top=n), q)['letters']
    with serving(speaker, once(None, None, ('edit', mute))) as server: p = read_endpoint(client(server, top=n, workers=1), q)['letters']
    others = np.arange(8) != 2
    assert p.logits is None and whole.logits is not None and p.scores['unparseable'].tolist() == (~others).tolist() and whole.scores['unparseable'].sum() == 0
    assert (p.conf[2], p.correct[2], p.scores['missing'][2], p.scores['margin'][2]) == (0, False, 4, 0) and p.scores['entropy'][2] == pytest.approx(math.log(4))
    assert_allclose(p.conf[others], whole.conf[others]); assert_array_equal(p.correct[others], whole.correct[others])
    assert p.scores['tie'].tolist() == (~others).tolist() and [p.scores[f'mass_{x}'][2] for x in 'ABCD'] == [0] * 4
    assert_array_equal(p.correct, (p.conf > 0) & (np.array([p.scores[f'mass_{x}'] for x in 'ABCD']).argmax(0) == q.label))
    for s in ('margin', 'entropy', 'msp', 'conf_lo'): assert_allclose(p.scores[s][others], whole.scores[s][others])

def test_the_true_posterior_of_the_answer_goes_along(speaker):
    e = Examples(['a', 'b'], ['one?', 'two?'], [0, 1], options=[('x', 'y')] * 2, posterior=[[.9, .1], [.3, .7]])
    q = ask(Task('known', dict(test=e)))
    with serving(speaker) as server: p, o = read_endpoint(client(server, top=len(speaker.tokenizer)), q)['letters'], read_endpoint(client(server), replace(q, meta=q.meta | dict(prompt='own')), 'options')['char']
    for x in (p, o): assert_array_equal(x.scores['true_posterior'], e.posterior[[0, 1], x.logits.argmax(1)])
    def lost(c): c['message']['content'] = ''; c['logprobs']['content'] = []
    with serving(speaker, lambda n, path, x: ('edit', lost)) as server: a = read_endpoint(client(server), q, 'answer', 2)['answer']
    assert a.scores['true_posterior'].tolist() == [0, 0] and a.conf.tolist() == [0, 0] and not a.correct.any()

def test_options_without_any_probability_give_no_number(speaker):
    def dead(c): c['logprobs']['token_logprobs'] = [None] + [-9999.] * (len(c['logprobs']['tokens']) - 1)
    q = ask_about([0, 1], 'bare')
    with serving(speaker, lambda n, path, x: ('edit', dead) if n < 1 else None) as server: p = read_endpoint(client(server, workers=1), q, 'options')['raw']
    assert p.logits[0, 0] == -np.inf and p.conf[0] == 1
    with serving(speaker, lambda n, path, x: ('edit', dead) if n < 2 else None) as server, pytest.raises(EndpointError, match="'q0'.*every option has probability 0"): read_endpoint(client(server, workers=1), q, 'options')


# -- what is kept ----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('mode, workers', [('letters', 1), ('letters', 4), ('answer', 2), ('options', 3)])
def test_a_run_that_breaks_goes_on_where_it_was(speaker, mode, workers):
    q = ask_about(prompt='bare' if mode == 'options' else 'plain')
    total = sum(map(len, q.options)) if mode == 'options' else 8
    with serving(speaker, tokens='bytes') as server: want = read_endpoint(client(server), q, mode, 6)
    kept = {}
    with serving(speaker, lambda n, path, x: ('status', 400) if n == 5 else None, tokens='bytes') as server:
        with pytest.raises(EndpointError): read_endpoint(client(server, workers=workers), q, mode, 6, kept=kept)
    came = sum(len(k['parts']) for k in kept.values())
    assert came == len(server.asked) - 1 and 5 <= came < 5 + workers, 'a reply was lost, or asking went on'
    kept = json.loads(json.dumps(kept, allow_nan=False))
    with serving(speaker, tokens='bytes') as server: got = read_endpoint(client(server, workers=workers), q, mode, 6, kept=kept)
    assert len(server.asked) == total - came and set(kept) == set(q.uid)
    for k, p in want.items():
        assert_array_equal(got[k].conf, p.conf); assert_array_equal(got[k].correct, p.correct)
        assert got[k].meta | dict(base='') == p.meta | dict(base='')
    again = read_endpoint(client(server, workers=1), q, mode, 6, kept=kept) # nobody is there any more
    assert_array_equal(next(iter(again.values())).conf, next(iter(want.values())).conf)

def test_ctrl_c_waits_for_what_is_under_way_and_asks_no_more(speaker):
    kept, seen = {}, []
    def interrupt(done, n):
        seen.append((done, n))
        if done == 2: raise KeyboardInterrupt
    with serving(speaker, lambda n, path, q: ('slow', .1)) as server, pytest.raises(KeyboardInterrupt): read_endpoint(client(server, workers=3), ask_about(), progress=interrupt, kept=kept)
    assert seen == [(1, 8), (2, 8)] and 2 <= len(kept) == len(server.asked) <= 6
    assert not [t for t in threading.enumerate() if t.name.startswith('ThreadPoolExecutor')]

def test_one_that_waits_to_try_again_stops_when_another_has_failed(speaker):
    start = time.monotonic()
    with serving(speaker, lambda n, path, q: ('busy', 30) if 'north' in q['messages'][0]['content'] else ('status', 400) if 'river' in q['messages'][0]['content'] else None) as server:
        with pytest.raises(EndpointError, match="question 'q6': status 400"): read_endpoint(client(server, workers=2), ask_about([0, 1, 6]))
    assert time.monotonic() - start < 10

def test_progress_counts_questions(speaker):
    seen, kept = [], {}
    with serving(speaker, tokens='bytes') as server:
        read_endpoint(client(server), ask_about([0, 1, 2], 'bare'), 'options', kept=kept, progress=lambda *a: seen.append(a))
        assert seen == [(1, 3), (2, 3), (3, 3)] and len(server.asked) == 9
        del kept['q1']['parts']['2'], kept['q2']; seen.clear()
        read_endpoint(client(server), ask_about([0, 1, 2], 'bare'), 'options', kept=kept, progress=lambda *a: seen.append(a))
    assert seen == [(2, 3), (3, 3)] and len(server.asked) == 14

def test_a_reply_is_not_taken_for_that_to_another_question(speaker):
    kept, q = {}, ask_about()
    with serving(speaker) as server:
        read_endpoint(client(server), q, kept=kept)
        read_endpoint(Endpoint('http://127.0.0.1:9/v1', 'tiny', workers=2), q, kept=kept) # the address and pace play no part
        other = [dict(endpoint=client(server, top=3)), dict(endpoint=Endpoint(server.base, 'other')), dict(endpoint=client(server, chat=False)), dict(mode='answer'), dict(asked=replace(q, prompt=[p + ' ' for p in q.prompt]))]
        for change in other:
            with pytest.raises(ValueError, match="'q0'.* is the reply to another question, mode or model"): read_endpoint(**dict(endpoint=client(server), asked=q, kept=kept) | change)
        kept.clear(); read_endpoint(client(server), q, 'answer', 5, kept=kept)
        with pytest.raises(ValueError, match='is the reply to another'): read_endpoint(client(server), q, 'answer', 6, kept=kept)
        kept.clear(); read_endpoint(short := client(server, chat=False, top=1), q, kept=kept) # the same request as for an answer of one token
        with pytest.raises(ValueError, match='is the reply to another'): read_endpoint(short, q, 'answer', 1, kept=kept)

def test_no_more_than_the_workers_ask_at_once_and_order_stays(speaker):
    q = ask_about()
    with serving(speaker, lambda n, path, x: ('slow', .15)) as server: many = read_endpoint(client(server, workers=3), q)['letters']
    with serving(speaker) as alone: one = read_endpoint(client(alone, workers=1), q)['letters']
    assert server.most == 3 and alone.most == 1
    assert_array_equal(many.uid, q.uid); assert_array_equal(many.conf, one.conf)


# -- secrets ---------------------------------------------------------------------------------------------------------------------------

def test_the_key_is_sent_and_shown_nowhere(speaker, monkeypatch, capsys):
    kept, q = {}, ask_about([0, 1])
    with serving(speaker, key=KEY) as server:
        p = read_endpoint(client(server, key=KEY), q, kept=kept)['letters']
        assert server.asked[0][2]['Authorization'] == f'Bearer {KEY}'
        monkeypatch.setenv('OPENAI_API_KEY', f' {KEY}\n')
        read_endpoint(client(server), q)
        with pytest.raises(EndpointError) as wrong: read_endpoint(client(server, key=(bad := KEY + '9')), q, kept=kept | {'q0': {}})
        monkeypatch.delenv('OPENAI_API_KEY')
        server.script = lambda n, path, x: ('body', dict(error=dict(message='x' * 90 + KEY)))
        with pytest.raises(EndpointError, match='no choices.*xxx') as echo: read_endpoint(client(server, key=KEY), q)
        server.script = lambda n, path, x: None
        with pytest.raises(EndpointError, match='wants a key, and none was given'): read_endpoint(client(server), q)
    assert 'status 401, the key is refused' in str(wrong.value) and 'Bearer ***' in str(wrong.value) and bad not in str(wrong.value)
    e = Endpoint(f'http://me:pass-word@127.0.0.1:{server.server_port}/v1?token=to-ken', 'tiny', key=KEY, retries=0)
    with pytest.raises(EndpointError) as gone: read_endpoint(e, q)
    shown = [repr(e), str(e), repr(p), json.dumps(p.meta), json.dumps(kept), str(gone.value), repr(gone.value), str(wrong.value), repr(wrong.value), str(echo.value), *capsys.readouterr()]
    for secret in (KEY, 'pass-word', 'to-ken'): assert not [s for s in shown if secret in s], secret
    assert p.meta['base'] == server.base
    long = api._piece('x ' * 96 + KEY + ' y' * 99, e)
    assert len(long) == 200 and long.startswith('x x') and '*** y' in long and 'sk-' not in long

@pytest.mark.parametrize('key', ['sk-a\nsk-b', 'sk a', 'sk-é'])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key):
    with pytest.raises(ValueError, match='printable ASCII') as e: read_endpoint(Endpoint('http://127.0.0.1:9/v1', 'm', key=key), ask_about([0]))
    assert key not in str(e.value) and 'sk' not in str(e.value)

def test_a_query_in_the_base_stays_in_the_request_and_out_of_the_record(speaker):
    with serving(speaker) as server: p = read_endpoint(Endpoint(server.base + '/?version=7', 'tiny'), ask_about([0]))['letters']
    assert server.asked[0][0] == '/v1/chat/completions?version=7' and p.meta['base'] == server.base

def test_a_bad_address_is_not_shown_where_it_may_hold_a_secret():
    for base in ('me:secret@host/v1', 'http://me:sec/ret@host', 'https://me:se#cret@host', 'ftp://host/?secret'):
        with pytest.raises(ValueError, match='base must be an address') as e: Endpoint(base, 'm')
        assert not {'secret', 'sec', 'ret@host', 'cret'} & set(str(e.value).replace('/', ' ').split()) and 'not shown' in str(e.value)


# -- the record ------------------------------------------------------------------------------------------------------------------------

def test_the_record_says_what_was_asked_where(speaker):
    with serving(speaker, tokens='bytes') as server:
        p = read_endpoint(client(server), q := ask_about())['letters']
        a = read_endpoint(client(server, chat=False), q, 'answer', 4)['answer']
    where = dict(source='api', endpoint=True, base=server.base, model='tiny', served_model='tiny-1', system_fingerprint='fp_7')
    assert p.meta == q.meta | where | dict(mode='letters', chat=True, path='/chat/completions', top=20)
    assert a.meta == q.meta | where | dict(mode='answer', chat=False, path='/completions', max_tokens=4)

def test_servers_that_change_in_a_run_are_all_named(speaker):
    kept, q = {}, ask_about([0, 1])
    with serving(speaker) as server:
        read_endpoint(client(server), q, kept=kept)
        kept['q1']['parts']['0']['server'] = dict(model='tiny-1', system_fingerprint='fp_8')
        assert read_endpoint(client(server), q, kept=kept)['letters'].meta['system_fingerprint'] == ['fp_7', 'fp_8']
        for k in kept.values(): del k['parts']['0']['server']
        assert 'system_fingerprint' not in read_endpoint(client(server), q, kept=kept)['letters'].meta

def test_without_a_client_the_message_says_what_to_install(monkeypatch):
    for name in ('httpx', 'httpx2'): monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'plcal_study\[lm\]'"): read_endpoint(Endpoint('http://127.0.0.1:9/v1', 'm'), ask_about([0]))

def test_the_older_client_does_as_well(speaker, monkeypatch):
    pytest.importorskip('httpx')
    monkeypatch.setitem(sys.modules, 'httpx2', None)
    with serving(speaker, once('drop', ('status', 500))) as server: p = read_endpoint(client(server), ask_about())['letters']
    assert len(server.asked) == 10 and p.conf.max() > 0 and 'python-httpx/' in server.asked[0][2]['User-Agent']

def test_importing_it_needs_neither_torch_nor_a_client():
    import subprocess
    out = subprocess.run([sys.executable, '-c', "import sys, plcal_study.lm.api; print(sorted({'torch', 'transformers', 'httpx', 'httpx2'} & set(sys.modules)))"], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == '[]'
