'use strict';
// The theme is set before the page is drawn, so that the page does not flash. Some browsers forbid
// storage, especially for files.
const stored = {
  get() { try { return localStorage.getItem('theme'); } catch { return null; } },
  set(v) { try { localStorage.setItem('theme', v); } catch { /* then only for this page */ } },
};
if (stored.get()) document.documentElement.dataset.theme = stored.get();

document.addEventListener('DOMContentLoaded', () => {
  const root = document.body.dataset.root;
  const query = document.getElementById('query');
  const found = document.getElementById('found');
  const count = document.getElementById('count');

  // The button names the theme that it switches to.
  const theme = document.getElementById('theme');
  const dark = () => {
    const set = document.documentElement.dataset.theme;
    return set ? set === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  };
  const label = () => { theme.textContent = dark() ? 'Light' : 'Dark'; };
  theme.hidden = false;
  label();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', label);
  theme.addEventListener('click', () => {
    const next = dark() ? 'light' : 'dark';
    document.documentElement.dataset.theme = next;
    stored.set(next);
    label();
  });

  const menu = document.querySelector('.menu');
  const narrow = matchMedia('(max-width: 54rem)');
  const fold = () => { menu.open = !narrow.matches; };
  narrow.addEventListener('change', fold);
  fold();
  menu.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });
  // scrollIntoView must not scroll the page itself.
  if (!location.hash) scrollTo(0, 0);

  for (const h of document.querySelectorAll('main :is(h2, h3, h4)[id]')) {
    const a = document.createElement('a');
    a.className = 'here';
    a.href = '#' + h.id;
    a.textContent = '#';
    a.setAttribute('aria-label', 'A link to this heading');
    h.append(a);
  }

  // The index is a script, because a page opened as a file may not fetch another file. The first
  // search loads it.
  let index = null;
  const load = () => index ??= new Promise((resolve, reject) => {
    const s = document.createElement('script');
    s.src = root + 'search.js';
    s.onload = () => resolve(window.spicelaneIndex.map((e) => ({
      ...e, page: e.Page.toLowerCase(), heading: e.Heading.toLowerCase(), text: e.Text.toLowerCase(),
    })));
    s.onerror = () => reject(new Error('search.js cannot be loaded'));
    document.head.append(s);
  });

  // Every word must occur. A match in a heading counts more than one in the text, and a match at
  // the start of a word more than one inside it.
  const starts = (text, word) => {
    for (let i = text.indexOf(word); i >= 0; i = text.indexOf(word, i + 1)) {
      if (i === 0 || !/[\p{L}\p{N}]/u.test(text[i - 1])) return true;
    }
    return false;
  };
  const score = (e, words) => {
    let sum = 0;
    for (const w of words) {
      let s = 0;
      if (e.heading.includes(w)) s += starts(e.heading, w) ? 20 : 8;
      if (e.page.includes(w)) s += starts(e.page, w) ? 6 : 2;
      if (e.text.includes(w)) s += starts(e.text, w) ? 4 : 1;
      if (s === 0) return 0;
      sum += s;
    }
    return e.text.includes(words.join(' ')) || e.heading.includes(words.join(' ')) ? sum + 5 : sum;
  };

  // marked appends text to a node and marks the words in it.
  const marked = (node, text, words) => {
    const escaped = words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    text.split(new RegExp('(' + escaped.join('|') + ')', 'giu')).forEach((piece, i) => {
      if (i % 2) {
        const m = document.createElement('mark');
        m.textContent = piece;
        node.append(m);
      } else node.append(piece);
    });
  };

  const show = async () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    found.hidden = count.hidden = true;
    if (words.length === 0) return;
    let entries;
    try { entries = await load(); } catch (e) {
      index = null;
      count.textContent = e.message;
      count.hidden = false;
      return;
    }
    const hits = entries.map((e) => [score(e, words), e]).filter(([s]) => s > 0)
      .sort(([a], [b]) => b - a).slice(0, 20);
    found.replaceChildren(...hits.map(([, e]) => {
      const at = Math.max(0, ...words.map((w) => e.text.indexOf(w)).filter((i) => i >= 0).slice(0, 1));
      const from = at < 50 ? 0 : e.Text.indexOf(' ', at - 50) + 1;
      const a = document.createElement('a');
      const b = document.createElement('b');
      const small = document.createElement('small');
      a.href = root + e.Href;
      marked(b, e.Heading && e.Heading !== e.Page ? e.Page + ' › ' + e.Heading : e.Page, words);
      marked(small, (from > 0 ? '… ' : '') + e.Text.slice(from, from + 160) + (e.Text.length > from + 160 ? ' …' : ''), words);
      a.append(b, small);
      const li = document.createElement('li');
      li.append(a);
      return li;
    }));
    found.hidden = hits.length === 0;
    count.hidden = hits.length > 0;
    if (hits.length === 0) count.textContent = 'No page has all of these words.';
  };
  query.addEventListener('input', show);
  query.addEventListener('focus', show);
  document.addEventListener('click', (e) => {
    if (!e.target.closest('.search') || e.target.closest('#found a')) found.hidden = count.hidden = true;
  });
  document.addEventListener('keydown', (e) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    const links = [...found.querySelectorAll('a')];
    const at = links.indexOf(document.activeElement);
    if (e.key === '/' && !typing && !e.ctrlKey && !e.altKey && !e.metaKey) query.focus();
    else if (e.key === 'Escape' && (typing || at >= 0)) { found.hidden = count.hidden = true; query.blur(); }
    else if (e.key === 'Enter' && document.activeElement === query && !found.hidden) links[0]?.click();
    else if (e.key === 'ArrowDown' && !found.hidden && (at >= 0 || document.activeElement === query)) links[at + 1]?.focus();
    else if (e.key === 'ArrowUp' && !found.hidden && at >= 0) (links[at - 1] ?? query).focus();
    else return;
    e.preventDefault();
  });
});
