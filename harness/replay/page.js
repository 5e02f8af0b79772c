(function () {
'use strict';
const $ = id => document.getElementById(id);
const make = (name, cls, text) => {
  const e = document.createElement(name);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  return e;
};
// Each track has a colour. Readers who cannot tell the colours apart have the names and the order.
const colours = {lane: '#7a7f87', beat: '#2f8f6b', wait: '#5f7d8c', fault: '#c77800', input: '#3367d6', pointer: '#5b86e5', seen: '#3c8f4f', latency: '#b0417e', digest: '#3c8f4f', control: '#6b7fb8', load: '#8a7a5c', screen: '#8a56c9', serial: '#2a8a9e',
  qemu: '#a0623d', qmp: '#b58a2c', proxy: '#c04f8f', client: '#5568b8', test: '#4a7a2a', other: '#7a7f87'};

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const s = atob(base64), out = new Uint8Array(s.length);
  for (let i = 0; i < s.length; i++) out[i] = s.charCodeAt(i);
  return out;
}
async function unpack(base64) {
  const stream = new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}
// last returns the index of the last element of a sorted list that is at most t, or -1 if none is.
function last(list, t, at = i => list[i]) {
  let lo = 0, hi = list.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (at(mid) <= t) lo = mid + 1; else hi = mid;
  }
  return lo - 1;
}
function seconds(us) { return (us / 1e6).toFixed(3); }
function say(text) { $('message').textContent = text; $('message').hidden = !text; }

// ---- pictures ----

let pictures = '';
// bitmap decodes a PNG, when it is needed. Many PNGs are small, and ImageDecoder takes a fifth of
// the time that a blob takes. Not all browsers have it.
async function bitmap(at, length) {
  const data = bytes(pictures.substr(at, length)), type = 'image/png';
  if (typeof ImageDecoder !== 'undefined') {
    const decoder = new ImageDecoder({data, type, colorSpaceConversion: 'none'});
    try { return (await decoder.decode()).image; } finally { decoder.close(); }
  }
  return createImageBitmap(new Blob([data], {type}), {colorSpaceConversion: 'none', premultiplyAlpha: 'none'});
}
// readable returns the picture of a patch, or null if it is damaged, for example cut off.
function readable(patch) {
  return bitmap(patch[4], patch[5]).catch(() => { say('A picture in this page is damaged and is not shown.'); return null; });
}
const wide = image => image.displayWidth || image.width, high = image => image.displayHeight || image.height;
function context(canvas) { return canvas.getContext('2d', {alpha: false, willReadFrequently: true}); }

// visible returns the patches of frames that no later patch hides, in the order in which they are
// painted.
function visible(frames) {
  const seen = [];
  for (const f of [...frames].reverse()) {
    for (const p of [...(f.p || [])].reverse()) {
      const hides = q => q[0] <= p[0] && q[1] <= p[1] && q[0] + q[2] >= p[0] + p[2] && q[1] + q[3] >= p[1] + p[3];
      if (!seen.some(hides)) seen.push(p);
    }
  }
  return seen.reverse();
}

// A Reel paints the frames of one display onto its own canvas.
class Reel {
  constructor(frames) {
    this.frames = frames;
    this.canvas = document.createElement('canvas');
    this.at = -1; // the frame that is painted
    this.turn = Promise.resolve();
  }
  index(t) { return last(this.frames, t, i => this.frames[i].t); }
  // show paints the frame with that index. Calls run one after another.
  show(index) { return this.turn = this.turn.then(() => this.paint(index)); }
  async paint(index) {
    if (index === this.at) return;
    let from = index;
    while (from > 0 && !this.frames[from].key && !this.frames[from].gone && from !== this.at + 1) from--;
    if (index < 0 || this.frames[index].gone) { this.at = index; return; }
    const seen = visible(this.frames.slice(from, index + 1));
    const decoded = await Promise.all(seen.map(readable));
    const key = this.frames[from], c = context(this.canvas);
    if (key.key && (this.canvas.width !== key.size[0] || this.canvas.height !== key.size[1])) {
      this.canvas.width = key.size[0];
      this.canvas.height = key.size[1];
    }
    decoded.forEach((image, i) => { if (!image) return; c.drawImage(image, seen[i][0], seen[i][1]); image.close(); });
    this.at = index;
  }
}

// ---- state ----

let data, T, D, K, X, bad; // events
let shown = null;          // indexes of the events that pass the filter; null: all
let now = 0, current = -1; // the time shown, and the place of its event among those shown
let view = [0, 1];         // the time range of the tracks
let reels = new Map(), reel = null, thumbs = null;
const hidden = new Set();
let needle = '';
let playing = 0;
const count = () => shown ? shown.length : T.length;
const event = i => shown ? shown[i] : i;
const place = t => last({length: count()}, t, i => T[event(i)]);

