// The abstention explorer of page q6. Counts: data_explorer.js, from data/records/q6_explorer.csv and q6_draws.csv.
// The band is exact, not simulated: k rows of each data set are drawn without replacement, so right, wrong and silent among
// them follow a hypergeometric law, and the mean over data sets follows from adding the independent draws up.
(() => {
  'use strict';
  const PENALTIES = [[.5, '½'], [1, '1 (balanced)'], [2, '2 (conservative)'], [3, '3'], [5, '5']], LEVEL = [.025, .975];

  const logFactorials = n => {
    const out = new Float64Array(n + 1);
    for (let i = 2; i <= n; i++) out[i] = out[i - 1] + Math.log(i);
    return out;
  };
  // the law of unit·(a − w·b), a right and b wrong among k drawn of n: p[s − low]
  const drawnLaw = (lf, n, right, wrong, k, w, unit) => {
    const rest = n - right - wrong, low = Math.min(0, -w) * k * unit, p = new Float64Array(k * unit - low + k * Math.max(0, -w) * unit + 1);
    const choose = (m, j) => lf[m] - lf[j] - lf[m - j], all = choose(n, k);
    for (let a = 0; a <= Math.min(k, right); a++) for (let b = Math.max(0, k - a - rest); b <= Math.min(k - a, wrong); b++)
      p[Math.round(unit * (a - w * b) - low)] += Math.exp(choose(right, a) + choose(wrong, b) + choose(rest, k - a - b) - all);
    return { low, p };
  };
  const sum = (x, y) => {
    const p = new Float64Array(x.p.length + y.p.length - 1);
    x.p.forEach((u, i) => { if (u > 1e-15) y.p.forEach((v, j) => { p[i + j] += u * v; }); });
    return { low: x.low + y.low, p };
  };
  const quantiles = law => {
    let c = 0, s = 0;
    const out = [];
    for (const level of LEVEL) { while (s < law.p.length - 1 && c + law.p[s] < level - 1e-12) c += law.p[s++]; out.push(law.low + s); }
    return out;
  };

  const start = () => {
    const place = document.getElementById('abstention-explorer'), data = window.plcalData?.explorer;
    if (!place || !data) return;
    const { make, choose } = window.plcal, k = data.labelled, allSets = Object.keys(data.datasets);
    const svg = (tag, attrs, ...kids) => {
      const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
      for (const [n, v] of Object.entries(attrs)) e.setAttribute(n, v);
      e.append(...kids);
      return e;
    };
    const biggest = Math.max(...Object.values(data.counts).flatMap(ms => Object.values(ms)).flatMap(c => allSets.map((_, d) => c.right[d][0] + c.wrong[d][0])));
    const lf = logFactorials(biggest);

    const [modelLabel, model] = choose('Model', 'explorer-model', Object.entries(data.models));
    const [setLabel, set] = choose('Data set', 'explorer-dataset', [['all', `all ${allSets.length}`], ...Object.entries(data.datasets)]);
    const [scoreLabel, score] = choose('Score', 'explorer-score', Object.entries(data.scores));
    const [priceLabel, price] = choose('A wrong answer costs', 'explorer-penalty', PENALTIES);
    price.value = '1'; model.value = 'Mixtral' in data.models ? 'Mixtral' : Object.keys(data.models)[0];
    const slider = make('input', { type: 'range', id: 'explorer-threshold', min: 0, value: 0, step: 1 });
    const best = make('button', { type: 'button' }, 'Best threshold');
    const said = make('div', { id: 'explorer-said', class: 'plcal-said' }), plots = make('div', { class: 'plcal-plots' });
    const controls = make('form', { class: 'plcal-controls', 'aria-label': 'Abstention explorer' }, modelLabel, setLabel, scoreLabel, priceLabel);
    const dial = make('div', { class: 'plcal-dial' }, make('label', { for: 'explorer-threshold' }, 'Threshold', slider), best);
    const heard = make('div', { id: 'explorer-heard', class: 'plcal-hidden', role: 'status', 'aria-live': 'polite' }); // the same, read out once the choice rests
    let resting = 0;
    place.replaceChildren(controls, plots, dial, said, heard);

    let now = null, cursor = [];
    const compute = () => {                            // all curves of the present choice
      const c = data.counts[score.value][model.value], w = +price.value, unit = Number.isInteger(w) ? 1 : 2;
      const sets = set.value === 'all' ? allSets.map((_, d) => d) : [allSets.indexOf(set.value)];
      const size = sets.map(d => c.right[d][0] + c.wrong[d][0]), at = (x, d, i) => x[d][i] ?? 0; // beyond the last threshold: silence
      const mean = f => sets.reduce((s, d, j) => s + f(d, size[j]), 0) / sets.length;
      const steps = [...c.threshold, Infinity].map((t, i) => {
        const right = 100 * mean((d, n) => at(c.right, d, i) / n), wrong = 100 * mean((d, n) => at(c.wrong, d, i) / n);
        const band = v => {
          const u = v === -1 ? 1 : unit;
          const law = sets.map((d, j) => drawnLaw(lf, size[j], at(c.right, d, i), at(c.wrong, d, i), k, v, u)).reduce(sum);
          return quantiles(law).map(s => 100 * s / (u * k * sets.length));
        };
        return { t, right, wrong, points: right - w * wrong, answered: right + wrong, pointsBand: band(w), answeredBand: band(-1) };
      });
      let top = 0;
      steps.forEach((s, i) => { if (s.points > steps[top].points + 1e-9) top = i; });
      now = { steps, top, rows: size.reduce((a, b) => a + b, 0), sets: sets.length, rule: data.draws[`${score.value}|${model.value}|${set.value}|${w}`] };
      slider.max = steps.length - 1;
    };

    const nice = (lo, hi, n = 5) => {
      const raw = (hi - lo) / n, mag = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map(m => m * mag).find(s => s >= raw);
      const out = [];
      for (let v = Math.ceil(lo / step) * step; v <= hi + 1e-9; v += step) out.push(Math.abs(v) < 1e-9 ? 0 : v);
      return out;
    };
    const short = t => t === Infinity ? 'none' : String(+t.toPrecision(t >= .99 && t < 1 ? 4 : 2));
    const panel = (title, label, y, band, range, unit) => {
      const W = Math.max(260, Math.floor(plots.clientWidth >= 640 ? (plots.clientWidth - 16) / 2 : plots.clientWidth)), H = 250;
      const m = { l: 44, r: 10, t: 26, b: 44 }, n = now.steps.length, [lo, hi] = range;
      const X = i => m.l + (W - m.l - m.r) * i / (n - 1), Y = v => m.t + (H - m.t - m.b) * (hi - v) / (hi - lo);
      const e = svg('svg', { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: 'img', 'aria-label': `${title} at each threshold; the numbers at the chosen one are in the text below` });
      for (const v of nice(lo, hi)) e.append(svg('line', { x1: m.l, x2: W - m.r, y1: Y(v), y2: Y(v), class: v === 0 ? 'zero' : 'grid' }), svg('text', { x: m.l - 6, y: Y(v) + 4, 'text-anchor': 'end' }, `${+v.toFixed(6)}`.replace('-', '−')));
      const ticks = [...new Set([0, .25, .5, .75, 1].map(f => Math.round(f * (n - 1))))];
      for (const i of ticks) e.append(svg('text', { x: X(i), y: H - m.b + 16, 'text-anchor': i === 0 ? 'start' : i === n - 1 ? 'end' : 'middle' }, short(now.steps[i].t)));
      const path = [...now.steps.map((s, i) => `${X(i)},${Y(band(s)[1])}`), ...now.steps.map((s, i) => `${X(i)},${Y(band(s)[0])}`).reverse()];
      e.append(svg('polygon', { points: path.join(' '), class: 'band' }), svg('polyline', { points: now.steps.map((s, i) => `${X(i)},${Y(y(s))}`).join(' '), class: 'curve' }));
      e.append(svg('text', { x: m.l, y: 14, class: 'title' }, title), svg('text', { x: (m.l + W - m.r) / 2, y: H - 6, 'text-anchor': 'middle' }, label));
      const line = svg('line', { y1: m.t, y2: H - m.b, class: 'cursor' }), dot = svg('circle', { r: 4.5, class: 'dot' });
      e.append(line, dot);
      cursor.push(() => { const i = +slider.value, x = X(i); line.setAttribute('x1', x); line.setAttribute('x2', x); dot.setAttribute('cx', x); dot.setAttribute('cy', Y(y(now.steps[i]))); });
      const pick = ev => { const box = e.getBoundingClientRect(); slider.value = Math.round((n - 1) * ((ev.clientX - box.left) * W / box.width - m.l) / (W - m.l - m.r)); tell(); };
      e.addEventListener('pointerdown', ev => { e.setPointerCapture(ev.pointerId); pick(ev); });
      e.addEventListener('pointermove', ev => { if (e.hasPointerCapture(ev.pointerId)) pick(ev); });
      return e;
    };
    const draw = () => {
      cursor = [];
      const spread = now.steps.flatMap(s => [...s.pointsBand, s.points]), pad = .04 * (Math.max(...spread) - Math.min(...spread)) || 1;
      const label = `answer when the ${data.scores[score.value]} is at least`;
      plots.replaceChildren(panel('Points per 100 questions', label, s => s.points, s => s.pointsBand, [Math.min(...spread) - pad, Math.max(...spread) + pad]),
        panel('Answered, %', label, s => s.answered, s => s.answeredBand, [0, 100]));
      tell();
    };
    const digit = x => (Math.abs(x) < .05 ? 0 : x).toFixed(1).replace('-', '−');
    const tell = () => {
      const i = +slider.value, s = now.steps[i], name = data.scores[score.value], value = (key, x) => make('strong', { 'data-key': key, 'data-value': x }, digit(x));
      const rule = s.t === Infinity ? 'Answer nothing' : i === 0 ? 'Answer everything' : `Answer when the ${name} is at least ${+s.t.toPrecision(6)}`;
      const where = now.sets > 1 ? `${now.rows.toLocaleString('en')} answers, each data set with the same weight` : `${now.rows.toLocaleString('en')} answers`;
      const right = s.answered > 0 ? make('span', {}, '; of the given answers ', value('right', 100 * s.right / s.answered), '% are right') : '';
      const lines = [
        make('p', {}, `${rule}: `, value('points', s.points), ' points per 100 questions, ', value('answered', s.answered), '% answered', right, ` (${where}; answering everything earns ${digit(now.steps[0].points)}).`),
        make('p', {}, `${k} labelled answers${now.sets > 1 ? ' a data set' : ''} would show `, value('points-lo', s.pointsBand[0]), ' to ', value('points-hi', s.pointsBand[1]), ' points and ', value('answered-lo', s.answeredBand[0]), ' to ', value('answered-hi', s.answeredBand[1]), '% answered: the middle 95% of all draws.')];
      if (now.rule) {
        const [a, b, c] = now.rule.points, [x, y, z] = now.rule.answered;
        lines.push(make('p', { class: 'plcal-rule' }, `The paper's rule picks its threshold on such a draw: ${digit(a)} points [${digit(b)}, ${digit(c)}] and ${digit(x)}% [${digit(y)}, ${digit(z)}] answered on the rest, mean and middle 95% of ${data.drawn.toLocaleString('en')} draws.`));
      }
      said.replaceChildren(...lines);
      clearTimeout(resting);
      resting = setTimeout(() => { heard.textContent = lines.map(l => l.textContent).join(' '); }, 500);
      slider.setAttribute('aria-valuetext', s.t === Infinity ? 'answer nothing' : `${+s.t.toPrecision(4)}: ${digit(s.points)} points, ${digit(s.answered)}% answered`);
      best.disabled = i === now.top;
      cursor.forEach(f => f());
    };
    const change = e => {
      const has = m => Boolean(data.counts[score.value]?.[m]);
      for (const o of model.options) { o.disabled = !has(o.value); o.textContent = data.models[o.value] + (o.disabled ? ' (no max logit)' : ''); }
      if (!has(model.value)) model.value = [...model.options].find(o => !o.disabled).value;
      const share = slider.max > 0 ? slider.value / slider.max : 0, fresh = !now || e?.target === model || e?.target === score;
      compute();
      slider.value = fresh ? now.top : Math.round(share * slider.max);
      draw();
    };
    controls.addEventListener('change', change);
    controls.addEventListener('submit', e => e.preventDefault());
    slider.addEventListener('input', tell);
    best.addEventListener('click', () => { slider.value = now.top; tell(); slider.focus(); });
    let width = 0;
    new ResizeObserver(() => { if (place.clientWidth !== width) { width = place.clientWidth; draw(); } }).observe(place);
    change();
  };
  document.readyState === 'complete' ? start() : document.addEventListener('DOMContentLoaded', start); // after every deferred script
})();
