// How the system does.
import { figures } from './api.js';
import { chart } from './chart.js';
import { h, put, refresh } from './dom.js';
import { placeOf, streamTone } from './domain.js';
import { ago, chip, count, dot, rate, span, stateTone, when } from './format.js';
import { live } from './live.js';
import { card, empty, every, facts, head, notice } from './parts.js';

const pace = 2000; // between two looks
const shown = 5 * 60_000; // of the charts
const kept = 'console.figures';

// Figures of the last minutes, kept while the tab lives, also over a reload.
let samples = [];
try {
  samples = JSON.parse(sessionStorage.getItem(kept) ?? '[]').filter((s) => Date.now() - s.at < shown);
} catch {
  // the charts begin anew
}

function keep(o) {
  const at = Date.now();
  const total = {
    accepted: o.commands.total.accepted,
    rejected: o.commands.total.rejected,
    failed: o.commands.total.failed + o.commands.total.unknown,
    events: o.events.total,
  };
  const last = samples.at(-1);
  if (last && (last.node !== o.node || last.started !== o.startedAt)) samples = []; // another process answers: its counters are its own
  const before = samples.at(-1);
  const seconds = before ? (at - before.at) / 1000 : 0;
  const now = Object.fromEntries(
    Object.keys(total).map((k) => [
      k,
      before && seconds > 0 ? Math.max(0, (total[k] - before.total[k]) / seconds) : null,
    ]),
  );
  samples.push({
    at,
    node: o.node,
    started: o.startedAt,
    total,
    now,
    p50: o.commands.latency.p50,
    p99: o.commands.latency.p99,
    append: o.append.p99,
    lag: Math.max(0, ...o.projectors.map((p) => p.lag)),
    behind: Math.max(0, ...o.projectors.map((p) => p.lagSeconds)),
  });
  samples = samples.filter((s) => at - s.at < shown);
  try {
    sessionStorage.setItem(kept, JSON.stringify(samples));
  } catch {
    // full or closed: they are kept until the next reload
  }
}

const series = (name, kind, value) => ({
  name,
  tone: kind,
  points: samples.map((s) => ({ at: s.at, value: value(s) })).filter((p) => p.value !== null),
});

// The tiles: title, what stands in figures, and the lines of its chart.
const tiles = [
  {
    title: 'Commands',
    unit: 'a second',
    big: (o) => rate(sum(o.commands.perSecond)),
    more: (o) => [
      part('accepted', rate(o.commands.perSecond.accepted), 'accent'),
      part('rejected', rate(o.commands.perSecond.rejected), 'warn'),
      part('failed', rate(o.commands.perSecond.failed + o.commands.perSecond.unknown), 'bad'),
    ],
    lines: () => [
      series('accepted', 'accent', (s) => s.now.accepted),
      series('rejected', 'warn', (s) => s.now.rejected),
      series('failed', 'bad', (s) => s.now.failed),
    ],
    format: rate,
  },
  {
    title: 'Events',
    unit: 'a second',
    big: (o) => rate(o.events.perSecond),
    more: (o) => [part('in the log', count(o.revision) + ' commits')],
    lines: () => [series('events', 'violet', (s) => s.now.events)],
    format: rate,
  },
  {
    title: 'Commands answered in',
    unit: 'p99',
    big: (o) => took(o.commands.latency.p99),
    more: (o) => [
      part('p99', took(o.commands.latency.p99), 'info'),
      part('p50', took(o.commands.latency.p50), 'ok'),
      part('append p99', took(o.append.p99)),
    ],
    lines: () => [series('p99', 'info', (s) => s.p99), series('p50', 'ok', (s) => s.p50)],
    format: span,
  },
  {
    title: 'Projections behind',
    unit: 'commits',
    big: (o) => count(Math.max(0, ...o.projectors.map((p) => p.lag))),
    more: (o) => [part('oldest', span(Math.max(0, ...o.projectors.map((p) => p.lagSeconds))))],
    lines: () => [series('commits', 'rose', (s) => s.lag)],
    format: rate,
  },
];

const sum = (all) => Object.values(all).reduce((a, b) => a + b, 0);
const took = (seconds) => (seconds > 0 ? span(seconds) : '–'); // in a minute without commands nothing was
// part is one figure, with the colour of its line.
const part = (name, value, tone = '') =>
  h('span', null, tone && [dot(tone), ' '], `${name} `, h('strong', null, value));

