"What cannot be taken apart."
from plcal_study.lm import frozen, models, testbed

TASK = testbed.as_task(testbed.text_world(k=2, bayes_accuracy=.8, length=6, vocab=40, topics=1, seed=0), 8, 8, 8)
def clf(family='bert', layers=2):
    tokenizer = testbed.train_tokenizer(TASK['train'].a)
    return models.HeadClassifier(models.build(family, (layers, 16, 2), tokenizer, 'classify', n_labels=2), tokenizer, TASK, max_length=24)

CASES = [
    ('a decoder', lambda: frozen.upper(clf('llama'), 1, TASK), ValueError, "families bert and roberta, got 'llama'"),
    ('all layers', lambda: frozen.upper(clf(), 2, TASK), ValueError, 'keep must be at least 1 and below 2, the layers of the model, got 2'),
    ('no layer', lambda: frozen.upper(clf(), 0, TASK), ValueError, 'got 0'),
    ('lower layers of a deeper model', lambda: frozen.upper(clf(), 1, TASK, frozen.Lower(clf(layers=4).model, 1)), ValueError, 'lower must have 1 layers, those that are not kept, got 3'),
]
