"What `python benchmarks/mutation.py` found that no other test noticed: a test for each hole."
import gzip, importlib, inspect, json, math, zlib
from itertools import permutations
from pathlib import Path
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
import log_files
from plcal_study.measure import bootstrap as B, calibrators as C, inference as I, logs as L, responses as R, streams as S, tables as T
from plcal_study.measure.abstention import grid_certified
from plcal_study.measure.bootstrap import auroc_draws, bootstrap, bootstrap_diff, ece_interval, resample_counts
from plcal_study.measure.logs import read_log
from plcal_study.measure.metrics import METRICS, auroc, brier_top, cerr_neg, ece, ece_null, entropy, smece
from plcal_study.measure.predictions import from_grades
from plcal_study.measure.records import SAID, Reading, at, subjects, useful
from plcal_study.measure.safe import gunzip, inside, masked


# --- metrics ---------------------------------------------------------------------------------------------------------------------

def test_smooth_error_that_a_very_wide_kernel_cannot_see():
    "Too low at both sides and too high in the middle, so that the errors cancel in every wide window."
    conf, correct = np.repeat([.25, .5, .75], [4, 8, 4]), [1, 1, 0, 0] + [1, 1] + [0] * 6 + [1] * 4
    assert smece(conf, correct, sigma=1) < 1e-9 < .05 < smece(conf, correct)

def test_certainty_has_an_entropy_of_zero_and_not_of_minus_zero(): assert not np.signbit(entropy(np.array([[1., 0.]]))).any()

def test_a_metric_has_the_bins_of_its_name():
    rng = np.random.default_rng(0)
    conf, hit = rng.random(500), rng.random(500) < .5
    assert METRICS['ece10'](conf, hit) == ece(conf, hit, 10) != METRICS['ece15'](conf, hit) == ece(conf, hit, 15)


# --- bootstrap -------------------------------------------------------------------------------------------------------------------

def test_the_counts_of_large_clusters_do_not_overflow():
    "Two scores, so that a single step holds about 38,000 right answers: more than a small integer can."
    rng, unit = np.random.default_rng(0), np.repeat(np.arange(100), 800)
    score, correct, w = rng.integers(0, 2, 80_000), rng.random(80_000) < .95, resample_counts(100, 3)
    slow = [auroc(score[rows], correct[rows]) for rows in (np.repeat(np.arange(80_000), w[unit, b]) for b in range(3))]
    np.testing.assert_allclose(auroc_draws(score, correct, draws=3, cluster=unit), slow, rtol=1e-12)

def test_the_jackknife_of_many_questions_leaves_out_groups_of_its_own_stream():
    x = np.random.default_rng(3).exponential(size=600)
    group = np.random.default_rng([4, 2]).permutation(600) % 500
    d = np.array([x[group != i].mean() for i in range(500)])
    d = d.mean() - d
    assert B._acceleration(B._mean_of(x, np.arange(600), 600), 600, 4) == pytest.approx((d**3).sum() / (6 * (d**2).sum()**1.5), rel=1e-9)

def test_resamples_come_from_the_stream_that_is_written_down():
    balls = np.random.default_rng([7, 1, 0, 0]).integers(0, 5, (3, 5))
    np.testing.assert_array_equal(resample_counts(5, 3, seed=7).T, [np.bincount(b, minlength=5) for b in balls])

def test_a_resample_in_which_a_statistic_has_no_value_is_discarded():
    i = bootstrap(cerr_neg, [.9, .8, .7, .6, .5, .4], [1, 1, 1, 1, 1, 0], draws=200)
    assert 0 < i.draws < 200 and i.method == f'percentile; {200 - i.draws} of 200 resamples discarded' and (i.lo, i.hi) == pytest.approx((.4, .4))


