// The ledger: every published cell beside ours, searched, filtered and sorted in the browser. Rows: data_ledger.js.
(() => {
  'use strict';
  const PAGE = 50, NUMBERS = ['published', 'ours'], HASH = 'ledger';
  const start = () => {
    const place = document.getElementById('ledger-browser'), data = window.plcalData?.ledger;
    if (!place || !data) return;
    const { make, choose, remembered, remember } = window.plcal, kept = remembered(HASH);
    const rows = data.rows.map(r => {
      const cells = r.map((x, i) => data.values[data.columns[i]]?.[x] ?? x);
      return { cells, text: cells.join(' ').toLowerCase(), key: cells.map((x, i) => NUMBERS.includes(data.columns[i]) ? parseFloat(String(x).replace(/^[<>]/, '')) : x) };
    });
    const column = name => data.columns.indexOf(name);
    const search = make('input', { type: 'search', id: 'ledger-search', placeholder: 'e.g. mixtral auroc', autocomplete: 'off', spellcheck: 'false' });
    const bar = make('form', { class: 'plcal-controls', role: 'search', 'aria-label': 'Search the ledger' }, make('label', { for: 'ledger-search', class: 'plcal-wide' }, 'Search', search));
    const selects = {};
    for (const name of ['source', 'table', 'status']) {
      const [label, select] = choose(name[0].toUpperCase() + name.slice(1), `ledger-${name}`, [['', 'all'], ...data.values[name].map(v => [v, v])]);
      bar.append(label); selects[name] = select;
      if (data.values[name].includes(kept.get(name))) select.value = kept.get(name);
    }
    search.value = kept.get('find') ?? '';
    const said = make('p', { role: 'status', class: 'plcal-count' }), body = make('tbody');
    const heads = data.columns.map(name => {
      const button = make('button', { type: 'button' }, name);
      button.addEventListener('click', () => { up = by === name ? !up : true; by = name; page = 0; show(); });
      return make('th', { scope: 'col', 'aria-sort': 'none' }, button);
    });
    const table = make('table', { class: 'table plcal-ledger' }, make('caption', { class: 'plcal-hidden' }, 'Published cells beside ours'), make('thead', {}, make('tr', {}, ...heads)), body);
    const back = make('button', { type: 'button' }, 'Previous'), on = make('button', { type: 'button' }, 'Next'), where = make('span');
    const pager = make('nav', { class: 'plcal-pager', 'aria-label': 'Pages of the ledger' }, back, where, on);
    let found = rows, page = 0, by = null, up = true;

    const order = () => {
      if (by === null) return found;
      const i = column(by), sign = up ? 1 : -1, number = NUMBERS.includes(by);
      const compare = (a, b) => {
        const x = a.key[i], y = b.key[i];
        if (!number) return sign * String(x).localeCompare(String(y));
        return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y); // what is no number comes last
      };
      return [...found].sort(compare);
    };
    const show = () => {
      const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
      page = Math.min(page, last);
      const some = order().slice(page * PAGE, (page + 1) * PAGE);
      body.replaceChildren(...some.map(r => make('tr', {}, ...r.cells.map((x, i) => make('td', { class: NUMBERS.includes(data.columns[i]) ? 'plcal-number' : data.columns[i] === 'status' ? 'plcal-status' : null }, x)))));
      heads.forEach((h, i) => h.setAttribute('aria-sort', data.columns[i] !== by ? 'none' : up ? 'ascending' : 'descending'));
      back.disabled = page === 0; on.disabled = page === last; pager.hidden = last === 0;
      where.textContent = `page ${page + 1} of ${last + 1}`;
      const n = x => x.toLocaleString('en'), first = page * PAGE;
      said.textContent = found.length ? `${n(found.length)} of ${n(rows.length)} cells found, ${n(first + 1)} to ${n(first + some.length)} shown.` : `No cell of ${n(rows.length)} is like that.`;
    };
    const find = keep => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), wanted = Object.entries(selects).filter(([, s]) => s.value);
      found = rows.filter(r => wanted.every(([n, s]) => r.cells[column(n)] === s.value) && words.every(w => r.text.includes(w)));
      page = 0; show();
      if (keep) remember(HASH, { find: search.value.trim(), ...Object.fromEntries(Object.entries(selects).map(([n, s]) => [n, s.value])) });
    };
    bar.addEventListener('input', () => find(true));
    bar.addEventListener('submit', e => e.preventDefault());
    back.addEventListener('click', () => { page--; show(); });
    on.addEventListener('click', () => { page++; show(); });
    place.replaceChildren(bar, said, make('div', { class: 'plcal-scroll', tabindex: 0, role: 'group', 'aria-label': 'The ledger, scrolls sideways' }, table), pager);
    find(false);
  };
  document.readyState === 'complete' ? start() : document.addEventListener('DOMContentLoaded', start); // after every deferred script
})();