function seek(t, where) {
  const left = live && live.on && t < data.to ? leaveLive() : null;
  if (!left && live && !live.on && live.up && t >= data.to) { goLive(); return Promise.resolve(); }
  now = Math.min(Math.max(t, data.from), data.to);
  current = where === undefined ? place(now) : where;
  drawRows(true);
  drawCursor();
  $('now').textContent = seconds(now) + ' s of ' + seconds(data.to) + ' s';
  const s = $('tracks');
  s.setAttribute('aria-valuenow', seconds(now));
  s.setAttribute('aria-valuetext', seconds(now) + ' seconds');
  remember();
  return left ? left.then(drawScreen) : drawScreen();
}
let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => { try { history.replaceState(null, '', '#t=' + seconds(now)); } catch { /* not allowed everywhere */ } }, 200);
}
function deepLink() {
  const m = /[#&]t=(-?\d+(?:\.\d+)?)/.exec(location.hash);
  return m ? Math.round(parseFloat(m[1]) * 1e6) : null;
}

// ---- the screen ----

let wanted = 0;
async function drawScreen() {
  const mine = ++wanted;
  if (reel) await reel.show(reel.index(now));
  if (mine !== wanted) return; // there is a newer call
  const none = !reel || reel.at < 0 || !!reel.frames[reel.at].gone;
  const other = picked();
  $('view').classList.toggle('none', none && !other);
  const screen = $('screen');
  screen.hidden = none;
  if (!none) {
    if (screen.width !== reel.canvas.width || screen.height !== reel.canvas.height) {
      screen.width = reel.canvas.width;
      screen.height = reel.canvas.height;
    }
    context(screen).drawImage(reel.canvas, 0, 0);
    screen.setAttribute('aria-label', 'The client\'s picture at ' + seconds(reel.frames[reel.at].t) + ' seconds, ' + screen.width + ' by ' + screen.height);
  }
  sayOfFilm(none);
  await drawOther(other, none);
  layout();
}
// sayOfFilm links to the last picture if there is none now, and says whether the film is late here.
// The field since of a late frame says when the first change in it was drawn.
function sayOfFilm(none) {
  const at = reel ? reel.at : -1, next = reel && reel.frames[at + 1], before = none ? lastPicture(at) : null, b = $('last-picture');
  b.hidden = !before;
  if (before) {
    b.textContent = 'The last one, at ' + seconds(before.t) + ' s';
    b.onclick = () => seek(before.t);
  }
  $('stale').textContent = next && next.since && next.since <= now ?
    'Something was drawn after this picture, at ' + seconds(next.since) + ' s or later. The film shows it from ' + seconds(next.t) + ' s on.' : '';
}
function lastPicture(at) {
  for (let i = at; i >= 0; i--) if (!reel.frames[i].gone) return reel.frames[i];
  return null;
}
// drawPointer draws the pointer over the screen. It is not part of the screen's pixels.
async function drawPointer() {
  const at = last(data.pointer, now, i => data.pointer[i][0]), box = $('pointer');
  const p = at < 0 || $('screen').hidden || !$('show-pointer').checked ? null : data.pointer[at];
  box.hidden = !p || !!(p[4] & 1);
  if (box.hidden) return;
  const shape = data.shapes[p[3] - 1], own = shape && shape.at[1] > 0;
  if (own && !shape.bitmap) shape.bitmap = await bitmap(shape.at[0], shape.at[1]);
  const scale = $('screen').clientWidth / $('screen').width, w = own ? wide(shape.bitmap) : 12, h = own ? high(shape.bitmap) : 19;
  if (box.shape !== (own ? shape : arrow)) {
    box.shape = own ? shape : arrow;
    box.width = w;
    box.height = h;
    const c = box.getContext('2d');
    if (own) c.drawImage(shape.bitmap, 0, 0); else arrow(c);
  }
  const size = own ? scale : Math.max(1, scale), hot = own ? shape.hot || [0, 0] : [0, 0];
  box.className = p[4] & 2 ? 'down' : '';
  box.style.left = $('screen').offsetLeft + p[1] * scale - hot[0] * size + 'px';
  box.style.top = $('screen').offsetTop + p[2] * scale - hot[1] * size + 'px';
  box.style.width = w * size + 'px';
  box.style.height = h * size + 'px';
}
// arrow draws an arrow, for a pointer whose shape is not known.
function arrow(c) {
  c.beginPath();
  for (const [px, py] of [[.5, .5], [.5, 15.5], [4, 12.2], [6.5, 18], [8.8, 17], [6.3, 11.3], [11, 11]]) c.lineTo(px, py);
  c.closePath();
  c.fillStyle = '#fff';
  c.strokeStyle = '#000';
  c.fill();
  c.stroke();
}
function whose(pic) { return {qemu: 'QEMU', direct: 'Direct client', compared: 'Compared client'}[pic.via] || 'Client'; }
function picked() {
  const i = parseInt($('picture').value, 10);
  return Number.isNaN(i) ? null : data.pics[i];
}
async function drawOther(pic, none) {
  const other = $('other'), mode = none ? 'side' : $('compare').value;
  other.hidden = !pic;
  $('split').hidden = !pic || mode !== 'swipe';
  $('frame').className = pic ? (mode === 'side' ? 'side' : 'over') : '';
  other.style.clipPath = '';
  $('difference').textContent = '';
  if (!pic) return;
  pic.bitmap = pic.bitmap || await readable([0, 0, 0, 0, ...pic.at]);
  if (!pic.bitmap) { other.hidden = true; return; }
  other.width = wide(pic.bitmap);
  other.height = high(pic.bitmap);
  const c = context(other);
  c.drawImage(pic.bitmap, 0, 0);
  other.setAttribute('aria-label', whose(pic) + '\'s picture at ' + seconds(pic.t) + ' seconds, ' + other.width + ' by ' + other.height);
  if (none) return;
  $('difference').textContent = markDifference(c, other, mode === 'difference');
  if (mode === 'swipe') swipe(split);
}
// markDifference returns a text that says how the film's picture and the other one differ. If show
// is true, it also marks the pixels that differ.
function markDifference(c, other, show) {
  const screen = $('screen'), w = Math.min(screen.width, other.width), h = Math.min(screen.height, other.height);
  if (!w || !h) return '';
  const a = context(screen).getImageData(0, 0, w, h), b = c.getImageData(0, 0, w, h);
  const pa = new Uint32Array(a.data.buffer), pb = new Uint32Array(b.data.buffer);
  let n = 0, first = -1, x0 = w, y0 = h, x1 = 0, y1 = 0;
  for (let i = 0; i < pa.length; i++) {
    if (pa[i] !== pb[i]) {
      const x = i % w, y = (i / w) | 0;
      if (!n++) first = i;
      x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
      if (show) pb[i] = 0xff2030f0;
    } else if (show) {
      const v = (pa[i] & 255) * .3 + (pa[i] >> 8 & 255) * .59 + (pa[i] >> 16 & 255) * .11, g = 150 + v * .35 | 0;
      pb[i] = 0xff000000 | g << 16 | g << 8 | g;
    }
  }
  if (show) c.putImageData(b, 0, 0);
  const sizes = screen.width === other.width && screen.height === other.height ? '' :
    'the sizes differ, ' + screen.width + '×' + screen.height + ' and ' + other.width + '×' + other.height + '; ';
  if (!n) return sizes + 'no pixel differs at this moment';
  return sizes + n + (n === 1 ? ' pixel differs' : ' pixels differ') + ', the first at ' + first % w + ', ' + ((first / w) | 0) +
    '; all within ' + (x1 - x0 + 1) + '×' + (y1 - y0 + 1) + ' at ' + x0 + ', ' + y0;
}
let split = .5;
function swipe(part) {
  split = Math.min(Math.max(part, 0), 1);
  $('other').style.clipPath = 'inset(0 0 0 ' + split * 100 + '%)';
  $('split').style.left = split * 100 + '%';
}
function layout() {
  const v = $('view'), screen = $('screen'), other = $('other'), zoom = $('zoom').value;
  const base = screen.hidden ? other : screen;
  if (!base.width || base.hidden) return;
  const two = !other.hidden && !screen.hidden && $('frame').className === 'side';
  const column = getComputedStyle($('frame')).flexDirection === 'column';
  let scale = parseFloat(zoom);
  if (zoom === 'fit') {
    const style = getComputedStyle(v), pad = parseFloat(style.paddingLeft) * 2;
    const w = base.width * (two && !column ? 2 : 1), h = base.height;
    scale = (v.clientWidth - pad - (two ? 8 : 0)) / w;
    if (innerWidth > 820) scale = Math.min(scale, (v.clientHeight - pad) / h);
    scale = Math.max(.05, Math.min(scale, 3));
  }
  for (const c of [screen, other]) {
    c.style.width = c.width * scale + 'px';
    c.style.height = c.height * scale + 'px';
    c.style.imageRendering = scale < 1 ? 'auto' : 'pixelated';
  }
  drawPointer();
}
function inspect(e) {
  const c = e.currentTarget, box = c.getBoundingClientRect();
  const x = Math.floor((e.clientX - box.left) / box.width * c.width), y = Math.floor((e.clientY - box.top) / box.height * c.height);
  if (x < 0 || y < 0 || x >= c.width || y >= c.height) return;
  const p = context(c).getImageData(x, y, 1, 1).data;
  $('pixel').textContent = x + ', ' + y + '  #' + [p[0], p[1], p[2]].map(v => v.toString(16).padStart(2, '0')).join('');
}

// ---- events and logs ----

const rowHeight = 20, tallest = 8e6; // browsers cannot scroll much farther
function filter() {
  const low = needle.toLowerCase();
  const off = data.tracks.map(t => hidden.has(t.id));
  if (!low && !off.includes(true)) shown = null;
  else {
    const list = [];
    for (let i = 0; i < X.length; i++) if (!off[K[i]] && (!low || X[i].toLowerCase().includes(low))) list.push(i);
    shown = list;
  }
  current = place(now);
  $('found').textContent = count() === T.length ? T.length + ' lines' : count() + ' of ' + T.length;
  $('spacer').style.height = Math.min(count() * rowHeight, tallest) + 'px';
  drawRows(true);
  drawTracks();
  if (!$('table').hidden) drawTable();
}
// topRow returns the first row in view. If browsers can scroll the whole list, it scrolls in
// pixels, otherwise in proportion.
function topRow() {
  const box = $('rows'), all = count() * rowHeight;
  if (all <= tallest) return box.scrollTop / rowHeight;
  const room = box.clientHeight / rowHeight;
  return box.scrollTop / Math.max(1, tallest - box.clientHeight) * (count() - room);
}
function scrollToRow(row) {
  const box = $('rows'), room = box.clientHeight / rowHeight, all = count() * rowHeight;
  row = Math.max(0, Math.min(row, count() - room));
  box.scrollTop = all <= tallest ? row * rowHeight : row / Math.max(1, count() - room) * (tallest - box.clientHeight);
}
let following = false;
function drawRows(follow) {
  const box = $('rows'), room = box.clientHeight / rowHeight;
  if (follow && room > 0) {
    const top = topRow();
    if (current < top + 1 || current > top + room - 2) {
      following = true;
      scrollToRow(current - room * .4);
    }
  }
  const top = topRow(), first = Math.max(0, Math.floor(top)), end = Math.min(count(), Math.ceil(top + room) + 1);
  const w = $('window');
  const list = [];
  for (let i = first; i < end; i++) {
    const e = event(i), t = data.tracks[K[e]];
    const row = make('div', 'row' + (bad.has(e) ? ' bad' : '') + (T[e] > now ? ' later' : ''));
    row.id = 'row-' + i;
    row.dataset.i = i;
    row.setAttribute('role', 'option');
    row.setAttribute('aria-setsize', count());
    row.setAttribute('aria-posinset', i + 1);
    row.setAttribute('aria-selected', i === current);
    row.style.setProperty('--c', colours[t.id]);
    row.append(make('time', '', seconds(T[e])), highlighted(X[e].slice(0, 400)), make('em', '', t.name));
    list.push(row);
  }
  w.replaceChildren(...list);
  w.style.top = box.scrollTop - (top - first) * rowHeight + 'px';
  if (current >= first && current < end) box.setAttribute('aria-activedescendant', 'row-' + current);
  else box.removeAttribute('aria-activedescendant');
  const e = current >= 0 ? event(current) : -1;
  $('detail').textContent = e < 0 ? '' : seconds(T[e]) + ' s  ' + data.tracks[K[e]].name + (D[e] ? '  took ' + seconds(D[e]) + ' s' : '') + '\n' + X[e];
}
function highlighted(text) {
  const span = make('span');
  if (!needle) { span.textContent = text; return span; }
  const low = text.toLowerCase(), n = needle.toLowerCase();
  let from = 0;
  for (let at = low.indexOf(n); at >= 0 && low.length === text.length; at = low.indexOf(n, from)) {
    span.append(text.slice(from, at), make('mark', '', text.slice(at, at + n.length)));
    from = at + n.length;
  }
  span.append(text.slice(from));
  return span;
}
const page = 200;
let tableFrom = -1;
function drawTable(from) {
  if (from === undefined) from = Math.max(0, Math.floor(current / page) * page);
  tableFrom = from;
  const end = Math.min(count(), from + page), rows = [];
  for (let i = from; i < end; i++) {
    const e = event(i), row = make('tr');
    row.append(make('td', '', seconds(T[e])), make('td', '', data.tracks[K[e]].name), make('td', '', X[e]));
    rows.push(row);
  }
  $('table-body').replaceChildren(...rows);
  $('table-page').textContent = count() ? 'lines ' + (from + 1) + ' to ' + end + ' of ' + count() : 'no lines';
  $('table-back').disabled = from <= 0;
  $('table-on').disabled = end >= count();
}
function chips() {
  const sum = data.tracks.map(() => 0);
  for (let i = 0; i < K.length; i++) sum[K[i]]++;
  $('chips').replaceChildren(...data.tracks.map((t, k) => {
    const b = make('button');
    b.type = 'button';
    b.title = 'Show or hide; double click: only this';
    b.style.setProperty('--c', colours[t.id]);
    b.append(make('i'), t.name, make('b', '', sum[k]));
    const press = () => b.setAttribute('aria-pressed', !hidden.has(t.id));
    press();
    b.onclick = () => { if (!hidden.delete(t.id)) hidden.add(t.id); press(); filter(); };
    b.ondblclick = () => {
      const only = data.tracks.every(o => o.id === t.id || hidden.has(o.id));
      hidden.clear();
      if (!only) for (const o of data.tracks) if (o.id !== t.id) hidden.add(o.id);
      chips();
      filter();
    };
    return b;
  }));
}

// ---- the tracks ----

const trackHeight = 15, curveHeight = 26, top0 = 18;
const heightOf = k => data.curves.some(c => c.track === data.tracks[k].id) ? curveHeight : trackHeight;
let gutter = 62, byTrack = [], strip = 0;
const x = t => gutter + (t - view[0]) / (view[1] - view[0]) * (width() - gutter - 10);
const timeAt = px => view[0] + (px - gutter) / (width() - gutter - 10) * (view[1] - view[0]);
const width = () => $('tracks').clientWidth;
function drawTracks() {
  const canvas = $('ruler'), w = width();
  if (!w) return;
  strip = thumbs ? 46 : 0;
  const h = top0 + strip + data.tracks.reduce((sum, _, k) => sum + heightOf(k), 0) + 4, dpr = devicePixelRatio || 1;
  canvas.width = w * dpr;
  canvas.height = h * dpr;
  canvas.style.height = h + 'px';
  const c = canvas.getContext('2d'), css = getComputedStyle(document.documentElement);
  const ink = css.getPropertyValue('--ink'), soft = css.getPropertyValue('--soft'), line = css.getPropertyValue('--line'), red = css.getPropertyValue('--bad');
  c.scale(dpr, dpr);
  c.font = '11px system-ui, sans-serif';
  c.textBaseline = 'middle';
  // the ruler
  const span = view[1] - view[0], step = niceStep(span / Math.max(2, w / 110));
  c.fillStyle = soft;
  for (let t = Math.ceil(view[0] / step) * step; t <= view[1]; t += step) {
    c.fillRect(Math.round(x(t)), top0 - 4, 1, 4);
    const label = (t / 1e6).toFixed(step >= 1e6 ? 0 : step >= 1e5 ? 1 : step >= 1e4 ? 2 : 3) + ' s';
    c.fillText(label, Math.min(x(t) + 3, w - c.measureText(label).width - 2), 8);
  }
  drawThumbs(c, line);
  // marks cross all tracks, and are drawn below the events
  for (const m of data.marks) {
    const left = x(m.t), wide = Math.max(1, x(m.t + m.d) - left);
    if (left + wide < gutter || left > w) continue;
    c.globalAlpha = m.kind === 'wait' ? .13 : .55;
    c.fillStyle = m.kind === 'fault' ? colours.fault : red;
    c.fillRect(Math.max(gutter, left), top0 + strip, wide, h);
    c.globalAlpha = 1;
  }
  let below = top0 + strip;
  data.tracks.forEach((t, k) => {
    const y = below, mid = y + heightOf(k) / 2;
    below += heightOf(k);
    c.fillStyle = line;
    c.fillRect(0, y, w, 1);
    c.globalAlpha = hidden.has(t.id) ? .4 : 1;
    c.fillStyle = ink;
    c.fillText(t.name, 10, mid + 1);
    if (heightOf(k) === curveHeight) {
      drawCurves(c, t.id, y + 3, curveHeight - 5, red);
      c.globalAlpha = 1;
      return;
    }
    const list = byTrack[k], from = Math.max(0, last(list, view[0], i => T[list[i]]) - 50), to = last(list, view[1], i => T[list[i]]);
    c.fillStyle = colours[t.id];
    if (to - from < 4000) {
      for (let i = from; i <= to; i++) tick(c, list[i], y, red, colours[t.id]);
    } else { // more events than pixels: one line per pixel
      let i = from;
      for (let px = gutter; px < w - 8 && i <= to; px++) {
        const upTo = last(list, timeAt(px + 1), j => T[list[j]]);
        if (upTo >= i) {
          c.globalAlpha = Math.min(1, .35 + (upTo - i) / 20);
          c.fillRect(px, y + 4, 1, trackHeight - 7);
          i = upTo + 1;
        }
      }
    }
    c.globalAlpha = 1;
  });
  drawCursor();
}
// On these tracks, the bar of an event shows its text if it is wide enough.
const labelled = new Set(['lane', 'beat', 'input', 'control']);
function label(c, text, at, y, room) {
  c.save();
  c.beginPath();
  c.rect(at, y - trackHeight / 2, room, trackHeight);
  c.clip();
  c.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--ink');
  c.fillText(text.slice(0, 80), at, y);
  c.restore();
}
function tick(c, e, y, red, colour) {
  const left = x(T[e]), wide = D[e] ? Math.max(2, x(T[e] + D[e]) - left) : 2;
  if (left + wide < gutter) return;
  const from = Math.max(gutter, left);
  c.fillStyle = bad.has(e) ? red : colour;
  if (D[e]) {
    c.globalAlpha *= .45;
    c.fillRect(from, y + 4, left + wide - from, trackHeight - 7);
    c.globalAlpha /= .45;
    c.fillRect(from, y + 4, 2, trackHeight - 7);
    if (labelled.has(data.tracks[K[e]].id) && left + wide - from > 40) label(c, X[e], from + 4, y + trackHeight / 2 + 1, left + wide - from - 8);
  } else c.fillRect(from, y + 3, 2, trackHeight - 5);
}
// drawCurves draws the curves of a track on one scale. Each value covers the time from the previous
// value to its own.
function drawCurves(c, id, y, height, red) {
  const own = data.curves.filter(o => o.track === id), most = own.reduce((m, o) => o.v.reduce((n, v) => Math.max(n, v), m), 1);
  for (const o of own) {
    c.fillStyle = o.bad ? red : colours[id];
    c.globalAlpha = o.bad ? .8 : .45;
    const from = Math.max(0, last(o.t, view[0]));
    for (let i = from, px = i ? x(o.t[i - 1]) : x(2 * o.t[0] - (o.t[1] || 2 * o.t[0])); i < o.t.length; i++) {
      const left = Math.max(gutter, px), right = x(o.t[i]), h = o.v[i] / most * height;
      if (right > left) c.fillRect(left, y + height - h, Math.max(1, right - left), h);
      px = right;
      if (px > width()) break;
    }
  }
}
function niceStep(us) {
  for (const s of [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 3e7, 6e7, 12e7, 3e8, 6e8, 18e8, 36e8]) if (s >= us) return s;
  return Math.ceil(us / 36e8) * 36e8;
}
function drawCursor() {
  const px = x(now), c = $('cursor');
  c.hidden = px < gutter - 1 || px > width();
  c.style.left = px + 'px';
  c.style.height = $('ruler').style.height;
}
// makeThumbs makes the strip of small pictures. A newer call ends an older one. makeThumbs returns
// true if it made the strip.
let stripRun = 0;
async function makeThumbs() {
  if (!reel || !reel.frames.length) { thumbs = null; return; }
  const mine = ++stripRun, height = 40;
  const own = new Reel(reel.frames), key = reel.frames.find(f => f.key);
  if (!key) return;
  const wide = Math.max(20, Math.round(height * key.size[0] / key.size[1])), room = width() - gutter - 10;
  const n = Math.max(1, Math.floor(room / (wide + 4))), list = [];
  for (let i = 0; i < n; i++) {
    const t = timeAt(gutter + (i + .5) * room / n), index = own.index(t);
    await own.show(index);
    if (mine !== stripRun) return;
    const small = document.createElement('canvas');
    if (index >= 0 && !own.frames[index].gone) {
      small.width = wide * 2;
      small.height = height * 2;
      small.getContext('2d').drawImage(own.canvas, 0, 0, wide * 2, height * 2);
    }
    list.push({canvas: small, t, wide, height});
  }
  thumbs = list;
  drawTracks();
  return true;
}
function drawThumbs(c, line) {
  for (const t of thumbs || []) {
    const at = x(t.t) - t.wide / 2;
    if (at < gutter - t.wide / 2) continue;
    c.fillStyle = line;
    c.fillRect(at - .5, top0 + 2.5, t.wide + 1, t.height + 1);
    if (t.canvas.width && t.canvas.height !== 150) c.drawImage(t.canvas, at, top0 + 3, t.wide, t.height);
  }
}
function zoomTime(factor, around) {
  const all = data.to - data.from || 1;
  let span = Math.min(Math.max((view[1] - view[0]) * factor, 2000), all * 1.02 || 2000);
  let from = around - (around - view[0]) / (view[1] - view[0]) * span;
  show(from, from + span);
}
function show(from, to) {
  const pad = (data.to - data.from) * .01 || 1000, span = to - from;
  from = Math.max(data.from - pad, Math.min(from, data.to + pad - span));
  view = [from, from + span];
  $('whole').hidden = span >= data.to - data.from;
  drawTracks();
  makeThumbs();
}
function showAll() { const pad = (data.to - data.from) * .01 || 1000; show(data.from - pad, data.to + pad); }

// ---- playing ----

function play(on) {
  if (playing) cancelAnimationFrame(playing);
  playing = 0;
  const b = $('play');
  b.setAttribute('aria-pressed', !!on);
  b.textContent = on ? '❚❚' : '▶';
  if (!on) return;
  if (now >= data.to) seek(data.from);
  let before = performance.now();
  const tickOn = at => {
    let t = now + (at - before) * 1000 * parseFloat($('speed').value);
    before = at;
    if ($('skip').checked) {
      const next = Math.min(nextEvent(now), nextFrame(now));
      if (next - now > 1e6 && t < next - 2e5) t = next - 2e5;
    }
    seek(t);
    if (now >= data.to) return play(false);
    playing = requestAnimationFrame(tickOn);
  };
  playing = requestAnimationFrame(tickOn);
}
function nextEvent(t) { const i = place(t) + 1; return i < count() ? T[event(i)] : data.to; }
function nextFrame(t) { if (!reel) return data.to; const f = reel.frames[reel.index(t) + 1]; return f ? f.t : data.to; }
function stepEvent(by) {
  const i = Math.min(Math.max(current + by, 0), count() - 1);
  if (i >= 0) seek(T[event(i)], i);
}
function stepFrame(by) {
  if (!reel) return;
  let i = reel.index(now);
  if (by < 0 && i >= 0 && reel.frames[i].t < now) i++;
  const f = reel.frames[Math.min(Math.max(i + by, 0), reel.frames.length - 1)];
  if (f) seek(f.t);
}

// ---- what people do ----

function keys(e) {
  if (e.ctrlKey || e.altKey || e.metaKey || $('help').open || e.target.id === 'live') return; // the guest's keys
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== 'checkbox';
  if (typing) { if (e.key === 'Escape') e.target.blur(); return; }
  if (e.key === ' ' && /^(BUTTON|SUMMARY|INPUT)$/.test(e.target.tagName)) return;
  const act = {
    ArrowLeft: () => e.shiftKey ? stepFrame(-1) : stepEvent(-1), ArrowRight: () => e.shiftKey ? stepFrame(1) : stepEvent(1),
    ArrowUp: () => stepEvent(-1), ArrowDown: () => stepEvent(1), ' ': () => play(!playing), Home: () => seek(data.from), End: () => seek(data.to),
    f: () => seek(data.focus), l: () => { if (live) goLive(); }, '/': () => $('search').focus(), d: () => cycle($('compare')), p: () => $('show-pointer').click(), z: () => cycle($('zoom')), s: () => cycle($('speed')),
    '+': () => zoomTime(.5, now), '=': () => zoomTime(.5, now), '-': () => zoomTime(2, now), 0: showAll, '?': () => $('help').showModal(),
  }[e.key];
  if (!act) return;
  e.preventDefault();
  act();
}
function cycle(select) {
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  select.dispatchEvent(new Event('change'));
}
function drag(element, move) {
  element.addEventListener('pointerdown', e => {
    if (e.button) return;
    element.setPointerCapture(e.pointerId);
    move(e);
    element.addEventListener('pointermove', move);
    element.addEventListener('pointerup', () => element.removeEventListener('pointermove', move), {once: true});
    element.addEventListener('pointercancel', () => element.removeEventListener('pointermove', move), {once: true});
  });
}
function wire() {
  document.addEventListener('keydown', keys);
  $('back').onclick = () => stepEvent(-1);
  $('on').onclick = () => stepEvent(1);
  $('to-start').onclick = () => seek(data.from);
  $('to-end').onclick = () => seek(data.to);
  $('play').onclick = () => play(!playing);
  $('whole').onclick = showAll;
  $('help-button').onclick = () => $('help').showModal();
  $('rows').addEventListener('scroll', () => { if (following) { following = false; return; } drawRows(false); });
  $('rows').addEventListener('click', e => {
    const row = e.target.closest('.row');
    if (row) { const i = +row.dataset.i; play(false); seek(T[event(i)], i); }
  });
  let waiting = 0;
  $('search').addEventListener('input', e => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { needle = e.target.value; filter(); }, T.length > 50000 ? 250 : 0);
  });
  drag($('tracks'), e => { play(false); seek(timeAt(e.clientX - $('tracks').getBoundingClientRect().left)); });
  $('tracks').addEventListener('wheel', e => {
    if (!e.ctrlKey && Math.abs(e.deltaY) < Math.abs(e.deltaX)) { const by = e.deltaX / width() * (view[1] - view[0]); show(view[0] + by, view[1] + by); }
    else if (e.ctrlKey || e.shiftKey) zoomTime(Math.exp(e.deltaY / 300), timeAt(e.clientX - $('tracks').getBoundingClientRect().left));
    else return;
    e.preventDefault();
  }, {passive: false});
  drag($('split'), e => { const box = $('frame').getBoundingClientRect(); swipe((e.clientX - box.left) / box.width); });
  $('show-pointer').addEventListener('change', drawPointer);
  for (const id of ['compare', 'zoom']) $(id).addEventListener('change', drawScreen);
  $('picture').addEventListener('change', () => { const p = picked(); if (p) seek(p.t); else drawScreen(); });
  $('display').addEventListener('change', () => { reel = reels.get(+$('display').value); drawScreen(); makeThumbs(); });
  for (const id of ['screen', 'other']) $(id).addEventListener('pointermove', inspect);
  $('view').addEventListener('pointerleave', () => { $('pixel').textContent = ''; });
  $('as-table').onclick = () => {
    const on = $('table').hidden;
    $('table').hidden = !on;
    $('rows').hidden = on;
    $('as-table').setAttribute('aria-pressed', on);
    if (on) drawTable(); else drawRows(true);
  };
  $('table-back').onclick = () => drawTable(Math.max(0, tableFrom - page));
  $('table-on').onclick = () => drawTable(tableFrom + page);
  addEventListener('beforeprint', () => drawTable());
  addEventListener('hashchange', () => { const t = deepLink(); if (t !== null) seek(t); });
  new ResizeObserver(() => { drawTracks(); drawRows(true); makeThumbs(); }).observe($('main'));
  new ResizeObserver(layout).observe($('view'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawTracks);
}
function theme() {
  const root = document.documentElement, key = 'spicelane-theme', order = ['', 'light', 'dark'];
  const set = v => { if (v) root.dataset.theme = v; else delete root.dataset.theme; $('theme').textContent = v ? 'Theme: ' + v : 'Theme'; if (data) drawTracks(); };
  let value = '';
  try { value = localStorage.getItem(key) || ''; } catch { /* some browsers have no storage for files */ }
  set(order.includes(value) ? value : '');
  $('theme').onclick = () => {
    value = order[(order.indexOf(root.dataset.theme || '') + 1) % 3];
    set(value);
    try { localStorage.setItem(key, value); } catch { /* then it is not remembered */ }
  };
}
function copy() {
  if (!$('copy')) return;
  $('copy').onclick = async () => {
    try { await navigator.clipboard.writeText($('command').textContent); }
    catch { getSelection().selectAllChildren($('command')); document.execCommand('copy'); }
    $('copy').textContent = 'Copied';
    setTimeout(() => { $('copy').textContent = 'Copy'; }, 1500);
  };
}
function markName(m) {
  if (m.kind === 'wait') return 'failed wait';
  return /^test failed/.test(m.text) ? 'test failed' : m.kind;
}
function fill() {
  const byDisplay = new Map(), shown = $('display').value, beside = $('picture').value;
  reels = new Map();
  for (const id of ['display', 'picture', 'marks']) $(id).replaceChildren();
  for (const f of data.film) {
    const s = f.s || 0;
    if (!byDisplay.has(s)) byDisplay.set(s, []);
    byDisplay.get(s).push(f);
  }
  for (const [s, frames] of [...byDisplay].sort((a, b) => a[0] - b[0])) {
    reels.set(s, new Reel(frames));
    const o = make('option', '', s);
    o.value = s;
    $('display').append(o);
  }
  if (shown && reels.has(+shown)) $('display').value = shown;
  reel = reels.get(+$('display').value) || null;
  $('display-label').hidden = reels.size < 2;
  const none = make('option', '', 'nothing');
  none.value = '';
  $('picture').append(none);
  data.pics.forEach((p, i) => {
    const o = make('option', '', whose(p) + ', ' + seconds(p.t) + ' s (' + p.name + ')');
    o.value = i;
    $('picture').append(o);
  });
  if (beside && data.pics[beside]) $('picture').value = beside;
  $('picture').disabled = $('compare').disabled = !data.pics.length;
  for (const m of data.marks.slice(-4)) {
    const b = make('button', m.kind + '-mark', markName(m) + ' ' + seconds(m.t + m.d) + ' s');
    b.type = 'button';
    b.title = m.text;
    b.onclick = () => seek(m.t + m.d);
    $('marks').append(b);
  }
  $('tracks').setAttribute('aria-valuemin', seconds(data.from));
  $('tracks').setAttribute('aria-valuemax', seconds(data.to));
}