# --- inference and every interval ------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(5)
X, Y, Z = RNG.normal(size=(3, 60)).cumsum(0)
HIT, HIT2 = RNG.random((2, 60)) < [[.6], [.5]]
INTERVALS = dict(
    auroc=lambda level: I.auroc_interval(X, HIT, level=level), aurc=lambda level: I.aurc_interval(X, HIT, level=level), augrc=lambda level: I.augrc_interval(X, HIT, level=level),
    mann_whitney=lambda level: I.mann_whitney(X, HIT, level=level), mcnemar=lambda level: I.mcnemar(HIT, HIT2, level=level), mean_difference=lambda level: I.mean_difference(X, Y, level=level),
    delong=lambda level: I.delong([X, Y], HIT, level=level).compare(0, 1), pearson=lambda level: I.pearson(X, Y, level=level), spearman=lambda level: I.spearman(X, Y, level=level),
    kendall=lambda level: I.kendall(X, Y, level=level), correlation_difference=lambda level: I.correlation_difference(X, Y, Z, level=level),
    resampled_mean=lambda level: I.resampled_mean(X[:9], .25, level=level), bootstrap=lambda level: bootstrap(np.mean, X, draws=200, level=level),
    bca=lambda level: bootstrap(np.mean, X, draws=200, level=level, method='bca'), bootstrap_diff=lambda level: bootstrap_diff(np.mean, [X], [Y], draws=200, level=level),
    ece=lambda level: ece_interval(np.abs(np.tanh(X)), HIT, 3, draws=200, level=level))

@pytest.mark.parametrize('name', INTERVALS)
def test_an_interval_of_a_lower_level_lies_strictly_inside(name):
    a, b, c = (INTERVALS[name](level) for level in (.5, .8, .99))
    assert c.lo < b.lo < a.lo < a.hi < b.hi < c.hi and a.estimate == b.estimate == c.estimate

