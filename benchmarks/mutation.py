"""Mutation testing of the measuring floor: `python benchmarks/mutation.py [MODULE …] [--each 120 | --all] [--seed 0] [--jobs 1]` breaks `plcal_study.measure` one
small step at a time and asks whether anything notices. Needs `pip install coverage==7.17.5`; about a mutant a second on one core.

What notices: the tests of the floor (TESTS) and the asserts of its notebooks, as CI runs them. One run in which nothing is broken finds which of them reach which
line; each mutant is then made in a forked child of the warm process (the code of the function is swapped, in place) and only those that reach its line are run,
the fastest and those that have killed before first, until one fails. A child that needs more than five times a test's processor time, and five seconds, is stopped and counts as killed, and is counted apart.
Not broken: annotations, docstrings, other strings (only where they are compared, looked up or a default), what a `raise` says, imports and plain definitions.
`--only metrics:120 …` takes the mutants of one line. Another seed than that of the record draws a fresh sample, kept beside it. Results: benchmarks/results/mutation.json; in it `judged` holds by id what a person has made of those that nothing noticed, and is kept."""
import argparse, ast, contextlib, copy, gc, hashlib, importlib, io, json, os, platform, random, resource, shutil, signal, sys, time, types, warnings
from collections import Counter
from datetime import date
from pathlib import Path
import nbformat, pytest

ROOT = Path(__file__).parents[1]
MODULES = 'metrics bootstrap inference calibrators abstention predictions tables records harnesses responses logs plots safe streams'.split()
TESTS = 'metrics bootstrap inference calibrators abstention predictions logs harnesses plots plots_drawn safe streams properties bad_input measure_edges'.split()
SWAP = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
        ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
        ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
        ast.MatMult: ast.Mult, ast.And: ast.Or, ast.Or: ast.And}


# ---- mutants ------------------------------------------------------------------------------------------------------
def variants(node, up):
    "What may stand in the place of a node: (operator, new node)."
    def new(**kw): return ast.copy_location(type(node)(**{**{f: getattr(node, f) for f in node._fields}, **kw}), node)
    def no(x): return ast.copy_location(ast.UnaryOp(ast.Not(), x), x)
    none = ast.copy_location(ast.Constant(None), node)
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                if type(op) in SWAP: yield 'comparison', new(ops=[*node.ops[:i], SWAP[type(op)](), *node.ops[i+1:]])
        case ast.BinOp() | ast.AugAssign() if type(node.op) in SWAP: yield 'arithmetic', new(op=SWAP[type(node.op)]())
        case ast.BoolOp(): yield 'and/or', new(op=SWAP[type(node.op)]())
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()): yield 'sign or not', node.operand
        case ast.Constant(value=bool()): yield 'constant', new(value=not node.value)
        case ast.Constant(value=int() | float()): yield from [('constant', new(value=node.value + d)) for d in (1, -1)[:1 + isinstance(node.value, int)]]
        case ast.Constant(value=str()) if isinstance(up, (ast.Compare, ast.Subscript, ast.arguments)): yield 'string', new(value=node.value + '!')
        case ast.Return(value=ast.expr()) if not (isinstance(node.value, ast.Constant) and node.value.value is None): yield 'return', new(value=none)
        case ast.Subscript(slice=ast.Slice() as s):
            for end, by in (('lower', 1), ('upper', -1)):
                if (e := getattr(s, end)) and not isinstance(e, ast.Constant):
                    yield 'slice', new(slice=ast.Slice(**{f: getattr(s, f) for f in s._fields} | {end: ast.BinOp(e, ast.Add(), ast.Constant(by))}))
        case ast.Call(keywords=[_, *_]):
            for i, k in enumerate(node.keywords):
                if k.arg: yield 'keyword', new(keywords=node.keywords[:i] + node.keywords[i+1:])
        case ast.Continue(): yield 'removed', ast.copy_location(ast.Break(), node)
        case ast.Break(): yield 'removed', ast.copy_location(ast.Continue(), node)
        case ast.If() | ast.While() | ast.IfExp(): yield 'condition', new(test=no(node.test))
        case ast.comprehension():
            for i, t in enumerate(node.ifs): yield 'condition', new(ifs=[*node.ifs[:i], no(t), *node.ifs[i+1:]])
    if isinstance(node, (ast.Raise, ast.Assert, ast.AugAssign)) or isinstance(node, ast.Expr) and not isinstance(node.value, (ast.Constant, ast.Yield)):
        yield 'removed', ast.copy_location(ast.Pass(), node)
    if isinstance(node, ast.Assign) and not (isinstance(node.value, ast.Constant) and node.value.value is None): yield 'removed', new(value=none)


