// The log as it grows: filters, pause, one event opened.
import { figures } from './api.js';
import { h, icon, pressing, put, uid } from './dom.js';
import { domain, placeOf, streamTone } from './domain.js';
import { count, dot, when } from './format.js';
import { brief, jsonView } from './json.js';
import { live } from './live.js';
import { button, empty, facts, field, head, notice, say, select } from './parts.js';

const most = 500; // events kept on the page
const starts = [
  ['latest', 'The latest 100'],
  ['new', 'Only new ones'],
  ['0', 'The beginning'],
];

export async function events({ root, query, signal, title, remember }) {
  title('Events');
  const wanted = {
    category: query.get('category') ?? '',
    type: query.get('type') ?? '',
    stream: query.get('stream') ?? '',
    correlation: query.get('correlation') ?? '',
    from: query.get('from') ?? 'latest',
  };
  let opened = query.get('event') ?? '';
  let rows = [];
  let held = []; // what came while the page was paused
  let paused = false;
  let stop = () => {};
  let drawn = 0; // the frame in which new events are shown
  let turn = 0; // of subscriptions: an older one's answers are not shown

  const state = h('span', { class: 'muted small', role: 'status' });
  const said = h('div');
  const list = h('ol', { class: 'plain tail' });
  const pause = button('Pause', {
    shape: 'pause',
    'data-key': 'p',
    'aria-pressed': 'false',
    onclick: () => hold(!paused),
  });
  const clear = button('Clear', {
    onclick: () => {
      rows = [];
      held = [];
      draw();
    },
  });

  const from = select(
    [...starts, ...(starts.some(([v]) => v === wanted.from) ? [] : [[wanted.from, `Revision ${wanted.from}`]])],
    wanted.from,
  );
  const category = select(
    [['', 'Every category'], ...[...domain().byCategory.keys()].map((c) => [c, c])],
    wanted.category,
  );
  const type = select([['', 'Every type'], ...domain().eventTypes.map((t) => [t, t])], wanted.type);
  const stream = h('input', { value: wanted.stream, placeholder: example(), spellcheck: 'false', autocomplete: 'off' });
  const correlation = h('input', {
    value: wanted.correlation,
    placeholder: 'any',
    spellcheck: 'false',
    autocomplete: 'off',
  });
  const form = h(
    'form',
    {
      class: 'filters',
      'aria-label': 'Which events',
      onsubmit: (e) => {
        e.preventDefault();
        apply();
      },
    },
    field('Category', category),
    field('Type', type),
    field('Stream', stream),
    field('Correlation ID', correlation),
    field('From', from),
    h('button', { type: 'submit' }, 'Follow'),
  );
  for (const s of [category, type, from]) s.addEventListener('change', () => apply());

  put(
    root,
    head({ title: 'Events', sub: 'The log, newest first, as it grows.', actions: [pause, clear] }),
    h(
      'div',
      { class: 'stack' },
      h('div', { class: 'card' }, h('div', { class: 'inside' }, form)),
      said,
      h(
        'section',
        { class: 'card', 'aria-label': 'Events' },
        h('header', null, h('h2', null, 'Live tail'), state),
        list,
      ),
    ),
  );
  signal.addEventListener('abort', () => stop());
  live.addEventListener('state', () => status(), { signal });
  await follow();

  function apply() {
    opened = '';
    Object.assign(wanted, {
      category: category.value,
      type: type.value,
      stream: stream.value.trim(),
      correlation: correlation.value.trim(),
      from: from.value,
    });
    remember({ ...wanted, from: wanted.from === 'latest' ? '' : wanted.from, event: '' });
    follow();
  }

  async function follow() {
    stop();
    const mine = ++turn;
    rows = [];
    held = [];
    put(said);
    draw();
    const start = await beginning(wanted.from, signal);
    if (mine !== turn || signal.aborted) return;
    const filter = {
      category: wanted.category || undefined,
      types: wanted.type ? [wanted.type] : undefined,
      stream: wanted.stream || undefined,
      correlation: wanted.correlation || undefined,
    };
    stop = live.subscribe(filter, start, {
      events(found, revision) {
        const into = paused ? held : rows;
        for (const e of found) {
          revisionOf.set(e, revision);
          into.push({ e, id: uid('event') });
        }
        if (into.length > most) into.splice(0, into.length - most);
        paused ? status() : soon();
      },
      live: () => status(),
      ended(problem) {
        put(said, notice('bad', problem.message));
      },
    });
  }

  function hold(yes) {
    paused = yes;
    pause.setAttribute('aria-pressed', String(yes));
    put(pause, icon(yes ? 'play' : 'pause'), yes ? 'Go on' : 'Pause');
    if (!yes) {
      rows = [...rows, ...held].slice(-most);
      held = [];
      draw();
    }
    say(yes ? 'Paused' : 'Live again');
    status();
  }

  const pressed = pressing(list, signal, soon);

  function soon() {
    if (pressed() || signal.aborted) return;
    drawn ||= requestAnimationFrame(() => {
      drawn = 0;
      if (!pressed()) draw();
    });
  }

  // draw adds what is new on top and takes away what is too much, so that an opened event stays as it is.
  function draw() {
    const there = new Set(rows.map((r) => r.id));
    for (const li of [...list.children]) if (!there.has(li.id)) li.remove();
    for (const r of rows) if (!r.el || !r.el.isConnected) list.prepend((r.el = row(r)));
    if (rows.length === 0)
      put(list, h('li', null, empty('events', 'No events yet', 'What matches shows here as it happens.')));
    status();
  }

  function status() {
    const what =
      live.state !== 'live'
        ? 'Not connected: it goes on where it stopped'
        : paused
          ? `Paused · ${count(held.length)} new`
          : 'Live';
    put(state, what, ` · ${count(rows.length)} shown`);
  }

  function row({ e, id }) {
    const details = h('div', { class: 'opened', hidden: true });
    const b = h(
      'button',
      { type: 'button', class: 'quiet', 'aria-expanded': 'false', onclick: () => open(details.hidden) },
      dot(streamTone(e.subject)),
      h('span', { class: 'at' }, when(e.time)),
      h('span', { class: 'type' }, e.type),
      h('span', { class: 'stream mono' }, e.subject),
      h('span', { class: 'data mono muted' }, brief(e.data ?? {}, 160)),
    );
    function open(yes, quietly = false) {
      b.setAttribute('aria-expanded', String(yes));
      details.hidden = !yes;
      if (yes) put(details, one(e));
      if (!quietly) remember(yes ? { event: e.id, from: String(revisionOf.get(e) ?? '') } : { event: '' });
    }
    if (e.id === opened) open(true, true);
    return h('li', { id }, b, details);
  }
}