def test_an_interval_that_is_a_formula_says_that_nothing_was_drawn():
    for f in (I.auroc_interval, I.aurc_interval, I.augrc_interval):
        i, j = f(X, HIT), f(X, HIT, np.arange(60) // 3)
        assert (i.draws, i.n, i.clusters, i.level, j.draws, j.n, j.clusters) == (0, 60, 60, .95, 0, 60, 20)

def test_bca_has_no_levels_where_its_correction_runs_away():
    assert B._bca_levels(np.arange(100.), 84, .95, .4) is None and B._bca_levels(np.arange(100.), 84, .95, -.2) is not None

def test_a_lower_level_needs_less_to_be_found():
    assert I.power_mean(.2, 1., 50, .8) > I.power_mean(.2, 1., 50) and I.power_correlation(.3, 20, .8) > I.power_correlation(.3, 20)
    assert I.n_for_mean(.2, 1., level=.8) < I.n_for_mean(.2, 1.) and I.detectable_correlation(20, level=.8) < I.detectable_correlation(20)

def test_power_of_a_correlation_is_that_of_the_formula():
    t = stats.t.ppf(.975, 8)
    edge, mean, root = math.atanh(t / math.sqrt(8 + t * t)), math.atanh(.5) + .5 / 18, math.sqrt(7)
    assert I.power_correlation(.5, 10) == pytest.approx(stats.norm.sf((edge - mean) * root) + stats.norm.cdf((-edge - mean) * root), abs=1e-12)

def test_three_levels_are_enough_for_a_random_effect():
    rng = np.random.default_rng(0)
    df = pd.DataFrame(dict(y=rng.normal(size=90) + np.repeat([0, 1, 3], 30), x=rng.normal(size=90), g=np.repeat(list('abc'), 30)))
    assert len(I.mixed_model(df, 'y ~ x', 'g').terms) == 2
    with pytest.raises(ValueError, match="at least 3 levels, 'g' has 2"): I.mixed_model(df[:60], 'y ~ x', 'g')

def test_both_ends_turn_round_with_the_models():
    for f in (lambda a, b: I.correlation_difference(X, a, b), lambda a, b: I.mean_difference(a, b), lambda a, b: I.delong([a, b], HIT).compare(0, 1),
              lambda a, b: I.mcnemar(a > 0, b > 0), lambda a, b: bootstrap_diff(np.mean, [a], [b], draws=100)):
        one, other = f(Y, Z), f(Z, Y)
        np.testing.assert_allclose([one.estimate, one.lo, one.hi], [-other.estimate, -other.hi, -other.lo], rtol=1e-9)
        assert one.lo < one.estimate < one.hi

def test_kendalls_error_with_ties_is_that_over_all_orders():
    x, y, n = np.array([1, 1, 1, 2, 3, 3.]), np.array([1, 1, 1, 2, 2, 3.]), 6
    a, b = (np.sign(v[:, None] - v) for v in (x, y))
    over = np.std([(a * b[np.ix_(p, p)]).sum() / 2 for p in permutations(range(n))]) / np.sqrt(np.abs(a).sum() / 2 * np.abs(b).sum() / 2)
    assert I._tied(x, y) == pytest.approx(over / (np.sqrt(n * (n - 1) * (2*n + 5) / 18) / (n * (n - 1) / 2)), rel=1e-12)

# --- abstention ------------------------------------------------------------------------------------------------------------------

def test_a_grid_of_one_step_is_the_lowest_score(): assert grid_certified([.2, .1, .3], 100, .2, steps=1).tolist() == [.1]

def test_one_question_to_come_is_a_number_of_questions(): assert len(grid_certified([.2, .1, .3], 1, .2)) == 1


# --- calibrators, tables ---------------------------------------------------------------------------------------------------------

def test_padding_does_not_count_where_a_temperature_runs_to_its_edge():
    z = np.array([[2., 0., -1e30]])
    assert C._edge(z, np.array([1.2]), 0.) == 'bound' and C._edge(z, np.array([.8]), 0.) == 'uninformative'

def test_every_column_of_the_report_is_there():
    p = from_grades(np.abs(np.tanh(X)), HIT)
    row, null = C.repair_report(p, ['platt'], draws=50).loc['uncalibrated'], ece_null(p.conf, HIT, draws=50)
    assert (row.accuracy, row.ece15, row.ece15_null, row.ece15_p) == (HIT.mean(), ece(p.conf, HIT), null.mean, null.p) and row.brier_top == brier_top(p.conf, HIT)

def test_the_confidence_that_is_none_is_named_and_not_a_whole_one():
    with pytest.raises(ValueError, match='got 1.5 in row 2'): from_grades([.5, 1., 1.5], [1, 1, 0])

def test_names_that_are_numbers_keep_their_fraction():
    ids, none = T._ids(pa.chunked_array([[1.5, 2., None]]))
    assert ids.tolist()[:2] == ['1.5', '2'] and none.tolist() == [False, False, True]

def test_a_column_with_an_empty_name_is_not_taken_for_the_cluster(tmp_path):
    file, rows = tmp_path / 'a.csv', [('.9', 1, 'x'), ('.8', 0, 'x'), ('.7', 1, 'y'), ('.6', 0, '')]
    for cut, names in ((3, ['x', 'x', 'y']), (4, None)):
        file.write_text('conf,correct,subject\n' + ''.join(f'{a},{b},"{c}"\n' for a, b, c in rows[:cut]))
        cluster = read_log(file).cluster
        assert (cluster if cluster is None else cluster.tolist()) == names

def test_what_was_taken_for_the_confidence_is_told(tmp_path, capsys):
    (tmp_path / 'a.csv').write_text('prob_0,prob_1,label\n.9,.1,0\n.2,.8,1\n')
    read_log(tmp_path / 'a.csv')
    assert 'confidence: largest of' in ''.join(capsys.readouterr())

def test_what_names_letters_is_said_to(tmp_path):
    (tmp_path / 'a.csv').write_text('prob_0,prob_1,right\n.9,.1,A\n.2,.8,B\n')
    assert read_log(tmp_path / 'a.csv', columns=dict(label='right'), quiet=True).meta['read']['label'] == 'right, letters'

def test_probabilities_may_be_off_by_a_thousandth():
    assert len(T.read_table(pd.DataFrame(dict(p_0=[.5, .2], p_1=[.501, .8], label=[0, 1])), dict(probs='p_'), quiet=True)) == 2

def test_a_gap_between_options_is_none_at_the_end():
    rows = pd.DataFrame([[.1, .2, .7, np.nan], [.1, .2, np.nan, .7]], columns=[f'p_{i}' for i in range(4)]).assign(label=0)
    assert len(T.read_table(rows[:1], dict(probs='p_'), quiet=True)) == 1
    with pytest.raises(ValueError, match='must be numbers, one for each of two or more options'): T.read_table(rows, dict(probs='p_'), quiet=True)

def test_what_follows_from_a_guess_is_guessed_and_what_is_there_is_not():
    assert T._guesses(dict(probs=['p_a'], label=['y']), None) == {'probs', 'label', 'conf'}
    assert T._guesses(dict(probs=['p_a'], conf=['conf']), None) == {'probs'}
    assert T._guesses(dict(pred=['said'], label=['label']), None) == {'pred', 'correct'}
    assert T._guesses(dict(pred=['said'], correct=['correct']), None) == {'pred'}
    assert T._guesses(dict(pred=['said']), dict(pred='said')) == set()

def test_a_prediction_is_held_against_the_label_whatever_the_spaces(tmp_path):
    (tmp_path / 'a.csv').write_text('conf,said,label\n.9,yes,yes\n.8,no , no\n.7,yes,no\n')
    assert read_log(tmp_path / 'a.csv', columns=dict(pred='said'), quiet=True).correct.tolist() == [True, True, False]

def test_a_name_of_a_column_can_be_too_long(tmp_path):
    (tmp_path / 'a.csv').write_text('a' * 200_000 + ',conf\n1,.5\n')
    with pytest.raises(ValueError, match='a.csv: the first line must name the columns: field larger'): read_log(tmp_path / 'a.csv')

def test_what_arrow_cannot_read_is_no_table(tmp_path, monkeypatch):
    def no(*a, **k): raise pa.ArrowInvalid('straddling object')
    monkeypatch.setattr(T.pacsv, 'read_csv', no)
    (tmp_path / 'a.csv').write_text('conf,correct\n.5,1\n')
    with pytest.raises(ValueError, match='a.csv: not a table: straddling object'): read_log(tmp_path / 'a.csv')

def test_scores_are_said_to_have_been_a_softmax(tmp_path):
    (tmp_path / 'a.csv').write_text('logit_0,logit_1,label\n2,.1,0\n.2,8,1\n')
    assert read_log(tmp_path / 'a.csv', quiet=True).meta['read']['conf'].startswith('largest softmax of')


# --- what all readers share ---------------------------------------------------------------------------------------------------------

def test_a_field_is_found_by_its_name_or_by_the_way_to_it():
    record = {'a.b': 1, 'a': {'b': 2, 'c': {'d': 3}}}
    assert (at(record, 'a.b'), at(record, 'a.c.d'), at(record, 'a')['b']) == (1, 3, 2) and at({'a': {'b': 2}}, 'a.b') == 2
    for what, path in ((record, 'a.x'), (record, 'x'), (record, 'a.b.c'), ('abc', 'a'), (None, 'a')):
        with pytest.raises(KeyError): at(what, path)

def test_a_field_that_is_empty_somewhere_is_no_cluster():
    assert useful(['x', 'x', 'y']) and useful(['!', '!', 'y']) and not useful(['', '', 'y']) and not useful(['x', 'y']) and not useful(['x', 'x'])

def test_everything_that_is_taken_for_something_has_a_word(): assert SAID.keys() == {'conf', 'correct', 'label', 'logits', 'uid', 'cluster', 'options', 'note'} and useful([1, 1, 2])


# --- logs ------------------------------------------------------------------------------------------------------------------------

def test_the_fields_that_are_there_are_those_of_the_first_question():
    fields = [{f'f{i:02d}': 1 for i in range(14)}, dict(other=1)]
    with pytest.raises(ValueError, match=r"there are 'f00', .*'f11'$"): subjects(fields, dict(cluster='nope'), Reading('a.jsonl', 'x', False, True))

def test_one_file_of_a_folder_is_read_as_if_it_were_named(tmp_path, capsys):
    log_files.lm_eval(tmp_path, log_files.questions())
    assert read_log(tmp_path, quiet=True, columns=dict(cluster='doc.question'), skip_bad=True).meta['read']['cluster'] == 'doc.question, 6 values'
    assert capsys.readouterr().err == ''
    read_log(tmp_path)
    assert '6 answers' in capsys.readouterr().err

def test_the_cluster_of_two_files_may_be_named_and_the_task_chosen(tmp_path):
    q = log_files.questions()
    for task in ('law', 'art'): log_files.lm_eval(tmp_path, q)[0].rename(tmp_path / f'samples_{task}_2026-01-01T00-00-00.000000.jsonl')
    p = read_log(tmp_path, columns=dict(cluster='task'), quiet=True)
    assert set(p.cluster) == {'law', 'art'} and {'conf', 'correct', 'label', 'uid'} <= p.meta['read'].keys()
    assert read_log(tmp_path, columns=dict(cluster=None), quiet=True).cluster is None
    assert len(read_log(tmp_path, filter=dict(task='l*'), quiet=True)) == len(read_log(tmp_path, filter='task=l*', quiet=True)) == 6

def test_a_log_is_known_by_what_is_in_it(tmp_path):
    file = log_files.parquet(tmp_path, log_files.questions())[0]
    assert L.format_of(file.rename(tmp_path / 'log.dat')) == 'parquet'
    (tmp_path / 'log.pq').write_text('no table')
    with pytest.raises(ValueError, match='log.pq: not a readable Parquet file'): L.format_of(tmp_path / 'log.pq')
    assert [L._of_record(r) for r in (dict(object='response', output=[]), dict(object='response'), dict(output=[]), dict(object='response', output='x'))] == ['openai', None, None, None]

def test_the_first_record_may_stand_behind_49_lines_that_are_none(tmp_path):
    for n in (49, 50):
        (tmp_path / 'a.jsonl').write_text('no record\n' * n + json.dumps(dict(doc_id=0, resps=[])) + '\n')
        assert L.format_of(tmp_path / 'a.jsonl') == ('lm-eval' if n == 49 else 'jsonl')

def test_an_option_that_is_impossible_has_no_other_score_than_minus_infinity(tmp_path):
    q = log_files.questions(sizes=(3,))
    q.loglik[0][(q.won[0] + 1) % 3] = -math.inf
    p = read_log(log_files.lighteval(tmp_path, q)[0], quiet=True)
    assert p.probs[0, (q.won[0] + 1) % 3] == 0 and np.isfinite(p.logits[1:]).all()
    q.loglik[1][0] = math.nan
    with pytest.raises(ValueError, match='model_response.logprobs'): read_log(log_files.lighteval(tmp_path, q)[0], quiet=True)

def test_a_log_tells_its_task_and_its_choice(tmp_path):
    assert read_log(log_files.lighteval(tmp_path, log_files.questions())[0], quiet=True).meta['task'] == 'toy|0'
    folder = log_files.helm(tmp_path, log_files.questions())[0]
    stats = json.loads((folder / 'per_instance_stats.json').read_text())
    chosen = next(s for s in stats[0]['stats'] if s['name']['name'] == 'predicted_index')
    for k in ('sum', 'min', 'max', 'mean'): chosen[k] = 1 - chosen[k] if chosen[k] < 2 else 0
    stats[0]['stats'] = [chosen]
    (folder / 'per_instance_stats.json').write_text(json.dumps(stats))
    with pytest.raises(ValueError, match='predicted_index is .*, but option'): read_log(folder, quiet=True)

def test_a_question_with_one_option_is_none(tmp_path):
    q = log_files.questions(sizes=(2,))
    q.loglik[2], q.label[2] = q.loglik[2][:1], 0
    with pytest.raises(ValueError, match='two or more options and a score for each, got 1 options and 1 scores'): read_log(log_files.lm_eval(tmp_path, q)[0], quiet=True)


# --- replies of chat models ------------------------------------------------------------------------------------------------------

def test_a_letter_that_is_not_told_is_less_likely_than_one_that_is():
    logits, scores = R.letter_scores([(b'A', math.log(.3))], 2, 0.)
    assert logits[1] < logits[0] == math.log(.3) and scores['undecided'] == 1

def test_responses_in_one_list_are_those_line_by_line(tmp_path):
    q = log_files.questions(sizes=(3,))
    (tmp_path / 'replies.json').write_text(json.dumps([log_files.chat(z) for z in q.loglik]))
    p = read_log(tmp_path / 'replies.json', label=list(q.label), columns=dict(k=3), quiet=True)
    assert p.correct.tolist() == [a == 1 for a in q.acc]

def test_a_completion_has_its_text(): assert R.told(log_files.completion([math.log(.6), math.log(.3)])).text == ' A'

def test_a_log_of_inspect_that_is_not_there_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError): R.read_inspect(tmp_path / 'a.eval')

