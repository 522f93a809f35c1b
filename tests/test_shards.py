"Shares of a grid: every cell in one, about equal; and results of many folders in one, whole or not at all."
import itertools, json, os, random, shutil, threading
import pytest
import fake_question
from plcal_study.study import runs, shards
from plcal_study.study.runs import Run, read_cell, run_grid, run_id, status
from plcal_study.study.shards import gather, shard, shard_of

def cells(n, task='write'): return [Run('fake', f'part{s % 2}', task, 'coin', seed=s) for s in range(n)]
def go(grid, out, **more): return run_grid(grid, fake_question.work, out, workers=1, progress=False, **more)
def cost(r): return float(r.n_train)


@pytest.mark.parametrize('n', [1, 2, 3, 7, 40])
def test_every_cell_is_in_one_share_and_all_agree(n):
    rng = random.Random(n)
    grid = [Run('q', 'p', 't', 'm', n_train=rng.randint(1, 1000), seed=s) for s in range(30)]
    shares = [shard(grid, i, n, cost) for i in range(1, n + 1)]
    assert sorted(run_id(r) for s in shares for r in s) == sorted(map(run_id, grid))
    mixed = rng.sample(grid, len(grid))
    for i, s in enumerate(shares, 1):
        assert {run_id(r) for r in shard(mixed, i, n, cost)} == {run_id(r) for r in s}, 'the order of the grid decides nothing'
        assert s == [r for r in grid if r in s], 'in the order of the grid'

def test_the_fullest_share_is_within_the_bound_of_graham():
    "Against the best division, found by trying all; the bound is 4/3 - 1/(3n) (Graham 1969)."
    rng, worst = random.Random(0), 0.
    for _ in range(60):
        n, sizes = rng.choice([2, 3]), [rng.randint(1, 20) for _ in range(7)]
        grid = [Run('q', 'p', 't', 'm', n_train=c, seed=s) for s, c in enumerate(sizes)]
        best = min(max(sum(c for c, k in zip(sizes, where, strict=True) if k == j) for j in range(n)) for where in itertools.product(range(n), repeat=7))
        fullest = max(sum(map(cost, shard(grid, i, n, cost))) for i in range(1, n + 1))
        worst = max(worst, fullest / best)
        assert fullest <= (4 / 3 - 1 / (3 * n)) * best + 1e-9
    assert worst > 1, 'a rule that is always best was not what was tried'

def test_longest_first_by_hand():
    grid = [Run('q', 'p', 't', 'm', n_train=c, seed=c) for c in (7, 6, 5, 4, 3)]
    assert sorted(sorted(r.n_train for r in shard(grid, i, 2, cost)) for i in (1, 2)) == [[3, 4, 7], [5, 6]]

def test_a_share_is_written_as_people_say_it():
    assert shard_of('3/16') == (3, 16)
    for bad in '0/3', '4/3', '3', '1/0', '-1/3', '1/3/5', '', 'a/b', '1.0/3', ' 1/3':
        with pytest.raises(ValueError, match='shard must be i/n'): shard_of(bad)


@pytest.fixture
def parts(tmp_path):
    grid = cells(5)
    for i in (1, 2): go(shard(grid, i, 2), tmp_path / f'part{i}', whole=grid)
    return [tmp_path / 'part1', tmp_path / 'part2'], grid

def inside(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}

def test_all_come_once_and_to_the_byte(parts, tmp_path):
    sources, grid = parts
    g = gather(sources, tmp_path / 'all')
    assert sorted(g.came) == sorted(map(run_id, grid)) and not g.there and not g.refused
    for r in grid:
        at = next(s / 'runs' / run_id(r) for s in sources if (s / 'runs' / run_id(r)).exists())
        assert inside(tmp_path / 'all' / 'runs' / run_id(r)) == inside(at)
    assert set(status(tmp_path / 'all').state) == {'done'} and not list((tmp_path / 'all' / 'runs').glob('.gather*'))
    before = inside(tmp_path / 'all')
    g = gather(sources, tmp_path / 'all')
    assert not g.came and len(g.there) == 5 and inside(tmp_path / 'all') == before
    assert len(go(grid, tmp_path / 'all').skipped) == 5

def test_what_is_not_finished_does_not_come_and_is_known_to_wait(parts, tmp_path):
    sources, grid = parts
    first = next((sources[0] / 'runs').glob('[0-9a-f]' * 12))
    (first / 'run.json').unlink()
    g = gather(sources, tmp_path / 'all')
    assert len(g.came) == 4 and first.name not in g.came and sorted(status(tmp_path / 'all').state) == ['done'] * 4 + ['waiting']

def test_what_is_damaged_is_refused_and_said(parts, tmp_path):
    sources, _ = parts
    file = next((sources[0] / 'runs').glob('*/said.json'))
    file.write_bytes(file.read_bytes().replace(b'seed', b'seeD'))
    g = gather(sources, tmp_path / 'all')
    assert len(g.came) == 4 and list(g.refused) == [str(file.parent)] and f'{file} holds other bytes' in g.refused[str(file.parent)]
    assert not (tmp_path / 'all' / 'runs' / file.parent.name).exists()