// A commit's revision comes beside its events.
const revisionOf = new WeakMap();

function example() {
  const [first] = domain().aggregates.values();
  return first ? `${first.category}/${first.exampleId}` : 'category/id';
}

async function beginning(from, signal) {
  if (from === 'new') return { new: true };
  if (from !== 'latest') return { after: Math.max(0, Number(from) - 1) };
  const { revision } = await figures('/ops/overview', { signal });
  return { after: Math.max(0, revision - 100) };
}

function one(e) {
  const to = placeOf(e.subject);
  return [
    h(
      'div',
      { class: 'columns' },
      facts([
        ['Stream', to ? h('a', { href: `${to}?version=${e.version}` }, e.subject) : e.subject, ` version ${e.version}`],
        ['Time', e.time],
        ['Event ID', h('code', null, e.id)],
        e.userid && ['User', e.userid],
        [
          'Correlation',
          h('a', { href: `/console/trace/${encodeURIComponent(e.correlationid)}` }, h('code', null, e.correlationid)),
        ],
        e.causationid && ['Caused by', h('code', null, e.causationid)],
        ['Written as', `version ${e.eventversion} of ${e.type}`],
      ]),
      jsonView(e.data ?? {}, 'Data of the event'),
    ),
    h(
      'div',
      { class: 'row' },
      to &&
        h('a', { class: 'button small', href: `${to}?version=${e.version}` }, icon('box'), 'Aggregate at this version'),
      h(
        'a',
        { class: 'button small', href: `/console/trace/${encodeURIComponent(e.correlationid)}` },
        icon('trace'),
        'Follow the correlation',
      ),
      h(
        'a',
        { class: 'button small', href: `/console/events?stream=${encodeURIComponent(e.subject)}&from=0` },
        'Only this stream',
      ),
    ),
  ];
}
