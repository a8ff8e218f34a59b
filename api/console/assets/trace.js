// The story of a correlation id as a tree: commands, their events, what sagas made of them, and what they sent in turn.
import { get, url, Problem } from './api.js';
import { h, icon, put, svg } from './dom.js';
import { placeOf, streamTone } from './domain.js';
import { chip, dot, outcomeTone, span, when } from './format.js';
import { jsonView } from './json.js';
import { card, empty, facts, head, loading, notice, select } from './parts.js';

const line = 46; // pixels of a row
const narrow = matchMedia('(max-width: 640px)');
const step = () => (narrow.matches ? 9 : 22); // and of a level of the tree
const windows = [
  ['24h', 'the last day'],
  ['168h', 'the last week'],
  ['720h', 'the last 30 days'],
  ['0s', 'the whole log'],
];
const kinds = { command: 'command', event: 'event', transition: 'saga step' };

export async function trace({ root, params, query, signal, title, remember }) {
  const id = params.correlation;
  title('Story');
  const body = h('div', { class: 'stack' });
  const since = select(windows, query.get('since') ?? '24h', {
    'aria-label': 'How far back',
    onchange: () => {
      remember({ since: since.value === '24h' ? '' : since.value });
      show();
    },
  });
  put(
    root,
    head({
      title: 'Story of a correlation',
      crumbs: [['Events', '/console/events']],
      sub: h('code', null, id),
      actions: [
        h('label', { class: 'row tight small muted' }, 'Looked for in', since),
        h(
          'a',
          { class: 'button', href: `/console/events?correlation=${encodeURIComponent(id)}&from=0` },
          icon('events'),
          'Follow live',
        ),
      ],
    }),
    body,
  );
  let draw = () => {};
  narrow.addEventListener('change', () => draw(), { signal });
  await show();

  async function show() {
    put(body, loading('Reading the log …'));
    try {
      const story = await get(url('/ops/trace/{id}', { id }, { since: since.value }), { signal });
      draw = () => put(body, picture(story));
      draw();
    } catch (err) {
      if (signal.aborted) return;
      if (!(err instanceof Problem) || err.status !== 404) throw err;
      put(
        body,
        h(
          'div',
          { class: 'card' },
          empty(
            'trace',
            'No event carries this correlation ID',
            `In ${windows.find(([v]) => v === since.value)[1]}. A command that was refused leaves none.`,
          ),
        ),
      );
    }
  }
}

function flatten(nodes, deep = 0, parent = -1, into = []) {
  for (const n of nodes ?? []) {
    const at = into.push({ n, deep, parent }) - 1;
    flatten(n.children, deep + 1, at, into);
  }
  return into;
}

function picture({ roots }) {
  const rows = flatten(roots);
  const begun = Math.min(...rows.map((r) => new Date(r.n.time).getTime()));
  const ended = Math.max(...rows.map((r) => new Date(r.n.time).getTime()));
  const detail = h('div', { class: 'inside' });
  const tree = h('div', { class: 'tree', role: 'tree', 'aria-label': 'What happened and what it led to' });
  const width = step() * (Math.max(...rows.map((r) => r.deep)) + 1) + 12;
  const items = rows.map((r, i) => item(r, i, begun, () => choose(i, true)));
  let chosen = -1;
  function choose(i, focus) {
    if (i < 0 || i >= items.length) return;
    items[chosen]?.setAttribute('aria-selected', 'false');
    if (items[chosen]) items[chosen].tabIndex = -1;
    chosen = i;
    items[i].setAttribute('aria-selected', 'true');
    items[i].tabIndex = 0;
    if (focus) items[i].focus();
    put(detail, about(rows[i].n));
  }
  tree.addEventListener('keydown', (e) => {
    const to = {
      ArrowDown: chosen + 1,
      ArrowUp: chosen - 1,
      Home: 0,
      End: items.length - 1,
      ArrowLeft: rows[chosen].parent,
      ArrowRight: rows[chosen + 1]?.parent === chosen ? chosen + 1 : -1,
    }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    choose(to, true);
  });
  tree.append(edges(rows, width), ...items);
  choose(0, false);
  const streams = new Set(rows.map((r) => r.n.stream));
  return h(
    'div',
    { class: 'columns lean' },
    card(`${rows.length} steps in ${span((ended - begun) / 1000)}`, [tree], {
      flush: true,
      actions: h(
        'span',
        { class: 'row tight small muted' },
        ['command', 'event', 'transition'].map((k) => h('span', { class: 'row tight' }, glyphOf(k), kinds[k])),
      ),
      'data-steps': rows.length,
      'data-streams': streams.size,
    }),
    h('div', { class: 'sticky' }, card('Chosen step', detail, { flush: true })),
  );
}