def walk(node, path=(), up=None):
    "Every node that may be broken, with the way to it; not those of annotations, decorators, docstrings and what a `raise` says."
    if not isinstance(node, (ast.arg, ast.JoinedStr)): yield node, path, up
    if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom)): return
    for f in node._fields:
        if f in ('annotation', 'returns', 'decorator_list', 'bases', 'ctx'): continue
        v = getattr(node, f)
        for i, x in enumerate(v) if isinstance(v, list) else [(None, v)]:
            if isinstance(x, ast.AST): yield from walk(x, (*path, (f, i)), node)


def broken(stmt, path, new):
    "A copy of a statement with one node changed."
    if not path: return new
    stmt = copy.deepcopy(stmt); at = stmt
    for f, i in path[:-1]: at = getattr(at, f) if i is None else getattr(at, f)[i]
    f, i = path[-1]
    if i is None: setattr(at, f, new)
    else: getattr(at, f)[i] = new
    return ast.fix_missing_locations(stmt)


def mutants(module):
    "All mutants of a module: dicts with place, operator, the line before and after, and the broken statement."
    file = ROOT / 'plcal_study' / 'measure' / f'{module}.py'
    text = file.read_text(); lines, out = text.splitlines(), []
    for stmt in ast.parse(text).body:
        if isinstance(stmt, (ast.Import, ast.ImportFrom)) or isinstance(stmt, ast.Assign) and getattr(stmt.targets[0], 'id', '') == '__all__': continue
        for node, path, up in walk(stmt):
            for k, (op, new) in enumerate(variants(node, up)):
                line = getattr(node, 'lineno', None) or node.target.lineno
                was, now = (ast.unparse(n) if not isinstance(n, ast.comprehension) else ast.unparse(ast.ListComp(ast.Name('_'), [n])) for n in (node, new))
                was, now = (s.splitlines()[0] for s in (was, now))
                name = hashlib.sha1(f'{module}{path}{ast.dump(stmt)}{op}{k}'.encode()).hexdigest()[:10]
                out.append(dict(id=name, module=module, line=line, operator=op, text=lines[line-1].strip(), was=was, now=now, stmt=stmt, path=path, new=new))
    return out


def apply(m):
    "Break the module in this process: the code of functions is swapped in place, so that all who have imported them are reached."
    mod = importlib.import_module(f'plcal_study.measure.{m["module"]}')
    stmt, ns = broken(m['stmt'], m['path'], m['new']), dict(vars(mod))
    exec(compile(ast.Module([*ast.parse('from __future__ import annotations').body, stmt], []), mod.__file__, 'exec'), ns)
    def swap(old, new):
        if isinstance(old, (classmethod, staticmethod)): old, new = old.__func__, new.__func__
        if isinstance(old, property): old, new = old.fget, new.fget
        while hasattr(old, '__wrapped__') and hasattr(new, '__wrapped__'):
            if hasattr(old, 'cache_clear'): old.cache_clear()
            old, new = old.__wrapped__, new.__wrapped__
        if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
            with contextlib.suppress(ValueError): old.__code__ = new.__code__ # another number of free variables: a method that says super()
            old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    for name, new in list(ns.items()):
        old = vars(mod).get(name)
        if new is old or name.startswith('__'): continue
        if isinstance(new, type) and isinstance(old, type):
            for k, v in vars(new).items():
                if k in vars(old): swap(vars(old)[k], v)
                if k in getattr(old, '__dataclass_fields__', ()): setattr(old, k, v)
        elif isinstance(new, types.FunctionType): swap(old, new)
        else:
            for other in [x for x in list(sys.modules.values()) if vars(x).get(name) is old and name in vars(x)]: setattr(other, name, new)