def _inspect(tmp_path, change):
    q = log_files.questions()
    samples = [log_files.sample(q, i) for i in range(len(q))]
    for s in samples: change(s)
    (tmp_path / 'log.json').write_text(json.dumps(log_files.HEAD | dict(samples=samples)))
    return q, R.read_inspect(tmp_path / 'log.json', quiet=True)

def test_of_several_outputs_the_first_is_the_answer(tmp_path):
    q, p = _inspect(tmp_path, lambda s: s['output']['choices'].append(dict(logprobs=None)))
    assert p.correct.tolist() == [a == 1 for a in q.acc]
    assert {'conf', 'correct', 'label', 'uid'} <= p.meta['read'].keys() and p.meta['read']['correct'] == "score 'choice'"

def test_the_confidence_is_that_of_the_letter_that_was_written(tmp_path):
    "Written is the last letter, whatever was likelier."
    def change(s):
        last = s['output']['choices'][0]['logprobs']['content'][-1]
        letter = max(last['top_logprobs'], key=lambda t: t['token'])
        last |= dict(token=letter['token'], bytes=letter['bytes'], logprob=letter['logprob'])
        s['scores'] = dict(choice=dict(value='C' if letter['token'].strip() == s['target'] else 'I', answer=letter['token'].strip()))
    q, p = _inspect(tmp_path, change)
    np.testing.assert_allclose(p.conf, [math.exp(z[-1]) / sum(map(math.exp, z)) for z in q.loglik])

