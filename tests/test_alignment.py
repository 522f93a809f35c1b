"Alignment: each trainer learns what it should, on the response alone; killed runs go on; looks change nothing; nothing is written elsewhere."
import copy, json, math, os
from pathlib import Path
import numpy as np, pytest
torch = pytest.importorskip('torch')
pytest.importorskip('trl')
from plcal_study.lm import alignment, facts, models, testbed
from plcal_study.lm.training import Training

WORLD = facts.fact_world(entities=8, relations=3, random_relations=1, values=4, seed=0)
TOK = testbed.train_tokenizer(WORLD.words, keep=WORLD.words, frame='bos')
PAIRS, RANKED = facts.instructions(WORLD, 32, seed=1), facts.preferences(WORLD, 32, seed=2)
LOCAL = Path(os.environ.get('PLCAL_DATA') or '.').resolve().parent / 'models' / 'stories260K'

def decoder(seed=0): return models.build('llama', (1, 16, 1), TOK, 'causal', seed=seed)
def same(a, b): return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
def plan(**kw): return Training(**dict(epochs=2, batch=16, lr=5e-3, clip=1.) | kw)

@torch.no_grad()
def nll(model, prompts, responses):
    "Mean loss of the responses after their prompts, token by token: the slow twin."
    total, n = 0., 0
    for p, r in zip(prompts, responses, strict=True):
        head, ids = TOK(p)['input_ids'], TOK(f'{p} {r}')['input_ids'] + [TOK.eos_token_id]
        logp = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        for t in range(len(head), len(ids)): total, n = total - float(logp[t - 1, ids[t]]), n + 1
    return total / n


def test_the_first_loss_is_that_of_the_responses_alone(tmp_path):
    "Mean over the tokens of the batch after the prompt, end included: neither the prompt nor the padding counts."
    m, e = decoder(), facts.instructions(WORLD, 8, seed=3)
    want = nll(m, e.a, e.extra['response'])
    t = alignment.instruct(m, TOK, e, plan(epochs=1, batch=8), tmp_path, max_length=64)
    assert t.log.loss.iloc[0] == pytest.approx(want, abs=2e-4)
    assert nll(t.model, e.a, e.extra['response']) < want

def test_looks_do_not_change_what_becomes_of_a_model(tmp_path):
    torch.manual_seed(5)
    seen = []
    def look(epoch, m):
        seen.append((epoch, m.training, type(m).__name__))
        torch.rand(7), np.random.rand(3)
    state = torch.get_rng_state()
    a = alignment.instruct(decoder(), TOK, PAIRS, plan(), tmp_path / 'a', max_length=64)
    assert torch.equal(torch.get_rng_state(), state), 'the random numbers of the caller go on'
    b = alignment.instruct(decoder(), TOK, PAIRS, plan(), tmp_path / 'b', max_length=64, on_epoch=look)
    assert same(a.model, b.model) and seen == [(1, False, 'LlamaForCausalLM'), (2, False, 'LlamaForCausalLM')]
    assert not a.model.training and 'forward' not in vars(a.model) and {x.name for x in (tmp_path / 'a').iterdir()} == {'alignment.json', 'checkpoint-4'}

def test_a_killed_run_goes_on_and_ends_the_same(tmp_path):
    whole = alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=3, schedule='cosine'), tmp_path / 'whole', max_length=64)
    def die(epoch, m):
        if epoch == 2: raise RuntimeError('killed')
    with pytest.raises(RuntimeError): alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=3, schedule='cosine'), tmp_path / 'cut', max_length=64, on_epoch=die)
    (tmp_path / 'cut' / 'checkpoint-99').mkdir() # a checkpoint that was being written
    asked = []
    again = alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=3, schedule='cosine'), tmp_path / 'cut', max_length=64, on_epoch=lambda e, m: asked.append(e))
    assert asked == [2, 3] and all(torch.allclose(x, y, atol=1e-6) for x, y in zip(whole.model.state_dict().values(), again.model.state_dict().values(), strict=True))
    with pytest.raises(ValueError, match='holds another run: settings'): alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=4), tmp_path / 'cut', max_length=64)
    card = tmp_path / 'cut' / 'alignment.json'
    card.write_text(card.read_text().replace('"format": 1', '"format": 0'))
    with pytest.raises(ValueError, match='holds another run: format was 0 and is 1'): alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=3, schedule='cosine'), tmp_path / 'cut', max_length=64)
    card.write_text(card.read_text().replace('"format": 0', '"format": 1').replace('"trl": "', '"trl": "0.'))
    with pytest.raises(ValueError, match="holds another run: versions was .*'trl': '0[.]"): alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=3, schedule='cosine'), tmp_path / 'cut', max_length=64)

