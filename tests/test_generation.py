"Written text: the same for the same seed, drawn from the model's own distribution, and every measure against its definition."
import math
import numpy as np, pytest
torch = pytest.importorskip('torch')
from plcal_study.lm import facts, models, testbed
from plcal_study.lm.generation import bleu, distinct, entity_continuity, fluency, likelihood, relevance, repetition, sample, sample_quality, self_bleu, truthfulness
from plcal_study.lm.scoring import Scorer

@pytest.fixture(scope='module')
def world(): return facts.fact_world(entities=12, relations=3, random_relations=1, values=4, seed=0)

@pytest.fixture(scope='module')
def decoder(world):
    tokenizer = testbed.train_tokenizer(world.words, keep=world.words, frame='bos')
    return models.build('llama', (1, 16, 1), tokenizer, 'causal', seed=0).eval(), tokenizer

# ---- sampling --------------------------------------------------------------------------------------------------------
def test_a_seed_is_a_text_whatever_was_drawn_before(decoder, world):
    one = sample(*decoder, [world.names[0], ''], 3, max_tokens=5, seed=4)
    state = torch.random.get_rng_state()
    assert sample(*decoder, [world.names[0], ''], 3, max_tokens=5, seed=4) == one and len(one) == 2 and len(one[0]) == 3
    assert torch.equal(state, torch.random.get_rng_state()), 'the caller keeps his random numbers'
    assert sample(*decoder, [world.names[0], ''], 3, max_tokens=5, seed=5) != one

def test_prompts_of_any_length_go_on_as_if_alone(decoder, world):
    "Filling on the left does not reach the model."
    tokenizer = decoder[1]
    model = models.build('llama', (2, 32, 2), tokenizer, 'causal', seed=1).eval()
    with torch.no_grad():
        for w in model.parameters(): w.mul_(4) # so that the words before matter
    decoder, prompts = (model, tokenizer), [world.names[0], ' '.join(world.words[20:29]), '']
    together = sample(*decoder, prompts, temperature=0, max_tokens=6)
    assert together == [sample(*decoder, [p], temperature=0, max_tokens=6)[0] for p in prompts] == sample(*decoder, prompts, temperature=0, max_tokens=6, batch=1)

def test_a_cold_model_says_what_a_greedy_one_says_and_a_narrow_nucleus_too(decoder, world):
    greedy = sample(*decoder, [world.names[1]], temperature=0, max_tokens=4)
    assert sample(*decoder, [world.names[1]], temperature=1e-4, max_tokens=4) == greedy == sample(*decoder, [world.names[1]], top_p=1e-6, max_tokens=4)

# ---- likelihood ------------------------------------------------------------------------------------------------------
def by_hand(decoder, text):
    model, tokenizer = decoder
    x = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)['input_ids']]])
    with torch.no_grad(): z = model(x).logits[0, :-1].log_softmax(-1)
    return -z[torch.arange(len(z)), x[0, 1:]].numpy()

def test_likelihood_and_fluency_are_their_definitions(decoder, world):
    texts, s = [next(world.corpus(20, i)) for i in range(3)], Scorer(*decoder)
    costs = [by_hand(decoder, t) for t in texts]
    got = likelihood(s, texts)
    every = np.concatenate(costs)
    assert got.nll == pytest.approx(every.mean(), rel=1e-5) and got.perplexity == pytest.approx(math.exp(every.mean()), rel=1e-4) and got.tokens == len(every)
    assert got.bits_per_byte == pytest.approx(every.sum() / math.log(2) / sum(len(t.encode()) for t in texts), rel=1e-5) and got.loglik == pytest.approx(-every.sum() / 3, rel=1e-5)
    cut = [(' '.join(t.split()[:k]), ' '.join(t.split()[k:])) for t, k in zip(texts, (0, 2, 5), strict=False)]
    assert fluency(s, *zip(*cut, strict=False)) == pytest.approx(np.concatenate([c[k:] for c, k in zip(costs, (0, 2, 5), strict=False)]).mean(), rel=1e-5)
    assert fluency(s, ['', world.names[0]], [texts[0], '']) == pytest.approx(costs[0].mean(), rel=1e-5), 'an empty text is left out'