def test_an_entry_of_an_archive_may_hold_a_gibibyte(): assert R._MOST == 2**30 and R.letter_in(b'A', 2) == 0

def test_parts_of_a_character_are_bytes(): assert R._bytes('bytes:\\xf0\\x9f') == b'\xf0\x9f' and R._bytes('bytes: x') == b'bytes: x'


# --- what others send ------------------------------------------------------------------------------------------------------------

def test_gzip_is_unpacked_and_nothing_that_is_like_it():
    assert gunzip(gzip.compress(b'abc'), 3, 'a.gz') == b'abc'
    with pytest.raises(ValueError, match='a.gz is no gzip archive'): gunzip(zlib.compress(b'abc'), 3, 'a.gz')
    with pytest.raises(ValueError, match='more than 2 bytes'): gunzip(gzip.compress(b'abc'), 2, 'a.gz')
    with pytest.raises(ValueError, match='one gzip stream, got .* bytes after its end'): gunzip(gzip.compress(b'abc') * 2, 9, 'a.gz')
    assert gunzip(gzip.compress(b'abc') + bytes(100), 3, 'a.gz') == b'abc' # filled up, as tapes are
    far = np.random.default_rng(0).bytes(30_000) * 2 # what is repeated lies as far back as gzip looks
    assert gunzip(gzip.compress(far), 60_000, 'a.gz') == far

