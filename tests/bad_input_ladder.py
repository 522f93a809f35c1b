"What the ladder of q5 must refuse, and what it must say."
import numpy as np
from plcal_study.measure.predictions import Predictions
from plcal_study.study import ladder
from plcal_study.study.runs import Run

def graded(**scores): return Predictions({}, ['a', 'b', 'c'], [1, 0, 1], [.9, .5, .7], scores={k: np.asarray(v, float) for k, v in scores.items()})
def run(**kw): return Run('q5', 'decoder', 'facts', **(dict(model='llama', size='1x16', scale='smoke') | kw))
e = ladder.questions_of(run())['test']
world = ladder.world_of(run())
word = Predictions({}, ['t:1'], [True], [.5], scores=dict(word=np.zeros(1)), cluster=['t'])

CASES = [
    ('unknown scale', lambda: ladder.grid('huge'), ValueError, "scale must be one of smoke, laptop, colab, paper, got 'huge'"),
    ('a size that is none', lambda: ladder.cost(run(size='tiny')), ValueError, "size must be layers x width, e.g. '2x64', got 'tiny'"),
    ('a size without layers', lambda: ladder.cost(run(size='0x64')), ValueError, "got '0x64'"),
    ('a width of words', lambda: ladder.cost(run(size='2xwide')), ValueError, "got '2xwide'"),
    ('a family that there is not', lambda: ladder.decoder_of(run(model='bert')), ValueError, "model must be llama or gpt_neox, got 'bert'"),
    ('answers whose truth is not known', lambda: ladder.measures(graded()), ValueError, 'needs the score true_posterior'),
    ('a truth that is none', lambda: ladder.measures(graded(true_posterior=[.5, 2, 0])), ValueError, 'p_correct must be true probabilities in [0, 1]'),
    ('answers to other questions', lambda: ladder.marked(graded(), e), ValueError, "question 'a' is not among the examples"),
    ('a text of another world', lambda: ladder.with_truth(word, dict(t='. .'), world, np.arange(len(world.words) + 1)), ValueError, "'.'"),
    ('words of no document', lambda: ladder.with_truth(graded(word=[0, 0, 0]), {}, world, np.arange(len(world.words) + 1)), ValueError, 'whose clusters are the documents, got none'),
    ('a measure that there is not', lambda: ladder.compare(ladder.pd.DataFrame(dict(size=['a'], seed=[0], definition=['raw'], kind=['all'])), 'beauty'), ValueError, "value must be one of n, accuracy"),
    ('tokens of another mode', lambda: ladder.token_row(graded()), ValueError, "needs predictions of mode 'tokens'"),
    ('stories that are not there', lambda: ladder.stories('nowhere.json'), FileNotFoundError, 'ours lie in data/stories.json of a checkout'),
]