# ---- diversity -------------------------------------------------------------------------------------------------------

def test_bleu_against_a_slow_twin():
    "Modified precision, brevity by the nearest reference, zeros halved again and again."
    def twin(text, others, n):
        w, out, zero = text.split(), 1., 0
        order = min(n, len(w))
        for k in range(1, order + 1):
            grams = [tuple(w[i:i + k]) for i in range(len(w) - k + 1)]
            hit = 0
            for g in set(grams):
                most = max(sum(tuple(o.split()[i:i + k]) == g for i in range(len(o.split()) - k + 1)) for o in others)
                hit += min(grams.count(g), most)
            if not hit and k == 1: return 0.
            if not hit: zero += 1; hit = 2. ** -zero
            out *= (hit / len(grams)) ** (1 / order)
        near = sorted((abs(len(o.split()) - len(w)), len(o.split())) for o in others)[0][1]
        return out * (math.exp(1 - near / len(w)) if len(w) < near else 1)
    rng = np.random.default_rng(0)
    for _ in range(60):
        texts = [' '.join(rng.choice(list('abcd'), rng.integers(1, 10))) for _ in range(3)]
        for n in (1, 2, 4): assert bleu(texts[0], texts[1:], n) == pytest.approx(twin(texts[0], texts[1:], n))
        assert self_bleu(texts) == pytest.approx(np.mean([twin(t, texts[:i] + texts[i + 1:], 4) for i, t in enumerate(texts)]))

def test_diversity_by_hand():
    assert distinct(['a b a b', 'a b'], 2) == pytest.approx(2 / 4) and distinct(['a b c'], 1) == 1 and math.isnan(distinct(['a'], 2))
    assert repetition(['a b a b a b'], 2) == pytest.approx(1 - 2 / 5) and repetition(['a b c d'], 2) == 0 and math.isnan(repetition(['a'], 2))
    assert bleu('', ['a'], 2) == 0 and bleu('a', ['b'], 2) == 0 and self_bleu(['a b', 'a b', 'a b']) == pytest.approx(1)

# ---- coherence, relevance, truth -------------------------------------------------------------------------------------
def test_statements_are_counted_as_they_are_true(world):
    r = 0
    def say(e, right=True): return world.templates[r][0].format(e=world.names[e], v=world.values[r][(world.facts[e, r] + (not right)) % 4])
    text = f'{say(0)} {say(0, False)} {say(1)} nonsense .'
    assert truthfulness([text], world) == (2 / 3, 3 / 4, 3)
    assert entity_continuity([text], world) == 1 / 2
    chance = world.templates[2][0].format(e=world.names[0], v=world.values[2][0])
    assert world.random[2] and truthfulness([chance], world)[2] == 0, 'random relations are no facts'
    assert math.isnan(entity_continuity([say(0)], world)) and math.isnan(truthfulness([''], world)[0])

def test_relevance_by_hand():
    assert relevance(['a b .', 'c'], ['b', 'c c'], common=['.']) == pytest.approx((1 / 2 + 1) / 2) and math.isnan(relevance(['.'], ['a'], ['.']))

def test_quality_has_what_the_arguments_allow(decoder, world):
    own = sample_quality(['a', 'b'], ['a b c', 'b b b'])
    assert {'distinct2', 'repetition', 'self_bleu', 'relevance'} <= set(own) and not {'fluency', 'factual_accuracy'} & set(own)
    full = sample_quality([world.names[0]] * 2, [world.words[30], world.words[31]], Scorer(*decoder), world)
    assert {'fluency', 'factual_accuracy', 'entity_continuity', 'well_formed'} <= set(full)