# ---- what notices -------------------------------------------------------------------------------------------------
class Notebook(pytest.Item):
    "A notebook of the floor: its cells run in order; those that define the module stand in the module already."
    def setup(self):
        import matplotlib; matplotlib.use('Agg')
        cells = [c.source for c in nbformat.read(self.path, 4).cells if c.cell_type == 'code']
        module = next(s.split()[-1] for c in cells for s in c.splitlines() if s.startswith('#| default_exp'))
        self.space = dict(vars(importlib.import_module(f'plcal_study.{module}')), __name__='__main__', display=lambda *a: None)
        skip = ('#| default_exp', '#| export', '#| eval: false', '#|export')
        self.cells = [c for c in cells if not any(s.startswith(skip) for s in c.splitlines()) and 'nbdev_export()' not in c]
    def runtest(self):
        import matplotlib.pyplot as plt
        with contextlib.chdir(self.path.parent), contextlib.redirect_stdout(io.StringIO()):
            for c in self.cells:
                tree = ast.parse('\n'.join(s for s in c.splitlines() if not s.startswith(('%', '!'))))
                if tree.body and isinstance(tree.body[-1], ast.Expr): # what Jupyter shows
                    tree.body[-1] = ast.parse(f'_shown = {ast.unparse(tree.body[-1])}').body[0]
                self.space['_shown'] = None
                exec(compile(tree, str(self.path), 'exec'), self.space)
                for f in ('_repr_html_', '__repr__'): getattr(self.space['_shown'], f, str)()
        plt.close('all')


class NotebookFile(pytest.File):
    def collect(self): yield Notebook.from_parent(self, name=self.path.stem)


