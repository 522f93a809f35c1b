"The built site in a real browser: every page loads in silence and asks nobody outside, and what can be chosen, searched and filtered shows the records."
import functools, http.server, math, shutil, threading
from pathlib import Path
from urllib.parse import urlsplit
import numpy as np, pytest
from plcal_study.study import browse, pages

SITE = Path(__file__).parents[1] / '_docs' / 'html'
NBS = Path(__file__).parents[1] / 'nbs'
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
QUIET = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
MAIN = ['index', 'verdicts', 'ledger', 'research/q6_abstention']
WIDE, NARROW = dict(width=1400, height=900), dict(width=390, height=844)
# What axe finds that is serious or critical and is let be, with the reason: nothing at present.
EXCEPTIONS: dict[str, str] = {}


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def site():
    "The address of the built site, served from here."
    if not SITE.exists(): pytest.skip('the site is not built: `make site` (make test builds it first)')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Silent, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    server.server_close()

@pytest.fixture(scope='module')
def browser(site):
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: pip install -e ".[dev]"')
    if not CHROMIUM: pytest.skip('no Chromium here: apt install chromium')
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield b
        b.close()

@pytest.fixture
def tab(browser, site):
    "A page of its own whose complaints, and whose requests to elsewhere, fail the test that made them."
    context = browser.new_context(viewport=WIDE, color_scheme='light')
    page, wrong = context.new_page(), []
    page.set_default_timeout(20_000)
    page.set_default_navigation_timeout(120_000) # the API is one long page, and machines are slow
    page.on('console', lambda m: wrong.append(f'{page.url}: {m.text}') if m.type in ('error', 'warning') else None)
    page.on('pageerror', lambda e: wrong.append(f'{page.url}: {e}'))
    page.on('request', lambda r: wrong.append(f'{page.url} asks {r.url}') if urlsplit(r.url).scheme not in ('data', 'blob', 'file') and not r.url.startswith(site) else None)
    page.on('requestfailed', lambda r: wrong.append(f'{page.url}: {r.url} {r.failure}') if 'ERR_ABORTED' not in (r.failure or '') else None) # a reload aborts what was under way
    yield page
    context.close()
    assert not wrong, wrong[:10]


# ---- every page ------------------------------------------------------------------------------------------------------
def test_every_page_loads_in_silence_fits_and_opens_in_colab(tab, site):
    "Each page once, at the width of a phone (the main pages also wider, below): no complaint (see `tab`), no sideways scroll of the page, the notebook's own Colab link."
    found = sorted(p.relative_to(SITE).with_suffix('') for p in SITE.rglob('*.html') if not {'_modules', '_static'} & set(p.relative_to(SITE).parts))
    assert len(found) > 50
    too_wide, colab = [], {}
    tab.set_viewport_size(NARROW)
    for name in map(str, found):
        tab.goto(f'{site}{name}.html', wait_until='load')
        if (width := tab.evaluate('document.documentElement.scrollWidth')) > NARROW['width']: too_wide.append((name, width))
        if (NBS / f'{name}.ipynb').exists(): colab[name] = tab.evaluate("document.querySelector('a[href*=\"colab.research\"]')?.href")
    assert not too_wide
    assert len(colab) > 45 and colab == {n: f'https://colab.research.google.com/github/plcal-study/plcal_study/blob/main/nbs/{n}.ipynb' for n in colab}

LAYOUT = ['color-contrast', 'scrollable-region-focusable', 'link-in-text-block', 'select-name', 'label', 'button-name', 'aria-hidden-focus'] # what depends on mode and width
FEWER = {'verdicts': ('#verdicts-verdict', 'contradicts'), 'ledger': ('#ledger-status', 'in our interval')} # rows of one kind need not all be audited

def axe(page, rules=None):
    "What axe calls serious or critical on the page as it stands, and how many rules passed."
    if not page.evaluate('Boolean(window.axe)'):
        import axe_playwright_python
        page.add_script_tag(path=Path(axe_playwright_python.__file__).parent / 'axe.min.js')
    got = page.evaluate("rules => axe.run(document, {preload: false, resultTypes: ['violations'], ...(rules && {runOnly: rules})}).then(r => [r.violations.map(v => [v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html.slice(0, 150))]), r.passes.length])", rules)
    return [v for v in got[0] if v[1] in ('serious', 'critical') and v[0] not in EXCEPTIONS], got[1]