def test_lora_leaves_the_shape_and_moves_few_directions(tmp_path):
    seen = []
    base = decoder()
    t = alignment.instruct(copy.deepcopy(base), TOK, PAIRS, plan(lr=1e-2), tmp_path, lora=2, max_length=64, on_epoch=lambda e, m: seen.append(type(m).__name__))
    assert seen == ['LlamaForCausalLM'] * 2 and t.model.state_dict().keys() == base.state_dict().keys()
    assert torch.equal(t.model.lm_head.weight, base.lm_head.weight) and torch.equal(t.model.model.embed_tokens.weight, base.model.embed_tokens.weight)
    moved = t.model.model.layers[0].mlp.up_proj.weight - base.model.layers[0].mlp.up_proj.weight
    assert moved.abs().max() > 0 and torch.linalg.matrix_rank(moved.detach(), tol=1e-5) <= 2

def test_a_loss_that_is_no_number_ends_the_run_with_the_checkpoint_kept(tmp_path):
    def spoil(epoch, m):
        if epoch == 2: m.lm_head.weight.data[:] = math.nan
    with pytest.raises(FloatingPointError, match=r'the loss became nan in step 5 of 6.*the checkpoint checkpoint-4 is kept'):
        alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=3), tmp_path, max_length=64, on_epoch=spoil)
    with pytest.raises(FloatingPointError): alignment.instruct(decoder(), TOK, PAIRS, plan(lr=1e30, clip=None), tmp_path / 'wild', max_length=64)

@pytest.mark.parametrize('lora', [0, 2])
def test_preferences_raise_the_chosen_against_the_rejected(tmp_path, lora):
    base = decoder()
    before = copy.deepcopy(base)
    t = alignment.prefer(base, TOK, RANKED, plan(epochs=4), tmp_path, lora=lora, max_length=64)
    gap = [nll(m, RANKED.a, RANKED.extra['rejected']) - nll(m, RANKED.a, RANKED.extra['chosen']) for m in (before, t.model)]
    assert t.log.loss.iloc[0] == pytest.approx(math.log(2), abs=1e-3) and gap[1] > gap[0] and t.log['rewards/accuracies'].iloc[-1] > .5

def test_a_reward_is_learned_and_judged_on_other_pairs(tmp_path):
    base = decoder()
    before = copy.deepcopy(base)
    teach, held = facts.preferences(WORLD, 96, seed=4, truth=0., polite=6.), facts.preferences(WORLD, 60, seed=5, truth=0., polite=6.) # thanks is all
    r = alignment.reward_model(base, TOK, teach, held, plan(epochs=4, lr=1e-2), tmp_path, max_length=64)
    assert same(base, before), 'the decoder is left as it was'
    good, bad = r(held.a, held.extra['chosen']), r(held.a, held.extra['rejected'])
    assert r.accuracy == pytest.approx((good > bad).mean() + .5 * (good == bad).mean()) and r.lo > .55 and r.lo < r.accuracy < r.hi and r.n == 60
    assert r.spread == pytest.approx(np.std(np.r_[good, bad]))
    np.testing.assert_allclose(r(held.a[:7], held.extra['chosen'][:7], batch=2), good[:7], atol=1e-5)
    assert np.isfinite(r(['it'], [''])).all(), 'a policy may say nothing'

@pytest.mark.parametrize('lora', [0, 2])
def test_reinforcement_makes_what_is_rewarded_more_likely(tmp_path, lora):
    def reward(prompts, responses): return [-float(len(r.split())) for r in responses]
    model, name = decoder(), decoder().config._name_or_path
    t = alignment.reinforce(model, TOK, RANKED, reward, plan(epochs=3, batch=32, lr=3e-2 if lora else 1e-2, clip=None), tmp_path, lora=lora, generations=8, max_new=6)
    assert t.log.reward.iloc[-4:].mean() > t.log.reward.iloc[:4].mean() and t.log.kl.iloc[-4:].mean() > .001 and t.log.kl.iloc[0] == pytest.approx(0, abs=1e-6)
    assert t.model.config._name_or_path == name and 'forward' not in vars(t.model) and (tmp_path / 'reference').is_dir() == (lora == 0)

def test_nothing_is_told_to_anybody(tmp_path, monkeypatch):
    import trl.trainer.base_trainer as base
    def refuse(*a, **k): raise AssertionError('telemetry')
    monkeypatch.setattr(base, 'send_telemetry', refuse)
    monkeypatch.chdir(tmp_path)
    alignment.instruct(decoder(), TOK, PAIRS, plan(epochs=1), tmp_path / 'run', max_length=64)
    assert [x.name for x in tmp_path.iterdir()] == ['run']

@pytest.mark.skipif(not LOCAL.is_dir(), reason='the tiny decoder of others is not on this machine')
def test_a_model_of_others_with_real_instructions(tmp_path):
    try: e = alignment.real_pairs('dolly', n=8)
    except FileNotFoundError: pytest.skip('no instructions here')
    m, t = models.load(LOCAL, 'causal')
    tuned = alignment.instruct(m, t, e, plan(epochs=1, batch=8, micro=4, lr=1e-3), tmp_path, lora=2, max_length=128)
    assert np.isfinite(tuned.log.loss).all() and json.loads((tmp_path / 'alignment.json').read_text())['lora'] == 2