class Plan:
    "The pytest plugin in which everything happens once the tests are collected."
    def __init__(self, said): self.said, self.failed, self.reach, self.kills = said, None, {}, Counter()
    def pytest_collect_file(self, file_path, parent):
        if file_path.suffix == '.ipynb': return NotebookFile.from_parent(parent, path=file_path)
    def pytest_runtest_logreport(self, report):
        if report.failed: self.failed = f'{report.nodeid} ({report.when})\n{report.longreprtext[-1500:]}'

    def item(self, item, following=None): item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

    def find(self, items):
        "Which test reaches which line: one run under coverage, kept in --map for tests and modules that have not changed."
        import coverage
        floor = ROOT / 'plcal_study' / 'measure'
        stamp = hashlib.sha1(b''.join(p.read_bytes() for p in sorted(floor.glob('*.py')))).hexdigest()
        old = json.loads(self.said.map.read_text()) if self.said.map.exists() else {}
        keep = old.get('tests', {}) if old.get('stamp') == stamp else {}
        shas = {p: hashlib.sha1(p.read_bytes()).hexdigest() for p in {i.path for i in items}}
        cov = coverage.Coverage(data_file=None, include=[f'{floor}/*'], config_file=False); cov.set_option('run:disable_warnings', ['no-data-collected'])
        todo = [i for i in items if keep.get(i.nodeid, [0])[0] != shas[i.path]]
        cov.start()
        for item, following in zip(todo, [*todo[1:], None], strict=False):
            cov.switch_context(item.nodeid); start = time.process_time()
            self.item(item, following)
            keep[item.nodeid] = [shas[item.path], time.process_time() - start, {}]
            if self.failed: sys.exit(f'this fails with nothing broken:\n{self.failed}')
        cov.stop(); data = cov.get_data()
        for file in data.measured_files():
            for line, names in data.contexts_by_lineno(file).items():
                for n in names:
                    if n: keep[n][2].setdefault(Path(file).stem, []).append(line)
        self.said.map.write_text(json.dumps(dict(stamp=stamp, tests=keep)))
        self.tests = {i.nodeid: i for i in items}
        self.took = {n: keep[n][1] for n in self.tests}
        self.lines = {n: {m: set(lines) for m, lines in keep[n][2].items()} for n in self.tests}

    def reached(self, m):
        "The tests that reach a mutant's line, the fastest first; for what runs at import all that touch the module."
        whole = not isinstance(m['stmt'], ast.FunctionDef) and not any(isinstance(getattr(m['stmt'], 'body', None), list) and f == 'body' for f, _ in m['path'][1:])
        at = range(m['line'], m['line'] + 1)
        tests = [n for n, l in self.lines.items() if m['module'] in l and (whole or any(x in l[m['module']] for x in at) or self.default(m, l[m['module']]))]
        if any(f in ('defaults', 'kw_defaults') for f, _ in m['path']): tests += [n for n in self.lines if n not in tests and 'test_defaults' in n] # it reads them and calls nothing
        return sorted(tests, key=lambda n: self.took[n] / (1 + 5 * self.kills[n]))
    def default(self, m, lines):
        "A signature has no line of its own at run time, and a line that goes over several counts as its first: then the whole innermost function is asked."
        if m['line'] in self.every(m['module']): return False
        within = [f for f in ast.walk(m['stmt']) if isinstance(f, ast.FunctionDef) and f.lineno <= m['line'] <= f.end_lineno]
        f = within[-1] if within else m['stmt']
        return any(f.lineno <= x <= f.end_lineno for x in lines)
    def every(self, module):
        if module not in self.reach: self.reach[module] = set().union(*(l.get(module, set()) for l in self.lines.values()))
        return self.reach[module]

    def child(self, m, names, out):
        "In the forked child: break, run, say; never returns."
        null = os.open(os.devnull, os.O_WRONLY); os.dup2(null, 1); os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for s in (signal.SIGALRM, signal.SIGPROF): signal.signal(s, signal.SIG_DFL)
        base = self.base / str(os.getpid()); base.mkdir()
        next(iter(self.tests.values())).config._tmp_path_factory._basetemp = base
        signal.setitimer(signal.ITIMER_PROF, 10)
        try:
            with warnings.catch_warnings(): warnings.simplefilter('ignore'); apply(m)
        except BaseException as e: self.failed = f'import ({type(e).__name__})'
        for n in names:
            if self.failed: break
            signal.setitimer(signal.ITIMER_PROF, 5 + 5 * self.took[n]); signal.alarm(900) # the second for what waits and does not compute
            try: self.item(self.tests[n])
            except BaseException as e: self.failed = self.failed or f'{n} ({type(e).__name__})'
        os.write(out, (self.failed or '').splitlines()[0].encode()[:300] if self.failed else b'-')
        os._exit(0)

    def judge(self, m):
        "Killed (by what), timeout, survived, or unreached."
        names = self.reached(m)
        m['seconds'] = 0.
        if not names: return 'unreached', ''
        r, w = os.pipe(); start = time.perf_counter()
        if not (pid := os.fork()):
            try: self.child(m, names, w)
            finally: os._exit(7)
        os.close(w)
        said = b''
        while b := os.read(r, 4096): said += b
        os.close(r); _, status = os.waitpid(pid, 0)
        shutil.rmtree(self.base / str(pid), ignore_errors=True)
        m['seconds'] = round(time.perf_counter() - start, 2)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGPROF): return 'timeout', ''
        return ('survived', f'{len(names)} tests') if said == b'-' else ('killed', said.decode(errors='replace') or f'ended with status {status}')

    def pytest_runtestloop(self, session):
        said = self.said; self.find(session.items)
        self.base = Path(session.config._tmp_path_factory.getbasetemp()) / 'children'; self.base.mkdir(); gc.collect(); gc.freeze()
        for module in said.modules:
            every = mutants(module)
            if said.only: take = [m for m in every if any(o in (f'{module}:{m["line"]}', m['id']) for o in said.only)]
            else:
                take = random.Random(f'{said.seed} {module}').sample(every, len(every))[:None if said.all else said.each] # a longer run begins with the same ones
            done, judged = ({}, {}) if said.only else earlier(said.results, module)
            for i, m in enumerate(take):
                old = done.get(m['id'], {})
                if not said.again and (old.get('outcome') == 'killed' or old.get('outcome') == 'survived' and judged.get(m['id'], [''])[0] == 'same'): m.update(outcome=old['outcome'], by=old['by'], seconds=old['seconds'])
                else: m['outcome'], m['by'] = self.judge(m)
                self.kills[m['by'].split(' (')[0]] += m['outcome'] == 'killed'
                if m['outcome'] in ('survived', 'unreached') or said.only:
                    print(f'{module}:{m["line"]} {m["id"]} {m["operator"]} {m["outcome"]} {m["by"]}\n    {m["text"]}\n    {m["was"][:120]}  →  {m["now"][:120]}', flush=True)
                if not said.only and (i % 10 == 9 or i + 1 == len(take)): record(said, module, every, take[:i + 1])
        return True