def test_names_are_as_long_as_a_disk_takes_them(tmp_path):
    assert inside(tmp_path, 'a' * 255) == tmp_path / ('a' * 255) and len(str(inside('', f'{"a" * 99}/' * 20))) == 1999
    for name in ('a' * 256, 'ä' * 128, f'{"a" * 99}/' * 20 + 'a'):
        with pytest.raises(ValueError, match='must have a name that stays in its folder'): inside(tmp_path, name)

def test_what_is_masked_are_the_secrets_and_all_of_them(monkeypatch):
    for name, value in dict(PLCAL_A_KEY='zz-inner', PLCAL_B_TOKEN='outer-zz-inner-end', PLCAL_C_TOKEN='a-first-zz-inner', PLCAL_SHORT_KEY='seven77', PLCAL_FOLDER='an-ordinary-folder').items(): monkeypatch.setenv(name, value)
    assert masked('outer-zz-inner-end, a-first-zz-inner, zz-inner, seven77 in an-ordinary-folder') == '***, ***, ***, seven77 in an-ordinary-folder'

@pytest.mark.parametrize('text', ['Authorization: Token {}', 'authorization: ApiKey {} and more', "{{'Authorization': 'Digest {}'}}", 'Authorization: {}', 'https://me:p@{}@host/x?a=b@c', 'Authorization={}, got 401'])
def test_a_secret_is_masked_whatever_the_scheme(text):
    secret = '0123abcd' * 4
    assert secret not in masked(text.format(secret)) and '***' in masked(text.format(secret))
    assert masked('see https://host/path?a=me@home') == 'see https://host/path?a=me@home'


