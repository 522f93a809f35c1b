"The built site stands alone: nothing from outside, no dead link inside."
import json, re, sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit
import pytest

SITE = Path(__file__).parents[1] / '_docs' / 'html'
sys.path.insert(0, str(Path(__file__).parents[1] / 'docs'))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__(); self.links, self.loads, self.ids = [], [], set()
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a: self.ids.add(a['id'])
        if tag == 'a' and a.get('href'): self.links.append(a['href'])
        if tag in ('script', 'img', 'iframe', 'source') and a.get('src'): self.loads.append(a['src'])
        if tag == 'link' and a.get('href') and a.get('rel') not in ('canonical',): self.loads.append(a['href'])


@pytest.fixture(scope='module')
def site():
    if not SITE.exists(): pytest.skip('the site is not built: `make site` (make test builds it first)')
    return {p: Page(p.read_text()) for p in SITE.rglob('*.html')}

def test_nothing_is_loaded_from_outside(site):
    outside = {(p.name, u) for p, page in site.items() for u in page.loads if urlsplit(u).scheme in ('http', 'https') or u.startswith('//')}
    assert not outside
    for css in SITE.rglob('*.css'): assert not re.search(r'url\(["\']?https?:|@import\s+["\']https?:', css.read_text()), css.name

def test_every_inner_link_leads_somewhere(site):
    dead = []
    for p, page in site.items():
        for u in page.links:
            s = urlsplit(u)
            if s.scheme or s.netloc or 'javascript' in u: continue
            target = (p.parent / unquote(s.path)).resolve() if s.path else p
            if target.is_dir(): target /= 'index.html'
            if not target.exists(): dead.append((p.name, u))
            elif s.fragment and target in site and unquote(s.fragment) not in site[target].ids: dead.append((p.name, u))
    assert not dead, dead[:10]

def test_every_page_of_the_study_has_a_picture_with_words(site):
    for name in ('q5_msp', 'q6_abstention'):
        text = (SITE / 'research' / f'{name}.html').read_text()
        images = re.findall(r'<img[^>]+_images[^>]+>', text)
        assert images and all(re.search(r'alt="[^"]{20,}"', i) for i in images), name

def test_colab_buttons_lead_to_the_notebook(site):
    text = (SITE / 'research' / 'q5_msp.html').read_text()
    assert 'colab.research.google.com/github/plcal-study/plcal_study/blob/main/nbs/research/q5_msp.ipynb' in text

def test_every_benchmark_is_shown():
    "Each file of results is read by a page."
    root = Path(__file__).parents[1]
    pages = ''.join(p.read_text() for p in (root / 'nbs').rglob('*.ipynb'))
    assert not [f.name for f in (root / 'benchmarks' / 'results').glob('*.json') if f.stem not in pages]

def test_headers_and_lists_are_what_they_say(site):
    "The repairs of `docs/site_extra.py` reached every page: no empty header cell, no list without items, no figure that cannot be opened."
    for p in site:
        text = p.read_text()
        assert not re.search(r'<th[^>]*>\s*(<p>\s*</p>)?\s*</th>', text) and 'role="doc-biblioentry"' not in text, p.name
        assert not re.search(r'(?<!</a>)(?<!">)<img[^>]+_images/', text), p.name

def test_figures_and_tables_of_real_models_only(site):
    for name in ('index.html', 'research/q5_msp.html', 'research/q6_abstention.html'):
        assert 'TESTBED' not in (SITE / name).read_text()

def test_code_that_nothing_parts_is_one_fold():
    "Small cells in the notebook, one fold a passage on the site, and no line of them lost."
    from nbdev_sphinx import is_fold, transform
    for p in (Path(__file__).parents[1] / 'nbs').glob('*/*.ipynb'):
        nb = json.loads(p.read_text())
        lines = [l.strip() for c in nb['cells'] if (s := ''.join(c['source'])).startswith('#| export') for l in s.splitlines()[1:] if l.strip() and not l.startswith('#|')]
        cells = transform(nb)['cells']
        folds = [is_fold(c) for c in cells]
        assert (True, True) not in set(pairwise(folds)), p.name
        assert lines == [l.strip() for c in cells if is_fold(c) for l in c['source'].splitlines() if l.strip()], p.name