# ---- record -------------------------------------------------------------------------------------------------------
def earlier(file, module):
    "What an earlier sitting found, and what a person has made of it, by id; a mutant's id changes with its statement, so that nothing stale is taken over."
    rec = json.loads(file.read_text()) if file.exists() else dict(modules={}, judged={})
    return {m['id']: m for m in rec['modules'].get(module, {}).get('mutants', [])}, rec['judged']

def wilson(k, n, z=1.959964):
    "The interval of a share (Wilson 1927)."
    p, mid = k / n, (k + z*z/2) / (n + z*z)
    half = z / (1 + z*z/n) * (p*(1-p)/n + z*z/(4*n*n)) ** .5
    return [round(mid - half, 4), round(mid + half, 4)]

def record(said, module, every, take):
    "Write a module into the record."
    rec = json.loads(said.results.read_text()) if said.results.exists() else dict(modules={}, judged={})
    seen = {o: sum(m['outcome'] == o for m in take) for o in ('killed', 'timeout', 'survived', 'unreached')}
    if rec.get('seed', said.seed) != said.seed: # another sample, which tells whether tests were written for the first alone
        rec.setdefault('fresh', {})[module] = dict(date=str(date.today()), seed=said.seed, tried=len(take), **seen, left=[{k: m[k] for k in ('id', 'line', 'operator', 'text', 'was', 'now')} for m in take if m['outcome'] in ('survived', 'unreached')])
        return said.results.write_text(json.dumps(rec, indent=1, ensure_ascii=False) + '\n')
    take = sorted(take, key=lambda m: m['line'])
    rec['modules'][module] = dict(date=str(date.today()), made=len(every), tried=len(take), **seen,
        mutants=[{k: m[k] for k in ('id', 'line', 'operator', 'outcome', 'by', 'seconds')} | ({k: m[k] for k in ('text', 'was', 'now')} if m['outcome'] in ('survived', 'unreached') else {}) for m in take])
    print(f'{time.strftime("%H:%M:%S")} {module}: {len(every)} mutants, {len(take)} tried, {seen}', flush=True)
    rec.update(date=str(date.today()), seed=said.seed, python=platform.python_version(), numpy=importlib.import_module('numpy').__version__, pytest=pytest.__version__)
    said.results.write_text(json.dumps(rec, indent=1, ensure_ascii=False) + '\n')


if __name__ == '__main__':
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument('modules', nargs='*', default=MODULES)
    ask.add_argument('--each', type=int, default=120, help='mutants of a module, drawn by seed (default 120)')
    ask.add_argument('--all', action='store_true', help='all mutants')
    ask.add_argument('--again', action='store_true', help='try those anew too that an earlier sitting killed, or that a person has judged to be the same')
    ask.add_argument('--seed', type=int, default=0)
    ask.add_argument('--only', nargs='*', default=[], help='MODULE:LINE or id')
    ask.add_argument('--count', action='store_true', help='count the mutants and stop')
    ask.add_argument('--map', type=Path, default=ROOT / 'benchmarks' / '.mutation_map.json')
    ask.add_argument('--results', type=Path, default=ROOT / 'benchmarks' / 'results' / 'mutation.json')
    said = ask.parse_args()
    said.modules = said.modules or MODULES
    if said.count: sys.exit('\n'.join(f'{m} {len(mutants(m))}' for m in said.modules))
    for p in (ROOT / 'tests').glob('bad_input_*.py'): # of the tables of bad input those of this floor: the others load torch
        if p.stem.removeprefix('bad_input_') not in MODULES: sys.modules[p.stem] = types.SimpleNamespace(CASES=[])
    from hypothesis import Phase, settings
    settings.register_profile('mutation', phases=(Phase.explicit, Phase.generate), database=None, deadline=None); settings.load_profile('mutation')
    books = [p for p in sorted((ROOT / 'nbs' / 'measure').glob('*.ipynb'))]
    sys.exit(pytest.main(['-q', '-s', '--tb=native', '--assert=plain', '-p', 'no:cacheprovider', '-p', 'no:faulthandler', f'--rootdir={ROOT}',
                          *(str(ROOT / 'tests' / f'test_{t}.py') for t in TESTS), *map(str, books)], plugins=[Plan(said)]))