# --- streams ---------------------------------------------------------------------------------------------------------------------

def test_groups_are_drawn_by_splitmix64_from_the_number_of_the_row(tmp_path):
    "Its first numbers from the seed 0, as published (Steele, Lea & Flood 2014)."
    assert S._group(np.array([0], np.uint64), 2**32, 0).tolist() == [0xE220A839]
    pa.parquet.write_table(pa.table(dict(conf=np.linspace(0, 1, 500), correct=np.arange(500) % 2)), tmp_path / 'a.parquet')
    sums = S.stream(tmp_path / 'a.parquet', units=20, progress=False)
    assert sums.n.sum(1).tolist() == np.bincount(S._group(np.arange(500, dtype=np.uint64), 20, 0), minlength=20).tolist()

def test_a_row_group_without_rows_ends_nothing(tmp_path):
    t = pa.table(dict(conf=[.5, .7], correct=[1, 0]))
    with pa.parquet.ParquetWriter(tmp_path / 'a.parquet', t.schema) as w:
        for part in (t, t[:0], t): w.write_table(part)
    assert S.stream(tmp_path / 'a.parquet', progress=False).n.sum() == 4

def test_a_file_counts_once_and_a_folder_is_no_file(tmp_path, monkeypatch):
    (tmp_path / 'part.parquet').mkdir()
    pa.parquet.write_table(pa.table(dict(conf=[.5, .7], correct=[1, 0])), file := tmp_path / 'part.parquet' / 'a.parquet')
    assert S.stream(tmp_path, progress=False).n.sum() == 2
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='twice'): S.stream([file, 'part.parquet/a.parquet'], progress=False)


# --- defaults --------------------------------------------------------------------------------------------------------------------

DEFAULTS = Path(__file__).parent / 'measure_defaults.json'

def defaults():
    "The defaults of every public function of the floor."
    modules = [importlib.import_module(f'plcal_study.measure.{p.stem}') for p in sorted(Path(I.__file__).parent.glob('[a-z]*.py'))]
    functions = {f'{m.__name__.split(".")[-1]}.{n}': getattr(m, n) for m in modules for n in m.__all__ if inspect.isfunction(getattr(m, n))}
    plain = {n: {k: v.default for k, v in inspect.signature(f).parameters.items() if v.default is not v.empty} for n, f in functions.items()}
    return {n: {k: v if isinstance(v, bool | int | float | str | None) else getattr(v, '__name__', str(v)) for k, v in d.items()} for n, d in plain.items() if d}

def test_defaults_are_a_promise():
    "Another default gives another number to those who did not ask: say it in CHANGELOG.md, then renew the table by `python tests/test_measure_edges.py`."
    assert defaults() == json.loads(DEFAULTS.read_text())

if __name__ == '__main__': DEFAULTS.write_text(json.dumps(defaults(), indent=1) + '\n')