// take makes d and p the data and the pictures of the page, and fills the page from them.
function take(d, p) {
  data = d;
  pictures = p;
  for (const name of ['marks', 'film', 'pics', 'tracks', 'curves', 'pointer', 'shapes']) data[name] = data[name] || [];
  const n = data.t.length;
  T = new Float64Array(n); D = Float64Array.from(data.d); K = Uint8Array.from(data.k); X = data.x; bad = new Set(data.bad || []);
  for (let i = 0, t = 0; i < n; i++) T[i] = t += data.t[i];
  data.t = data.d = data.k = null;
  if (live) {
    [T, D, K] = [T, D, K].map(list => Array.from(list)); // these can grow
    addSeen();
  }
  byTrack = data.tracks.map(() => []);
  for (let i = 0; i < T.length; i++) byTrack[K[i]].push(i);
  fill();
  chips();
}
async function open() {
  theme();
  copy();
  if (typeof DecompressionStream === 'undefined') return say('This browser is too old for the film, the timeline and the logs: it needs DecompressionStream (2023).');
  let d;
  try { d = await unpack($('data').textContent); } catch (e) { return say('What is in this page cannot be read: ' + e); }
  take(d, $('pictures').textContent);
  $('main').hidden = false;
  const pad = (data.to - data.from) * .01 || 1000;
  view = [data.from - pad, data.to + pad];
  filter();
  const t = deepLink();
  await seek(t === null ? data.focus : t);
  window.lane.first = performance.now(); // since the page was opened
  wire();
}