@pytest.mark.parametrize('name', MAIN)
def test_main_pages_can_be_used_by_everybody(tab, site, name):
    pytest.importorskip('axe_playwright_python', reason='axe is not installed: pip install -e ".[dev]"')
    tab.goto(f'{site}{name}.html')
    if name in FEWER: tab.select_option(*FEWER[name])
    tried = 0
    for mode in ('light', 'dark'):
        tab.evaluate(f"document.documentElement.dataset.theme = document.documentElement.dataset.mode = '{mode}'")
        for size in (WIDE, NARROW):
            tab.set_viewport_size(size)
            tab.wait_for_timeout(350) # colours change in a transition
            assert tab.evaluate('document.documentElement.scrollWidth') <= size['width']
            violations, passed = axe(tab, LAYOUT if tried else None) # every rule once, in the first of the four
            tried += passed
            assert not violations and passed > 1, (mode, size, violations)
    assert tried > 25

def test_search_finds_a_term_and_leads_there(tab, site):
    tab.goto(f'{site}search.html?q=hypergeometric')
    link = tab.locator('#search-results ul.search a').first
    link.wait_for()
    assert tab.locator('#search-results ul.search > li').count() >= 1
    link.click()
    tab.wait_for_load_state()
    assert 'hypergeometric' in tab.locator('article').inner_text().lower() or 'hypergeometric' in tab.locator('article').text_content().lower()

def test_the_search_box_of_a_page_leads_to_the_results(tab, site):
    tab.goto(f'{site}verdicts.html')
    tab.keyboard.press('Control+k')
    tab.keyboard.type('abstention')
    tab.keyboard.press('Enter')
    tab.wait_for_url('**/search.html?q=abstention*')
    tab.locator('#search-results ul.search a[href*="q6_abstention"]').first.wait_for()

def test_dark_mode_switches_and_stays(tab, site):
    tab.goto(f'{site}verdicts.html')
    def colour(): return tab.evaluate("getComputedStyle(document.body).backgroundColor")
    theme = "document.documentElement.dataset.theme"
    light = colour()
    assert tab.evaluate(theme) == 'light'
    tab.locator('button.theme-switch-button').first.click()
    tab.locator('button.theme-change-button[data-mode=dark]:visible').click()
    tab.wait_for_timeout(350)
    assert tab.evaluate(theme) == 'dark' and colour() != light
    tab.goto(f'{site}ledger.html')
    assert tab.evaluate(theme) == 'dark'


# ---- the explorer ----------------------------------------------------------------------------------------------------
def law(n, right, wrong, k, w):
    "{right - w wrong: probability} among k rows drawn of n, in whole numbers until the last division."
    out = {}
    for a in range(min(k, right) + 1):
        for b in range(max(0, k - a - (n - right - wrong)), min(k - a, wrong) + 1):
            out[a - w * b] = out.get(a - w * b, 0) + math.comb(right, a) * math.comb(wrong, b) * math.comb(n - right - wrong, k - a - b)
    return {v: x / math.comb(n, k) for v, x in out.items()}

def band(counts, k, w):
    "The middle 95% of 100 (right - w wrong) / k, mean over data sets given as (n, right, wrong)."
    total = {0: 1.}
    for c in counts:
        one, both = law(*c, k, w), {}
        for u, p in total.items():
            for v, q in one.items(): both[u + v] = both.get(u + v, 0) + p * q
        total = both
    values = sorted(total)
    cdf = np.cumsum([total[v] for v in values])
    return [100 * values[int(np.searchsorted(cdf, level - 1e-9))] / (k * len(counts)) for level in (.025, .975)]

def expected(model, score, dataset, penalty, step):
    "What the explorer must show, from the record; a step beyond the last threshold is silence."
    e = pages.read_record('q6_explorer')
    own = e[(e.model == model) & (e.score == score)].reset_index(drop=True)
    sets = [c.removesuffix('_right') for c in own if c.endswith('_right')] if dataset == 'all' else [dataset]
    counts = [(int(own[f'{d}_right'][0] + own[f'{d}_wrong'][0]), *((int(own[f'{d}_{w}'][step]) for w in ('right', 'wrong')) if step < len(own) else (0, 0))) for d in sets]
    right, wrong = (100 * np.mean([c[i] / c[0] for c in counts]) for i in (1, 2))
    points, answered = band(counts, 20, penalty), band(counts, 20, -1)
    out = {'points': right - penalty * wrong, 'answered': right + wrong, 'points-lo': points[0], 'points-hi': points[1], 'answered-lo': answered[0], 'answered-hi': answered[1]}
    return out | ({'right': 100 * right / (right + wrong)} if right + wrong else {})

