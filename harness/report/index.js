(function () {
'use strict';
const $ = id => document.getElementById(id);
const body = $('tests').tBodies[0], rows = [...body.rows], hidden = new Set();
const order = ['product', 'harness', 'host', 'failed', 'skipped', 'passed'];
const words = rows.map(r => r.textContent.toLowerCase());
function filter() {
  const needle = $('search').value.toLowerCase();
  let n = 0;
  rows.forEach((r, i) => {
    r.hidden = hidden.has(r.dataset.outcome) || !words[i].includes(needle);
    if (!r.hidden) n++;
  });
  $('found').textContent = n + ' of ' + rows.length;
}
for (const o of order) {
  const n = rows.filter(r => r.dataset.outcome === o).length;
  if (!n) continue;
  const b = document.createElement('button');
  b.type = 'button';
  b.textContent = o + ' ' + n;
  b.setAttribute('aria-pressed', 'true');
  b.onclick = () => { if (!hidden.delete(o)) hidden.add(o); b.setAttribute('aria-pressed', String(!hidden.has(o))); filter(); };
  $('chips').append(b);
}
const key = {
  outcome: r => order.indexOf(r.dataset.outcome), name: r => r.dataset.name, ms: r => -Number(r.dataset.ms), lane: r => r.dataset.lane,
};
for (const th of document.querySelectorAll('th[data-by]')) {
  const b = document.createElement('button');
  b.type = 'button';
  b.textContent = th.textContent;
  th.replaceChildren(b);
  b.onclick = () => {
    const back = th.getAttribute('aria-sort') === 'ascending', by = key[th.dataset.by];
    for (const o of document.querySelectorAll('th')) o.removeAttribute('aria-sort');
    th.setAttribute('aria-sort', back ? 'descending' : 'ascending');
    const sorted = [...body.rows].sort((a, b) => { const x = by(a), y = by(b); return (x < y ? -1 : x > y ? 1 : 0) * (back ? -1 : 1); });
    body.append(...sorted);
  };
}
$('search').addEventListener('input', filter);
document.addEventListener('keydown', e => { if (e.key === '/' && e.target !== $('search')) { e.preventDefault(); $('search').focus(); } });
$('tools').hidden = false;
filter();
})();
