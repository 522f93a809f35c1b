"""How fast are facts told, and how fast is the true next word known? `python benchmarks/facts.py [words]` writes results/facts.json.

Ours is `lm.facts.corpus`, read to its end; the peer is the same distribution in plain Python, a sentence at a time with
`random.choices` and its cumulative weights made beforehand.  One core, in turns, as in testbed.py; the word frequencies of the two
are compared first.  The exact next-word distribution is timed on documents not read before; memory is the peak of a long stream over that of a short one."""
import itertools, json, random, sys, time, tracemalloc

from testbed import gap, machine, read, spread, TARGET, TURNS # sets one thread before numpy is loaded
from pathlib import Path
from plcal_study.lm.facts import corpus, fact_world, next_token_posterior

OUT = Path(__file__).resolve().parent / "results" / "facts.json"
POSITIONS = 5_000 # a second: thousands are asked for


# ---- the peer: the definition, a sentence at a time -----------------------------------------------------------------
def plain(w):
    who, forms = [*itertools.accumulate(w.p_entity.tolist())], [*itertools.accumulate(w.p_template.tolist())]
    random_, facts, kind, chances, m = w.random.tolist(), w.facts.tolist(), w.kind.tolist(), w.chances.tolist(), range(len(w.values[0]))
    entities, relations, templates = range(len(w.names)), range(len(w.values)), range(len(w.p_template))
    def question(rng, e, r, t):
        k, p = rng.randint(2, min(5, len(m))), chances[kind[e][r]][r]
        shown = rng.sample(m, k) if random_[r] else rng.sample([facts[e][r], *rng.sample([v for v in m if v != facts[e][r]], k - 1)], k)
        place = rng.choices(range(k), [p[v] for v in shown])[0] if random_[r] else shown.index(facts[e][r])
        left = w.templates[r][t].format(e=w.names[e], v="").removesuffix(" .").strip()
        return f"question {left} ? {' '.join(f'{x} {w.values[r][v]}' for x, v in zip('ABCDE', shown, strict=False))} answer {'ABCDE'[place]} ."
    def document(rng):
        quiz, e, said = rng.random() < w.quiz, -1, []
        while not said or rng.random() >= w.stop:
            new = quiz or not said or rng.random() >= w.stay
            if new: e = rng.choices(entities, cum_weights=who)[0]
            r, t = rng.choice(relations), rng.choices(templates, cum_weights=forms)[0]
            if quiz: said.append(question(rng, e, r, t)); continue
            v = rng.choices(m, chances[kind[e][r]][r])[0] if random_[r] else facts[e][r]
            said.append(w.templates[r][t].format(e=w.names[e] if new or rng.random() >= w.it else "it", v=w.values[r][v]))
        return " ".join(said)
    def stream(n, seed):
        rng, count = random.Random(seed), 0
        while count < n:
            text = document(rng)
            count += text.count(" ") + 1
            yield text
    return stream


# ---- measuring -----------------------------------------------------------------------------------------------------
def peak(world, n):
    "Bytes at most, while a corpus of `n` words goes by."
    tracemalloc.start()
    for _ in corpus(world, n): pass
    try: return tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()

def row(name, world, n):
    ours, peer, rate, other = [], [], [], plain(world)
    for turn in range(TURNS):
        ours.append(1 / read(corpus(world, n, turn)))
        peer.append(1 / read(other(n // 8, turn)))
        documents = list(corpus(world, 20_000, 1000 + turn))
        start = time.process_time()
        positions = sum(len(next_token_posterior(world, d)) for d in documents)
        rate.append(positions / (time.process_time() - start))
    apart = gap(corpus(world, 400_000, 100), other(400_000, 100))
    return dict(task=name, words=n, ours=spread(ours), peer=spread(peer), ratio=spread([a / b for a, b in zip(ours, peer, strict=True)]), target=TARGET, positions=spread(rate), positions_target=POSITIONS,
                memory=dict(words=[n // 4, n], peak=[peak(world, n // 4), peak(world, n)]), check=dict(gap=apart, agree=apart < 8)) # words of one document are not independent

if __name__ == "__main__":
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 2_000_000
    record = dict(machine=machine(), turns=TURNS, rows=[
        row("200 entities, 8 relations", fact_world(), n), row("without quizzes", fact_world(quiz=0), n), row("5,000 entities, 20 relations", fact_world(entities=5_000, relations=20, values=20, paraphrases=5), n)])
    for r in record["rows"]:
        print(f"{r['task']}: {r['ours']['median'] / 1e6:.3g} M words/s [{r['ours']['min'] / 1e6:.3g}, {r['ours']['max'] / 1e6:.3g}] (target 1), plain Python {r['peer']['median'] / 1e6:.3g}; "
              f"ratio {r['ratio']['median']:.3g} [{r['ratio']['min']:.3g}, {r['ratio']['max']:.3g}]; {r['positions']['median']:,.0f} exact next-word distributions/s [{r['positions']['min']:,.0f}, {r['positions']['max']:,.0f}]; "
              f"peak {r['memory']['peak'][0] / 1e6:.3g} MB at {r['memory']['words'][0]:,} words, {r['memory']['peak'][1] / 1e6:.3g} at {r['memory']['words'][1]:,}; largest gap in a frequency {r['check']['gap']:.1f} standard errors")
    if len(sys.argv) == 1: OUT.write_text(json.dumps(record, indent=1) + "\n")
    if not all(r["check"]["agree"] for r in record["rows"]): sys.exit("the two do not write the same texts")