// ---- a lane that is up ----

// The page of a lane that is up loads the lane's past again and again. In between, it shows events
// as soon as it receives them. live is null for a file. live.on says whether the page shows the
// live screen.
let live = null;
const nothing = () => ({from: 0, to: 1, focus: 0, t: [], d: [], k: [], x: []});
const seenTracks = {serial: ['serial', 'Serial'], event: ['seen', 'Seen here'], session: ['seen', 'Seen here'], lane: ['seen', 'Seen here']};
async function follow(source) {
  live = {source, on: true, up: true, seen: [], offset: 0, loaded: -1e9, cost: 0, thumbs: -1e9};
  theme();
  take(nothing(), '');
  $('main').hidden = $('to-live').hidden = false;
  document.body.classList.add('live');
  view = [0, 1];
  wire();
  $('to-live').onclick = () => goLive();
  await refresh();
  const t = deepLink();
  if (t !== null) seek(t);
  setInterval(goOn, 250);
}
function goLive() {
  play(false);
  live.on = true;
  document.body.classList.add('live');
  $('to-live').setAttribute('aria-pressed', true);
  try { history.replaceState(null, '', location.pathname); } catch { /* not allowed everywhere */ }
  showAll();
  goOn();
}
function leaveLive() {
  live.on = false;
  document.body.classList.remove('live');
  $('to-live').setAttribute('aria-pressed', false);
  // A load that is running already may lack the newest events, so wait for it, and load again.
  return (refreshing || Promise.resolve()).then(refresh).then(() => { makeThumbs(); });
}
// refresh loads the lane's past. If a load is running already, refresh waits for that one instead.
let refreshing = null;
function refresh() {
  return refreshing = refreshing || (async () => {
    const began = performance.now();
    const text = await live.source().catch(() => null);
    live.loaded = performance.now();
    live.cost = live.loaded - began;
    refreshing = null;
    if (!text) { // nothing is recorded: the page has only what it received
      if (!live.began) Object.assign(live, {began: performance.timeOrigin * 1000, offset: 1, snapshot: -1});
      return;
    }
    const end = text.indexOf('\n'), d = JSON.parse(text.slice(0, end));
    live.offset = (d.now || 0) - live.loaded * 1000;
    live.began = d.began || 0;
    live.snapshot = d.now || 0;
    const to = data.to;
    take(d, text.slice(end + 1));
    if (live.up) data.to = Math.max(data.to, to);
    filter();
    if (live.on) goOn(); else await drawScreen();
  })();
}
// heard takes entries that the page receives from the lane. They stand at the end until the next
// load sorts them in.
function heard(entries) {
  if (!live) return;
  live.seen.push(...entries);
  if (live.seen.length > 3000) live.seen.splice(0, 1000);
  const fresh = live.began ? seen(entries) : [];
  for (const e of fresh) {
    byTrack[e.k].push(T.length);
    T.push(Math.max(e.t, T.length ? T[T.length - 1] : 0));
    D.push(0);
    K.push(e.k);
    X.push(e.x);
  }
  if (fresh.length) filter();
}
// seen returns the events of those entries that the loaded data do not have. The data have all
// lines of the console that are older than they are.
function seen(entries) {
  const list = [];
  for (const e of entries) {
    const t = Math.round(Date.parse(e.at) * 1000 - live.began), [id, name] = seenTracks[e.kind] || seenTracks.event;
    if (id === 'serial' && t <= live.snapshot) continue;
    let k = data.tracks.findIndex(o => o.id === id);
    if (k < 0) { k = data.tracks.push({id, name}) - 1; byTrack.push([]); }
    list.push({t, k, d: 0, x: (e.name ? e.name + ' ' : '') + e.text});
  }
  return list.sort((a, b) => a.t - b.t);
}
// addSeen sorts the entries that the page received into the loaded events.
function addSeen() {
  const list = seen(live.seen);
  if (!list.length) return;
  T.forEach((t, i) => list.push({t, k: K[i], d: D[i], x: X[i], bad: bad.has(i)}));
  list.sort((a, b) => a.t - b.t);
  [T, D, K, X] = ['t', 'd', 'k', 'x'].map(field => list.map(e => e[field]));
  bad = new Set(list.flatMap((e, i) => e.bad ? [i] : []));
}
// goOn moves the page on to the current time, and loads the past again when that is due.
function goOn() {
  if (live.up && live.offset) data.to = Math.max(data.to, performance.now() * 1000 + live.offset);
  if (live.on) {
    now = data.to;
    current = place(now);
    if ($('whole').hidden) {
      const pad = (data.to - data.from) * .01 || 1000;
      view = [data.from - pad, data.to + pad];
    }
    drawRows(true);
    $('now').textContent = seconds(now) + ' s, now';
  }
  drawTracks();
  const at = performance.now();
  if (!document.hidden && live.up && at - live.loaded > Math.max(3000, 20 * live.cost)) {
    refresh().then(() => {
      if (performance.now() - live.thumbs < 10000) return;
      live.thumbs = performance.now();
      makeThumbs();
    });
  }
}

// largestKey returns the patch of the key frame that takes longest to decode.
function largestKey() {
  const keys = reel.frames.filter(f => f.key).map(f => f.p[0]);
  return keys.reduce((a, b) => b[2] * b[3] > a[2] * a[3] || b[2] * b[3] === a[2] * a[3] && b[5] > a[5] ? b : a);
}

// For tests and the browser's console. The promise of seek resolves when the picture is drawn.
window.lane = {seek: s => seek(Math.round(s * 1e6)), get now() { return now / 1e6; }, get events() { return T.length; },
  get end() { return data.to / 1e6; }, first: 0, decodeKey: async () => { const p = largestKey(); (await bitmap(p[4], p[5])).close(); },
  strip: makeThumbs, says: text => X.some(x => x.includes(text)),
  // For the page of a lane that is up.
  follow, heard, ended() { if (live) { live.up = false; refresh(); } }, get live() { return !!live && live.on; }};
if ($('data')) window.lane.ready = open();
})();
