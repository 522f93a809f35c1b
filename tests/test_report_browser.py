"The report in a real browser: no error, no request, keys and slider work, no barrier for readers, no sideways scroll."
import re
from pathlib import Path
import numpy as np
import pytest
from plcal_study.measure.predictions import from_logits
from plcal_study.study.report import report

CHROMIUM = Path('/usr/bin/chromium')
ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']


def answers(times, name, seed):
    z = np.random.default_rng(7).normal(size=(600, 4)) * 1.5
    label = (z + np.random.default_rng(8).gumbel(size=z.shape)).argmax(1)
    subject = np.array(['law', 'anatomy', 'a subject with quite a long name'])[np.arange(600) % 3]
    return from_logits(times * (z + np.random.default_rng(seed).normal(0, .3, z.shape)), label, meta=dict(model=name), cluster=subject)

@pytest.fixture(scope='module')
def browser():
    if not CHROMIUM.exists(): pytest.skip('there is no Chromium at /usr/bin/chromium: apt-get install chromium')
    sync = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: pip install playwright')
    with sync.sync_playwright() as p:
        b = p.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield b
        b.close()

@pytest.fixture(scope='module')
def file(tmp_path_factory):
    at = tmp_path_factory.mktemp('report') / 'report.html'
    report(answers(2, 'sure <b>', 0), answers(1, 'calm', 1), out=at)
    return at

@pytest.fixture(params=[1400, 390])
def page(request, browser, file):
    p = browser.new_page(viewport=dict(width=request.param, height=900))
    p.said, p.asked = [], []
    p.on('console', lambda m: p.said.append(m.text)); p.on('pageerror', lambda e: p.said.append(str(e))); p.on('request', lambda r: p.asked.append(r.url))
    p.goto(file.as_uri())
    yield p
    p.close()


def test_quiet_alone_and_within_the_window(page, file):
    assert not page.said and page.asked == [file.as_uri()]
    assert page.evaluate('document.documentElement.scrollWidth') <= page.viewport_size['width']

def test_no_barriers(page):
    axe = pytest.importorskip('axe_playwright_python.sync_playwright', reason='axe is not installed: pip install axe-playwright-python')
    for scheme in ('light', 'dark'):
        page.emulate_media(color_scheme=scheme)
        found = [(v['id'], v['nodes'][0]['html'][:90]) for v in axe.Axe().run(page).response['violations'] if v['impact'] in ('serious', 'critical')]
        assert not found, (scheme, found)

def test_the_keyboard_moves_the_threshold(page, file):
    def read(name): return page.text_content(f'#o-{name}')
    assert (read('coverage'), read('threshold')) == ('100.0%', 'always')
    start = {k: read(k) for k in ('counts', 'accuracy', 'points')}
    assert start['counts'] == '600 of 600 questions'
    page.focus('#threshold')
    for _ in range(100): page.keyboard.press('ArrowRight')
    data = page.evaluate("JSON.parse(document.getElementById('thresholds').textContent)[0]")
    i = len(data['t']) - 101
    a, r = data['a'][i], data['r'][i]
    assert read('counts') == f'{a} of 600 questions' and read('accuracy') == f'{100 * r / a:.1f}%'
    assert float(read('points')) == pytest.approx(100 * (2 * r - a) / 600, abs=.051)
    assert 'answered' in page.get_attribute('#threshold', 'aria-valuetext') and read('accuracy') != start['accuracy']
    page.fill('#penalty', '3')
    assert float(read('points')) == pytest.approx(100 * (r - 3 * (a - r)) / 600, abs=.051)
    page.select_option('#which', '1')
    assert read('coverage') == '100.0%'
    page.keyboard.press('End')

def test_arrow_keys_and_pointer_read_a_figure(page):
    plot = page.locator('.plot').first
    plot.focus()
    page.keyboard.press('ArrowRight')
    first = plot.locator('.tip').text_content()
    page.keyboard.press('ArrowRight')
    assert re.match(r'confidence 0\.\d+: [\d.]+% right', first) and plot.locator('.tip').text_content() != first
    page.keyboard.press('Escape')
    assert plot.locator('.tip').is_hidden()
    plot.scroll_into_view_if_needed()
    box = plot.locator('.mark').nth(12).bounding_box()
    page.mouse.move(box['x'] + 3, box['y'] + 3)
    assert plot.locator('.tip').is_visible()

def test_text_of_the_log_is_text(page): assert 'sure <b>' in page.text_content('main') and page.locator('main b').count() == 0

def test_it_prints_on_a4(browser, file):
    page = browser.new_page()
    page.goto(file.as_uri())
    pdf = page.pdf(prefer_css_page_size=True)
    page.close()
    assert 2 <= len(re.findall(rb'/Type\s*/Page\b', pdf)) <= 12 and re.search(rb'/MediaBox\s*\[0 0 59[45]', pdf)