def test_the_twin_of_the_band_is_the_law_of_the_records_draws():
    "The exact band against rows drawn as `draw_abstention` draws them."
    rng, counts = np.random.default_rng([7, 1]), [(500, 200, 150), (90, 30, 10)]
    drawn = np.mean([100 * (x[:, 0] - 2 * x[:, 1]) / 20 for x in (rng.multivariate_hypergeometric([r, w, n - r - w], 20, 40_000) for n, r, w in counts)], axis=0)
    lo, hi = band(counts, 20, 2)
    assert (drawn < lo).mean() <= .025 + .003 and (drawn <= lo).mean() >= .025 - .003 and (drawn < hi).mean() <= .975 + .003 and (drawn <= hi).mean() >= .975 - .003

def said(page): return {k: float(v) for k, v in page.evaluate("[...document.querySelectorAll('#explorer-said [data-key]')].map(e => [e.dataset.key, e.dataset.value])")}

def test_the_explorer_shows_the_record_by_mouse_and_by_keyboard(tab, site):
    tab.goto(f'{site}research/q6_abstention.html')
    slider, live = tab.locator('#explorer-threshold'), tab.locator('#explorer-said')
    steps = len(pages.read_record('q6_explorer').query("model == 'Mixtral' and score == 'norm'"))
    assert slider.get_attribute('max') == str(steps)
    # by choice
    for model, score, dataset, penalty in (('Falcon-7b', 'norm', 'all', 1), ('Llama-13b', 'raw', 'mmlu', 2), ('gpt-4-turbo', 'norm', 'truthfulqa', .5), ('Mixtral', 'norm', 'all', 5)):
        for name, value in (('score', score), ('model', model), ('dataset', dataset), ('penalty', str(penalty))): tab.select_option(f'#explorer-{name}', value)
        step = int(slider.input_value())
        assert said(tab) == pytest.approx(expected(model, score, dataset, penalty, step), abs=1e-9), (model, score, dataset, penalty, step)
    # by keyboard, and what is read out follows
    slider.focus()
    before = live.inner_text()
    for key, step in (('Home', 0), ('ArrowRight', 1), ('ArrowRight', 2), ('End', steps)):
        tab.keyboard.press(key)
        assert int(slider.input_value()) == step and said(tab) == pytest.approx(expected('Mixtral', 'norm', 'all', 5, step), abs=1e-9)
    assert live.inner_text() != before and slider.get_attribute('aria-valuetext').startswith('answer nothing')
    # by mouse, in the picture
    box = tab.locator('.plcal-plots svg').first.bounding_box()
    tab.mouse.click(box['x'] + 44 + (box['width'] - 54) / 2, box['y'] + 100)
    assert int(slider.input_value()) in (steps // 2, steps // 2 + 1)
    tab.get_by_role('button', name='Best threshold').click()
    best = said(tab)['points']
    assert best == pytest.approx(max(expected_points('Mixtral', 5)), abs=1e-9)
    # a model without max logit cannot be asked for it
    tab.select_option('#explorer-score', 'raw')
    assert tab.locator('#explorer-model option[value="gpt-4-turbo"]').is_disabled()

def test_what_the_explorer_says_is_read_out_once_the_choice_rests(tab, site):
    tab.goto(f'{site}research/q6_abstention.html')
    heard = tab.locator('#explorer-heard')
    assert heard.get_attribute('aria-live') == 'polite' and tab.locator('#explorer-said').get_attribute('aria-live') is None
    tab.wait_for_function("document.getElementById('explorer-heard').textContent")
    tab.evaluate("""() => {
        window.times = 0;
        new MutationObserver(() => { window.times++; }).observe(document.getElementById('explorer-heard'), { childList: true });
        const s = document.getElementById('explorer-threshold');
        for (let i = 0; i < 20; i++) { s.value = i; s.dispatchEvent(new Event('input')); }
    }""")
    assert tab.evaluate('window.times') == 0
    tab.wait_for_function('window.times > 0')
    assert tab.evaluate('window.times') == 1
    assert heard.text_content() == ' '.join(tab.locator('#explorer-said p').all_text_contents())

def expected_points(model, penalty):
    e = pages.read_record('q6_explorer').query("model == @model and score == 'norm'").reset_index(drop=True)
    sets = [c.removesuffix('_right') for c in e if c.endswith('_right')]
    return [*np.mean([100 * (e[f'{d}_right'] - penalty * e[f'{d}_wrong']) / (e[f'{d}_right'][0] + e[f'{d}_wrong'][0]) for d in sets], axis=0), 0.]

def test_the_rule_beside_the_curve_is_that_of_the_draws(tab, site):
    tab.goto(f'{site}research/q6_abstention.html')
    tab.select_option('#explorer-model', 'Yi-6b')
    d = pages.read_record('q6_draws').query("kind == 'k=20' and model == 'Yi-6b' and score == 'norm' and penalty == 1").iloc[0]
    want = ' '.join(f'{x:.1f}' for x in (d.points_mean, d.points_lo, d.points_hi, 100 - d.abstained_mean, 100 - d.abstained_hi, 100 - d.abstained_lo)).replace('-', '−')
    text = tab.locator('.plcal-rule').inner_text()
    assert all(x in text for x in want.split()) and f'{d.draws:,}' in text

def test_it_all_works_from_a_disk(browser):
    "Opened as files, without a server."
    context = browser.new_context(viewport=NARROW)
    page, wrong = context.new_page(), []
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('console', lambda m: wrong.append(m.text) if m.type == 'error' else None)
    page.goto((SITE / 'research' / 'q6_abstention.html').as_uri())
    assert page.locator('.plcal-plots svg').count() == 2
    page.goto((SITE / 'ledger.html').as_uri())
    assert page.locator('.plcal-ledger tbody tr').count() == 50
    context.close()
    assert not wrong

def test_without_javascript_the_words_and_figures_stand(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f'{site}research/q6_abstention.html')
    assert 'the first figure above' in page.locator('#abstention-explorer').inner_text() and page.locator('#fig-threshold img').is_visible()
    page.goto(f'{site}ledger.html')
    assert 'Without it' in page.locator('#ledger-browser').inner_text() and page.locator('#by-table table').is_visible()
    page.goto(f'{site}verdicts.html')
    assert page.locator('table tbody tr').count() == len(pages.read_verdicts()) and page.locator('.plcal-controls').count() == 0
    context.close()


# ---- the tables ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('page', ['index.html', 'verdicts.html'])
def test_the_filter_of_verdicts_gives_the_counts_of_the_records(tab, site, page):
    v = pages.read_verdicts()
    tab.goto(f'{site}{page}')
    rows, count = tab.locator('.plcal-verdicts tbody tr:visible'), tab.locator('.plcal-count')
    assert rows.count() == len(v) and count.inner_text().startswith(f'{len(v)} of {len(v)} claims')
    tab.select_option('#verdicts-verdict', 'undecided')
    assert rows.count() == (v.verdict == 'undecided').sum()
    tab.select_option('#verdicts-source', 'Plaut et al.')
    tab.select_option('#verdicts-scale', 'published results')
    own = v[(v.verdict == 'undecided') & (v.source == 'plaut2024probabilities') & (v.scale == 'published results')]
    assert rows.count() == len(own) and rows.first.inner_text().split('\t')[0].strip() == own.text.iloc[0]
    assert count.inner_text() == f'{len(own)} of {len(v)} claims shown: {len(own)} are undecided.'
    tab.reload() # the address keeps the choice
    assert rows.count() == len(own) and tab.locator('#verdicts-source').input_value() == 'Plaut et al.'
    tab.get_by_role('button', name='Show all').press('Enter')
    assert rows.count() == len(v) and '#' not in tab.url
    by = v.groupby('verdict').size()
    assert count.inner_text() == f"{len(v)} of {len(v)} claims shown: {by['replicates']} replicate, {by['contradicts']} are contradicted, {by['undecided']} are undecided."

def test_filtering_keeps_the_section_in_the_address(tab, site):
    tab.goto(f'{site}ledger.html#by-table')
    tab.select_option('#ledger-status', 'in our interval')
    assert tab.url.endswith('at=by-table') and 'status=in+our+interval' in tab.url
    tab.reload()
    assert tab.locator('#ledger-status').input_value() == 'in our interval'
    tab.wait_for_function("Math.abs(document.getElementById('by-table').getBoundingClientRect().top) < 300")
    tab.select_option('#ledger-status', '')
    assert tab.url.endswith('ledger.html#by-table')

def test_a_box_keeps_its_own_role_and_name_when_it_scrolls_no_more(tab, site):
    tab.goto(f'{site}verdicts.html')
    tab.evaluate("""() => document.querySelector('.bd-article').insertAdjacentHTML('beforeend', ['role="region" aria-label="mine"', 'aria-label="mine"', ''].map(a =>
        `<div class="cell_output probe" ${a} style="overflow-x: auto; width: 100px"><div style="width: 300px">x</div></div>`).join(''))""")
    def has(): return [[b.get_attribute(a) for a in ('tabindex', 'role', 'aria-label')] for b in tab.locator('.probe').all()]
    tab.set_viewport_size(dict(width=1200, height=900))
    tab.wait_for_function("document.querySelector('.probe').hasAttribute('tabindex')")
    assert has() == [['0', 'region', 'mine'], ['0', 'group', 'mine'], ['0', 'group', 'wider than the page: scrolls sideways']]
    tab.evaluate("() => document.querySelectorAll('.probe > div').forEach(d => { d.style.width = '50px'; })")
    tab.set_viewport_size(WIDE)
    tab.wait_for_function("!document.querySelector('.probe').hasAttribute('tabindex')")
    assert has() == [[None, 'region', 'mine'], [None, None, 'mine'], [None, None, None]]

def test_the_search_of_the_ledger_gives_the_counts_of_the_records(tab, site):
    rows = browse.ledger_rows()
    text = rows.agg(' '.join, axis=1).str.lower()
    tab.goto(f'{site}ledger.html')
    shown, count = tab.locator('.plcal-ledger tbody tr'), tab.locator('.plcal-count')
    assert shown.count() == 50 and count.inner_text().startswith(f'{len(rows):,} of {len(rows):,} cells')
    tab.fill('#ledger-search', 'MIXTRAL auroc')
    n = (text.str.contains('mixtral') & text.str.contains('auroc')).sum()
    assert 0 < n < 1000 and count.inner_text().startswith(f'{n:,} of {len(rows):,} cells') and shown.count() == min(n, 50)
    tab.fill('#ledger-search', '')
    for status, n in rows.status.value_counts().items():
        tab.select_option('#ledger-status', status)
        assert count.inner_text().startswith(f'{n:,} of {len(rows):,} cells')
    tab.select_option('#ledger-status', 'in our interval')
    tab.reload()
    inside = rows[rows.status == 'in our interval']
    assert shown.count() == len(inside) < 50
    # sorted by number, either way, with a key
    head = tab.locator('.plcal-ledger th', has_text='published')
    published = "[...document.querySelectorAll('.plcal-ledger tbody tr')].map(r => parseFloat(r.cells[5].textContent))"
    head.locator('button').press('Enter')
    assert tab.evaluate(published) == sorted(inside.published.astype(float)) and head.get_attribute('aria-sort') == 'ascending'
    head.locator('button').click()
    assert tab.evaluate(published) == sorted(inside.published.astype(float), reverse=True) and head.get_attribute('aria-sort') == 'descending'
    tab.select_option('#ledger-status', '')
    tab.get_by_role('button', name='Next').click()
    assert '51 to 100 shown' in count.inner_text()
    tab.fill('#ledger-search', 'no such cell')
    assert shown.count() == 0 and 'No cell' in count.inner_text()
    slow = tab.evaluate("(() => { const s = document.getElementById('ledger-search'), t = performance.now(); for (const q of ['a', 'au', 'aur', 'auroc', '']) { s.value = q; s.dispatchEvent(new Event('input', { bubbles: true })); } return (performance.now() - t) / 5; })()")
    assert slow < 500 # ms for a letter, on a busy machine; a few in rest