// edges draws the lines from each step to what followed, and a sign for each.
function edges(rows, width) {
  const x = (deep) => 14 + deep * step();
  const y = (i) => i * line + line / 2;
  return svg(
    'svg',
    { class: 'edges', width, height: rows.length * line, 'aria-hidden': 'true' },
    rows.map(
      (r, i) =>
        r.parent >= 0 &&
        svg('path', {
          class: 'edge',
          d: `M${x(rows[r.parent].deep)},${y(r.parent) + 9}V${y(i) - 8}Q${x(rows[r.parent].deep)},${y(i)} ${x(rows[r.parent].deep) + 8},${y(i)}H${x(r.deep) - 9}`,
        }),
    ),
    rows.map((r, i) =>
      svg(
        'g',
        { transform: `translate(${x(r.deep)},${y(i)})` },
        glyph(r.n.kind, r.n.outcome && !['accepted', 'unchanged'].includes(r.n.outcome)),
      ),
    ),
  );
}

// A command is a diamond, an event a circle, a saga's step a square.
function glyph(kind, bad) {
  const style = { class: `glyph ${kind} ${bad ? 'bad' : ''}` };
  if (kind === 'command') return svg('path', { ...style, d: 'M0-8 8 0 0 8-8 0z' });
  if (kind === 'event') return svg('circle', { ...style, r: 6 });
  return svg('rect', { ...style, x: -6, y: -6, width: 12, height: 12, rx: 3 });
}

const glyphOf = (kind) =>
  svg('svg', { width: 18, height: 18, viewBox: '-9 -9 18 18', 'aria-hidden': 'true' }, glyph(kind, false));

function item({ n, deep }, i, begun, onclick) {
  const late = (new Date(n.time).getTime() - begun) / 1000;
  return h(
    'div',
    {
      class: 'step',
      role: 'treeitem',
      'aria-level': deep + 1,
      'aria-selected': 'false',
      tabindex: -1,
      style: { height: `${line}px`, 'padding-left': `${14 + (deep + 1) * step() - (step() > 20 ? 8 : 0)}px` },
      onclick,
    },
    h('span', { class: 'name' }, h('span', { class: 'unseen' }, `${kinds[n.kind]} `), nameOf(n)),
    h('span', { class: 'stream small muted mono' }, n.stream),
    n.outcome && n.outcome !== 'accepted' && chip(n.outcome, outcomeTone[n.outcome]),
    n.done && chip('done', 'ok'),
    h('span', { class: 'late small muted number' }, `+${span(late)}`),
  );
}

const nameOf = (n) =>
  n.kind === 'transition'
    ? `${n.name} ${n.trigger === 'outcomes' ? 'heard back' : n.trigger === 'event' ? 'reacted' : n.trigger}`
    : n.name || 'command';

function about(n) {
  const to =
    n.kind === 'transition'
      ? `/console/sagas/${n.stream.split('/').map(encodeURIComponent).join('/')}`
      : placeOf(n.stream, n.version ? `?version=${n.version}` : '');
  return h(
    'div',
    { class: 'stack' },
    h(
      'div',
      { class: 'row' },
      glyphOf(n.kind),
      h('strong', null, nameOf(n)),
      chip(kinds[n.kind], ''),
      n.outcome && chip(n.outcome, outcomeTone[n.outcome]),
    ),
    n.error && notice('warn', h('strong', null, n.error.code), `: ${n.error.message}`),
    facts([
      [
        n.kind === 'transition' ? 'Process' : 'Stream',
        dot(streamTone(n.stream)),
        ' ',
        to ? h('a', { href: to }, n.stream) : n.stream,
      ],
      ['Time', when(n.time)],
      n.version && ['Version', n.version],
      n.revision && ['Revision', n.revision],
      n.user && ['User', n.user],
      ['ID', h('code', null, n.id)],
      n.causationId && ['Caused by', h('code', null, n.causationId)],
      n.waits?.length && ['Timers', n.waits.join(', ')],
    ]),
    n.data && jsonView(n.data, 'Data of the event'),
  );
}
