"two_processes.py OUT: started by torchrun, two ask a tiny model together, and train one that is spread over them; in the end the second is killed in the middle of asking."
import json, os, signal, sys
from pathlib import Path
import numpy as np
from plcal_study.lm import extraction, models, tasks, testbed
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.lm.training import Training, train
from plcal_study.study.cli import main

WORDS = 'the a cat dog house tree sat ran what is in can run . ? : A B C D Question Answer Response True False'.split()
BROKEN = 'q26' # in the second piece, which the second process reads

def toy(broken=False):
    n = 30
    texts = [f"what can run ? {' '.join(np.random.default_rng(i).choice(WORDS[:10], i % 7))}" for i in range(n)]
    e = Examples([f'q{i}' for i in range(n)], texts, np.arange(n) % 3, options=[('the cat', ' ' if broken and f'q{i}' == BROKEN else 'the house', 'a tree') for i in range(n)])
    return Task('broken' if broken else 'toy', dict(train=take(e, [0, 1]), test=take(e, range(2, n))))

def model(folder):
    tokenizer = testbed.train_tokenizer([' '.join(WORDS)], keep=WORDS)
    return str(models.save(models.build('llama', (2, 32, 2), tokenizer, 'causal', initializer_range=.3, max_position_embeddings=100), tokenizer, Path(folder) / 'tiny'))

TOGETHER = [['--task', 'toy', '--shots', '0,1', '--p-true'], ['--task', 'toy', '--mode', 'permuted'], ['--task', 'toy', '--mode', 'tokens'], ['--task', 'broken,toy', '--mode', 'options']]

def ask(out, *args): return main(['extract', '--model', str(out / 'tiny'), '--out', str(out / 'asked'), *args])

def prepare(patch=setattr):
    "Small pieces, and two tasks that `load_task` knows."
    patch(extraction, '_CHUNK', 4)
    patch(tasks, 'TASKS', tasks.TASKS | dict(toy=lambda data=None, seed=0: toy(), broken=lambda data=None, seed=0: toy(True)))

def learner():
    "A decoder with tied embeddings, and rows of unequal length."
    tokenizer = testbed.train_tokenizer([' '.join(WORDS)], keep=WORDS)
    lm = models.LanguageModel(models.build('gpt_neox', (2, 16, 2), tokenizer, 'causal', tie_word_embeddings=True), tokenizer, 'causal', max_length=32, pack=False)
    return lm, lm.encode(toy()['test'])

LEARN = Training(lr=1e-3, epochs=2, batch=9, micro=3)

if __name__ == '__main__':
    prepare()
    out, rank, read = Path(sys.argv[1]), int(os.environ['RANK']), extraction._read
    seen, die = [], []
    def _read(plan, rows, kept=None):
        if die and len(die) == 3: os.kill(os.getpid(), signal.SIGKILL)
        if die: die.append(True)
        seen.append([plan.how.mode, plan.how.shots, plan.task.name, plan.asks[0].uid[rows].tolist()])
        return read(plan, rows, kept)
    extraction._read = _read
    codes = [ask(out, *args) for args in TOGETHER]
    lm, rows = learner()
    losses = train(lm, rows, LEARN, shard=True).losses.tolist()
    models.save(lm, None, out / 'spread')
    again = train(lm, rows, LEARN, shard=True).losses.tolist() # it stays spread
    (out / f'seen-{rank}.json').write_text(json.dumps(dict(codes=codes, seen=seen, losses=losses, again=again, layers=[type(b).__name__ for b in lm.model.base_model.layers])))
    if rank: die.append(True)
    else: signal.signal(signal.SIGTERM, signal.SIG_IGN) # with which torchrun ends the others
    (out / 'last.txt').write_text(str(ask(out, '--task', 'toy', '--prompt', 'quiz')))
