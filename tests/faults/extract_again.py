"extract_again.py OUT KILLS: a tiny model is asked; the process that asks is killed before its n-th operation on a file, KILLS times, and then left alone. Prints how many were killed."
import os, random, signal, sys
from pathlib import Path
import numpy as np
from plcal_study.lm import extraction, models, tasks, testbed
from plcal_study.lm.examples import Examples, Task
from plcal_study.study.cli import main
import faulty

WORDS = 'the a cat dog house tree sat ran what is in can run . ? : A B C D Question Answer Response'.split()
out, kills = Path(sys.argv[1]), int(sys.argv[2])
n = 30
asked = Examples([f'q{i}' for i in range(n)], [f"what can run ? {' '.join(np.random.default_rng(i).choice(WORDS[:10], 4))}" for i in range(n)], np.arange(n) % 3, options=[('the cat', 'the house', 'a tree')] * n)
tasks.TASKS['toy'] = lambda data=None, seed=0: Task('toy', dict(test=asked))
tokenizer = testbed.train_tokenizer([' '.join(WORDS)], keep=WORDS)
if not (out / 'model').exists(): models.save(models.build('llama', (1, 16, 2), tokenizer, 'causal', initializer_range=.3), tokenizer, out / 'model')
extraction._CHUNK = 8
argv = ['extract', '--model', str(out / 'model'), '--task', 'toy', '--mode', 'options', '--out', str(out / 'runs' / 'extract')] # under a folder named runs: what `faulty` counts

def once(n):
    "Ask, in a process of its own; n: killed before its n-th operation, 0: not."
    if pid := os.fork(): return os.waitpid(pid, 0)[1]
    if n:
        faulty._armed.append(n)
        sys.addaudithook(lambda event, args: faulty._count('worker', event, args))
    sys.stdout = open(os.devnull, 'w')
    os._exit(main(argv))

rng, hit, tries = random.Random(0), 0, 0
while hit < kills and tries < 4 * kills + 20:
    tries += 1
    hit += once(rng.randint(1, 40)) == signal.SIGKILL
    if list((out / 'runs' / 'extract').glob('*.parquet')) and not list((out / 'runs' / 'extract').glob('.*')): # all is done: keep it, and from the beginning
        os.rename(out / 'runs' / 'extract', out / f'whole-{tries}')
assert once(0) == 0
print(hit)