def test_what_is_there_is_never_replaced(parts, tmp_path):
    sources, grid = parts
    go(grid[:1], tmp_path / 'other') # the same cell, filled by another process: said.json names another pid
    gather([tmp_path / 'other'], tmp_path / 'all')
    before = inside(tmp_path / 'all' / 'runs' / run_id(grid[0]))
    g = gather(sources, tmp_path / 'all')
    assert len(g.came) == 4 and 'holds another result than' in next(iter(g.refused.values())) and inside(tmp_path / 'all' / 'runs' / run_id(grid[0])) == before
    assert read_cell(tmp_path / 'all' / 'runs' / run_id(grid[0]), deep=True)[0] == grid[0]

def test_from_a_bucket(parts, bucket, tmp_path):
    sources, grid = parts
    address, fs, root = bucket
    for s in sources: fs.put(f"{s / 'runs'}/", f'{root}/runs/', recursive=True)
    g = gather([address], tmp_path / 'all')
    assert len(g.came) == 5 and len(go(grid, tmp_path / 'all').skipped) == 5

def test_lists_of_cells_are_joined(tmp_path):
    grid = cells(4)
    for k, own in enumerate((grid[:2], grid[2:])): go(own, tmp_path / str(k))
    gather([tmp_path / '0'], tmp_path / 'all')
    gather([tmp_path / '1'], tmp_path / 'all')
    shutil.rmtree(tmp_path / 'all' / 'runs' / run_id(grid[0])); shutil.rmtree(tmp_path / 'all' / 'runs' / run_id(grid[3]))
    t = status(tmp_path / 'all')
    assert sorted(t.state) == ['done', 'done', 'waiting', 'waiting']
    assert len(json.loads((tmp_path / 'all' / 'runs' / 'grid-fake-smoke.json').read_text())['runs']) == 4

def test_a_list_that_another_runner_adds_to_meanwhile_is_not_written_over(tmp_path, monkeypatch):
    grid, parsed, others = cells(4), shards._parsed, []
    for k, own in enumerate((grid[:1], grid[1:2])): go(own, tmp_path / str(k))
    gather([tmp_path / '0'], tmp_path / 'all')
    def slowly(*what):
        "While a list is read, another runner notes that this part has grown."
        if not others:
            others.append(threading.Thread(target=go, args=([grid[0], grid[2]], tmp_path / 'all')))
            others[0].start()
            others[0].join(2)
        return parsed(*what)
    monkeypatch.setattr(shards, '_parsed', slowly)
    gather([tmp_path / '1'], tmp_path / 'all')
    others[0].join()
    listed = json.loads((tmp_path / 'all' / 'runs' / 'grid-fake-smoke.json').read_text())['runs']
    assert sorted(r['seed'] for r in listed) == [0, 1, 2]

@pytest.mark.parametrize('text, says', [('{"format": 1, "ru', 'is damaged or cut short'), ('{"format": 9, "plcal_study": "9.0"}', 'it was written by plcal_study 9.0')])
def test_a_spoiled_list_is_named(tmp_path, text, says):
    go(cells(1), tmp_path / '0')
    path = tmp_path / '0' / 'runs' / 'grid-fake-smoke.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as e: gather([tmp_path / '0'], tmp_path / 'all')
    assert str(path) in str(e.value)

def test_what_a_killed_gatherer_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    go(cells(1), tmp_path / '0')
    (folder := tmp_path / 'all' / 'runs').mkdir(parents=True)
    for name, pid in ('dead', 2**22 + 1), ('mine', os.getpid()), ('elsewhere', os.getpid()):
        (folder / f'.gather-{name}').mkdir()
        (folder / f'.gather-{name}.lock').write_text(json.dumps(json.loads(runs._me()) | dict(pid=pid) | (dict(host='b') if name == 'elsewhere' else {})))
    (folder / '.gather-unsigned').mkdir() # of an older version
    assert len(gather([tmp_path / '0'], tmp_path / 'all').came) == 1
    assert sorted(p.name for p in folder.glob('.gather*')) == ['.gather-elsewhere', '.gather-elsewhere.lock', '.gather-mine', '.gather-mine.lock']

def test_without_fsspec_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'fsspec.core', None)
    with pytest.raises(ImportError, match=r"fsspec is missing.*plcal_study\[lm\]"): shards.gather([tmp_path], tmp_path / 'all')

def test_a_damaged_cell_of_the_target_stops_no_other(tmp_path):
    for name in ('a', 'b'): go(cells(3), tmp_path / name)
    ids = sorted(map(run_id, cells(3)))
    for i in ids[1:]: shutil.rmtree(tmp_path / 'b' / 'runs' / i)
    (tmp_path / 'b' / 'runs' / ids[0] / 'run.json').write_text('{')
    g = gather([tmp_path / 'a'], tmp_path / 'b')
    assert set(g.came) == set(ids[1:]) and len(g.refused) == 1 and 'run.json is damaged' in next(iter(g.refused.values()))

def test_a_source_that_is_not_there_makes_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no results'): gather([tmp_path / 'nowhere'], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()

def test_what_others_wrote_meanwhile_is_seen(monkeypatch):
    asked = []
    from fsspec.implementations.memory import MemoryFileSystem
    monkeypatch.setattr(MemoryFileSystem, 'invalidate_cache', lambda self, path=None: asked.append(path))
    shards.files_at('memory://x')
    assert asked == [None]
