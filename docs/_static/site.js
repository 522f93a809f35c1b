// Every page: boxes that scroll sideways can be reached with the keyboard, and a long table of verdicts gets filters.
(() => {
  'use strict';
  const make = (tag, attrs = {}, ...kids) => {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attrs)) if (v !== false && v != null) e.setAttribute(k, v === true ? '' : v);
    e.append(...kids);
    return e;
  };
  const choose = (label, id, options) => {           // a labelled select; options: [value, text]
    const select = make('select', { id }, ...options.map(([v, t]) => make('option', { value: v }, t)));
    return [make('label', { for: id }, label, select), select];
  };
  const inAddress = name => {                        // '#name?key=value&…&at=section', or '#section'
    const [head, tail] = location.hash.slice(1).split('?'), kept = new URLSearchParams(head === name ? tail : '');
    return [kept, head === name ? kept.get('at') : head];
  };
  const remembered = name => {                       // what the address keeps
    const [kept] = inAddress(name), at = kept.get('at');
    if (at) requestAnimationFrame(() => document.getElementById(at)?.scrollIntoView());
    return kept;
  };
  const remember = (name, values) => {               // the section that it names stays in it
    const kept = new URLSearchParams(Object.entries(values).filter(([, v]) => v !== '' && v != null)), [, at] = inAddress(name);
    const some = String(kept);
    if (some && at) kept.set('at', at);
    history.replaceState(null, '', some ? `#${name}?${kept}` : location.pathname + location.search + (at ? `#${at}` : ''));
  };
  window.plcal = { make, choose, remembered, remember };

  const boxes = () => document.querySelectorAll('.bd-article :is(.cell_output, .pst-scrollable-table-container, div.math, pre, .output.text_html)');
  const reachable = () => {
    for (const box of boxes()) {
      const wide = box.scrollWidth > box.clientWidth + 1, scrolls = (wide || box.scrollHeight > box.clientHeight + 1) && /auto|scroll/.test(getComputedStyle(box).overflowX);
      if (scrolls && !box.hasAttribute('tabindex')) {
        const ours = { tabindex: '0' };
        if (!box.hasAttribute('role') && box.tagName !== 'PRE') Object.assign(ours, { role: 'group' }, box.hasAttribute('aria-label') ? {} : { 'aria-label': wide ? 'wider than the page: scrolls sideways' : 'higher than its place: scrolls down' });
        for (const [a, v] of Object.entries(ours)) box.setAttribute(a, v);
        box.dataset.scrolls = Object.keys(ours).join(' ');
      } else if (!scrolls && 'scrolls' in box.dataset) {
        for (const a of [...box.dataset.scrolls.split(' '), 'data-scrolls']) box.removeAttribute(a); // what it had of its own stays
      }
    }
  };

  const LEAST = 10; // rows: a shorter table is read faster than filtered
  const WORDS = { replicates: 'replicate', contradicts: 'are contradicted', undecided: 'are undecided' };
  const filterable = table => {
    const heads = [...table.querySelectorAll('thead th')].map(h => h.textContent.trim());
    const rows = [...table.tBodies[0]?.rows ?? []];
    if (rows.length < LEAST || !['Source', 'Scale', 'Verdict'].every(h => heads.includes(h))) return;
    const text = (row, name) => row.cells[heads.indexOf(name)].textContent.trim();
    const said = make('p', { role: 'status', class: 'plcal-count' }), bar = make('form', { class: 'plcal-controls', 'aria-label': 'Filter the verdicts' });
    const selects = {}, kept = remembered('verdicts');
    for (const name of ['Source', 'Scale', 'Verdict']) {
      const values = [...new Set(rows.map(r => text(r, name)))].sort();
      if (values.length < 2) continue;
      const [label, select] = choose(name, `verdicts-${name.toLowerCase()}`, [['', 'all'], ...values.map(v => [v, v])]);
      if (values.includes(kept.get(name.toLowerCase()))) select.value = kept.get(name.toLowerCase());
      selects[name] = select; bar.append(label);
    }
    const clear = make('button', { type: 'button' }, 'Show all');
    bar.append(clear);
    const apply = keep => {
      const counts = {};
      let shown = 0;
      for (const row of rows) {
        row.hidden = !Object.entries(selects).every(([n, s]) => !s.value || text(row, n) === s.value);
        if (!row.hidden) { shown++; const v = text(row, 'Verdict'); counts[v] = (counts[v] || 0) + 1; }
      }
      const parts = Object.entries(WORDS).filter(([v]) => counts[v]).map(([v, w]) => `${counts[v]} ${w}`);
      said.textContent = `${shown} of ${rows.length} claims shown` + (parts.length ? `: ${parts.join(', ')}.` : '.');
      clear.disabled = shown === rows.length;
      if (keep) remember('verdicts', Object.fromEntries(Object.entries(selects).map(([n, s]) => [n.toLowerCase(), s.value])));
    };
    bar.addEventListener('change', () => apply(true));
    bar.addEventListener('submit', e => e.preventDefault());
    clear.addEventListener('click', () => { for (const s of Object.values(selects)) s.value = ''; apply(true); Object.values(selects)[0].focus(); });
    const box = table.closest('.pst-scrollable-table-container') ?? table;
    box.classList.add('plcal-verdicts');
    box.before(bar, said);
    apply(false);
  };

  // On a phone a figure of many panels scrolls in its box; one that is not much wider than high is seen whole.
  const whole = img => img.classList.toggle('plcal-whole', img.naturalWidth < 1.8 * img.naturalHeight);

  const start = () => {
    for (const img of document.querySelectorAll('a.plcal-full img')) img.complete ? whole(img) : img.addEventListener('load', () => whole(img));
    document.querySelectorAll('.bd-article table').forEach(filterable);
    let waiting = 0; // sizes change with the window, with fonts that arrive, and where code unfolds
    const watch = new ResizeObserver(() => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(reachable); });
    for (const box of boxes()) { watch.observe(box); if (box.firstElementChild) watch.observe(box.firstElementChild); }
    reachable();
  };
  document.readyState === 'complete' ? start() : document.addEventListener('DOMContentLoaded', start); // after every deferred script
})();