export async function overview({ root, signal, title, told }) {
  title('Overview');
  const strip = h('div', { class: 'chips row tight' });
  const faults = h('div', { class: 'stack' });
  const counts = h('div', { class: 'counts' });
  const views = tiles.map((t) => {
    const figure = h('span', { class: 'figure' }, '–');
    const more = h('div', { class: 'row tight small muted' });
    const drawn = chart(t.title, t.lines(), { span: shown, format: t.format });
    const el = h(
      'section',
      { class: 'card tile', 'aria-label': t.title },
      h('h2', null, t.title),
      h('div', { class: 'row tight' }, figure, h('span', { class: 'muted' }, t.unit)),
      more,
      drawn.el,
      h(
        'div',
        { class: 'ends small muted', 'aria-hidden': 'true' },
        h('span', null, '5 min ago'),
        h('span', null, 'now'),
      ),
    );
    return {
      el,
      tell(o) {
        put(figure, t.big(o));
        put(more, t.more(o));
        drawn.update(t.lines(), Date.now());
      },
    };
  });
  const projectors = h('div');
  const sagas = h('div');
  const latest = h('ol', { class: 'plain ticker' });
  const node = h('div');
  put(
    root,
    head({
      title: 'Overview',
      sub: 'Rates and latencies are of the last minute, as the node that answers sees them.',
      chips: strip,
    }),
    h(
      'div',
      { class: 'stack' },
      faults,
      h(
        'div',
        { class: 'tiles' },
        views.map((v) => v.el),
      ),
      counts,
      h(
        'div',
        { class: 'columns lean' },
        h(
          'div',
          { class: 'stack' },
          card('Projections', projectors, { actions: h('a', { href: '/console/projections' }, 'All') }),
          card('Sagas', sagas, { actions: h('a', { href: '/console/sagas' }, 'All') }),
        ),
        h(
          'div',
          { class: 'stack' },
          card('Latest events', latest, { actions: h('a', { href: '/console/events' }, 'Live tail') }),
          card('Node', node),
        ),
      ),
    ),
  );
  let followed = false;
  await look();
  every(pace, signal, look, (err) => err && put(faults, notice('bad', err.message)));

  async function look() {
    const o = await figures('/ops/overview', { signal });
    told(o);
    keep(o);
    if (!followed) follow(latest, o.revision, signal);
    followed = true;
    put(strip, chip(o.durability, o.durability === 'durable' ? 'ok' : 'warn'));
    for (const v of views) v.tell(o);
    put(
      faults,
      o.checks.filter((c) => !c.ok).map((c) => notice('bad', h('strong', null, c.name), ': ', c.detail)),
    );
    refresh(counts, tally(o));
    refresh(projectors, o.projectors.map(bar));
    refresh(sagas, o.sagas.map(sagaRow));
    put(node, about(o));
  }
}

function tally(o) {
  const stuck = o.sagas.reduce((n, s) => n + s.stuck, 0);
  const open = o.sagas.reduce((n, s) => n + s.open, 0);
  const halted = o.projectors.filter((p) => p.state === 'halted').length;
  const one = (href, n, text, kind) =>
    h(
      'a',
      { class: `card count ${n > 0 ? kind : ''}`, href },
      h('span', { class: 'figure' }, count(n)),
      h('span', { class: 'muted' }, text),
    );
  return [
    one('/console/dead-letters', o.deadLetters, 'dead letters', 'bad'),
    one('/console/sagas?state=stuck', stuck, 'stuck sagas', 'bad'),
    one('/console/projections', halted, 'halted projections', 'bad'),
    one('/console/sagas?state=open', open, 'open sagas', ''),
    h(
      'div',
      { class: `card count ${o.queued > 100 ? 'warn' : ''}` },
      h('span', { class: 'figure' }, count(o.queued)),
      h('span', { class: 'muted' }, 'queued commands'),
    ),
  ];
}

const bar = (p) =>
  h(
    'a',
    { class: 'line-link', href: `/console/projections/${encodeURIComponent(p.name)}` },
    dot(stateTone[p.state]),
    h('span', { class: 'grow' }, p.name),
    p.state !== 'running' && chip(p.state, stateTone[p.state]),
    h(
      'span',
      { class: 'muted small number' },
      p.lag === 0 ? 'up to date' : `${count(p.lag)} behind · ${span(p.lagSeconds)}`,
    ),
  );

const sagaRow = (s) =>
  h(
    'a',
    { class: 'line-link', href: `/console/sagas?saga=${encodeURIComponent(s.saga)}` },
    dot(s.stuck > 0 ? 'bad' : s.open > 0 ? 'info' : 'ok'),
    h('span', { class: 'grow' }, s.saga),
    s.stuck > 0 && chip(`${count(s.stuck)} stuck`, 'bad'),
    h('span', { class: 'muted small number' }, `${count(s.open)} open · ${count(s.done)} done`),
  );

const about = (o) =>
  facts([
    ['Node', h('code', null, o.node)],
    ['Version', o.version],
    ['Roles', o.roles.join(', ')],
    [
      'Durability',
      o.durability === 'durable'
        ? 'durable: an accepted command is on disk'
        : 'fast: an accepted command survives the end of the process, not a power cut',
    ],
    ['Started', when(o.startedAt), ` · ${ago(o.startedAt)}`],
    [
      'Checks',
      o.checks.every((c) => c.ok)
        ? h('span', { class: 'ok-text' }, `all ${o.checks.length} well`)
        : h('span', { class: 'bad-text' }, `${o.checks.filter((c) => !c.ok).length} of ${o.checks.length} not well`),
    ],
  ]);

const ticks = 8; // events shown

// follow shows the newest events, and those that come.
function follow(list, revision, signal) {
  put(list, h('li', null, empty('events', 'Waiting for events', 'They show here as they happen.')));
  let first = true;
  const stop = live.subscribe(
    {},
    { after: Math.max(0, revision - ticks) },
    {
      events(events) {
        if (first) put(list);
        first = false;
        for (const e of events) list.prepend(tick(e));
        while (list.children.length > ticks) list.lastChild.remove();
      },
    },
  );
  signal.addEventListener('abort', stop);
}

function tick(e) {
  const stream = e.subject;
  return h(
    'li',
    null,
    dot(streamTone(stream)),
    h(
      'div',
      { class: 'grow' },
      h('div', { class: 'strong' }, e.type),
      h('a', { class: 'small', href: placeOf(stream) ?? '/console/events' }, stream),
    ),
    h('span', { class: 'small muted' }, when(e.time)),
  );
}
