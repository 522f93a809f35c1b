"What q3 must refuse, and what it must say."
import tempfile
from pathlib import Path
import pandas as pd
from plcal_study.lm import facts
from plcal_study.lm.training import Training, train
from plcal_study.study import q3
from plcal_study.study.aspects import packed
from plcal_study.study.ladder import decoder
from plcal_study.study.runs import Run

def run(**kw): return Run('q3', **(dict(part='world', task='facts', model='gpt_neox', init='random', size='1x16', epochs=1, batch=1, lr=.01, probes=3) | kw))
def folder(): return Path(tempfile.mkdtemp())
def diverged():
    world = facts.fact_world(entities=6, relations=2, random_relations=1, values=3, quiz=.3, seed=0)
    model, tokenizer = decoder(world, '1x16', 0, 'gpt_neox')
    return train(*packed(model, tokenizer, facts.corpus(world, 2000, 0), 32), Training(lr=1e30, steps=40, batch=2))
two = pd.DataFrame(dict(step=[0, 1, 2], share=[0, .5, 1.]))

CASES = [
    ('unknown scale', lambda: q3.grid('huge'), ValueError, "scale must be one of smoke, laptop, colab, paper, got 'huge'"),
    ('a size that is none', lambda: q3.cost(run(size='tiny')), ValueError, "size must be layers x width, e.g. '2x64', got 'tiny'"),
    ('a family that there is not', lambda: q3.work(run(model='bert'), folder()), ValueError, 'model must be llama or gpt_neox'),
    ('a text that there is not', lambda: q3.work(run(part='text', task='novels'), folder()), ValueError, "no task is named 'novels'"),
    ('a model without a revision', lambda: q3.work(run(part='hub', model='EleutherAI/pythia-70m'), folder()), ValueError, 'model must name a revision such as EleutherAI/pythia-70m@step256'),
    ('a revision that is no step', lambda: q3.work(run(part='hub', model='EleutherAI/pythia-70m@main'), folder()), ValueError, "got 'EleutherAI/pythia-70m@main'"),
    ('too few checkpoints', lambda: q3.moments(two), ValueError, 'a decoder needs at least 3 checkpoints after step 0 to have an early and a late part, got 2'),
    ('steps before the first', lambda: q3.points(0, 5), ValueError, 'first must lie between 1 and last = 0'),
    ('a loss that is no number', diverged, FloatingPointError, 'the loss became nan in step'),
]
