// One aggregate: its history, its state at each revision with what changed, why it is as it is, what it would take now.
import { get, url, Problem } from './api.js';
import { h, icon, put } from './dom.js';
import { domain, status } from './domain.js';
import { ago, chip, count, lasting, when } from './format.js';
import { brief, changes, jsonDiff } from './json.js';
import { live } from './live.js';
import { button, card, empty, head, loading, notice, table, toast } from './parts.js';

const page = 200; // events read at once, the newest first

export async function aggregate({ root, params, query, signal, title, remember }) {
  const a = domain().aggregates.get(params.collection);
  if (!a) throw new Error(`There is no collection ${params.collection}.`);
  const stream = `${a.category}/${params.id}`;
  title(stream);
  let commits = []; // [{revision, events}], oldest first
  let first = 1; // version of the first event read
  let at = -1; // index of the commit that is shown
  let shown = 0; // counts choices, so that a slow answer does not cover a newer one
  const states = new Map(); // by revision

  const crumbs = [[a.title, `/console/data/${a.collection}`]];
  const chips = h('span', { class: 'row tight' });
  const words = h('p', { class: 'why' });
  const commands = h('div', { class: 'stack' });
  const waits = h('div');
  const state = h('div', { class: 'stack' });
  const slider = h('input', {
    type: 'range',
    min: 0,
    max: 0,
    value: 0,
    step: 1,
    'aria-label': 'Revision',
    oninput: () => choose(Number(slider.value)),
  });
  const where = h('div', { class: 'row', role: 'status', 'aria-live': 'polite' });
  const back = button('One revision back', {
    square: true,
    shape: 'left',
    'data-key': '[',
    onclick: () => void choose(at - 1),
  });
  const on = button('One revision on', {
    square: true,
    shape: 'right',
    'data-key': ']',
    onclick: () => void choose(at + 1),
  });
  const history = h('div');
  const earlier = h(
    'button',
    {
      type: 'button',
      onclick: () => read(Math.max(0, first - 1 - page), first - 1).then(draw, (err) => toast('bad', err.message)),
    },
    'Show earlier events',
  );

  try {
    await look();
  } catch (err) {
    if (!(err instanceof Problem) || err.status !== 404) throw err;
    put(
      root,
      head({ title: stream, crumbs }),
      h(
        'div',
        { class: 'stack' },
        h('div', { class: 'card' }, empty('box', 'Nothing ever happened to it', err.message)),
        offers(
          a.commands.filter((c) => !c.internal),
          a,
          params.id,
        ),
      ),
    );
    return;
  }
  put(
    root,
    head({ title: stream, crumbs, chips, sub: words }),
    h(
      'div',
      { class: 'columns lean' },
      h(
        'div',
        { class: 'stack' },
        card('State', h('div', { class: 'stack' }, h('div', { class: 'scrubber' }, back, slider, on), where, state)),
        card('History', [history, h('div', { class: 'more' }, earlier)], { flush: true }),
      ),
      h('div', { class: 'stack' }, card('Why', waits), card('Commands', commands)),
    ),
  );
  const version = Number(query.get('version'));
  const chosen = commits.findIndex((c) => version > 0 && c.events.at(-1).version >= version);
  draw();
  choose(chosen >= 0 ? chosen : commits.length - 1, false);
  const stop = live.subscribe(
    { stream },
    { after: commits.at(-1)?.revision ?? 0 },
    { events: () => look().then(draw, () => {}) },
  );
  signal.addEventListener('abort', stop);

  // look reads how it stands, and what has happened since the last look.
  async function look() {
    const why = await get(url('/ops/why/{collection}/{id}', params), { signal });
    const known = commits.at(-1)?.events.at(-1).version ?? Math.max(0, why.version - page);
    const followed = at === commits.length - 1;
    if (commits.length === 0) first = known + 1;
    await read(known, why.version);
    tell(why);
    if (followed && at >= 0) choose(commits.length - 1, false);
  }

  // read adds the events after one version up to another.
  async function read(after, upTo) {
    if (upTo <= after) return;
    const { items } = await get(
      url('/ops/history/{collection}/{id}', params, { cursor: after || '', limit: Math.min(500, upTo - after) }),
      { signal },
    );
    const found = [];
    for (const e of items) {
      if (found.at(-1)?.revision === e.revision) found.at(-1).events.push(e);
      else found.push({ revision: e.revision, events: [e] });
    }
    if (after + 1 < first) {
      first = after + 1;
      at += found.length;
      commits = [...found, ...commits];
    } else commits = [...commits, ...found.filter((c) => !commits.some((known) => known.revision === c.revision))];
  }

  function tell(why) {
    put(chips, why.status && status(why.status), chip(`version ${count(why.version)}`, ''));
    put(words, why.words);
    put(
      waits,
      why.processes.length === 0
        ? h('p', { class: 'muted' }, 'No saga is under way about it.')
        : why.processes.map((p) =>
            h(
              'div',
              { class: 'stack tight' },
              h(
                'div',
                { class: 'row tight' },
                h(
                  'a',
                  {
                    class: 'strong',
                    href: `/console/sagas/${encodeURIComponent(p.saga)}/${encodeURIComponent(p.key)}`,
                  },
                  `${p.saga} ${p.key}`,
                ),
                chip(p.state, p.state === 'stuck' ? 'bad' : 'info'),
              ),
              p.waiting.map((w) =>
                h(
                  'p',
                  null,
                  icon('clock'),
                  ' waits for ',
                  h('strong', null, w.for),
                  ` for ${lasting(w.since)}`,
                  w.until && [`, ${w.then || 'wakes up'} `, ago(w.until)],
                ),
              ),
              p.stuck?.map((s) => notice('bad', `It ${s}.`)),
            ),
          ),
    );
    put(commands, verdicts(why, a, params.id));
  }

  function draw() {
    slider.max = commits.length - 1;
    slider.value = at;
    earlier.parentElement.hidden = first <= 1;
    put(
      history,
      table(
        'Events, newest first',
        [
          { name: 'Version', number: true, cell: (e) => String(e.version) },
          {
            name: 'Event',
            cell: (e) => [
              h(
                'button',
                {
                  type: 'button',
                  class: 'link',
                  onclick: () => choose(commits.findIndex((c) => c.revision === e.revision)),
                },
                e.type,
              ),
              h('div', { class: 'small mono muted' }, brief(e.data, 110)),
            ],
          },
          { name: 'When, by whom', cell: (e) => [when(e.time), h('div', { class: 'small muted' }, e.user)] },
          {
            name: 'Why',
            cell: (e) =>
              h(
                'a',
                {
                  class: 'nowrap',
                  href: `/console/trace/${encodeURIComponent(e.correlationId)}`,
                  title: `Correlation ${e.correlationId}`,
                },
                icon('trace'),
                ' story',
              ),
          },
        ],
        commits.flatMap((c) => c.events).reverse(),
        { row: (e) => ({ 'aria-current': e.revision === commits[at]?.revision ? 'true' : null }) },
      ),
    );
  }

  async function choose(to, note = true) {
    if (to < 0 || to >= commits.length) return;
    at = to;
    const mine = ++shown;
    const { revision, events } = commits[at];
    const last = events.at(-1);
    slider.value = at;
    slider.setAttribute('aria-valuetext', `version ${last.version}, ${events.map((e) => e.type).join(', ')}`);
    put(
      where,
      h('strong', null, events.map((e) => e.type).join(' + ')),
      h(
        'span',
        { class: 'muted' },
        `version ${count(last.version)} · revision ${count(revision)} · `,
        when(last.time),
        ' · by ',
        last.user || 'nobody',
      ),
    );
    for (const tr of history.querySelectorAll('tr[aria-current]')) tr.removeAttribute('aria-current');
    if (note) {
      remember({ version: at === commits.length - 1 ? '' : last.version });
      draw();
    }
    try {
      const [before, after] = await Promise.all([
        at > 0 ? stateAt(commits[at - 1].revision) : first > 1 ? stateAt(revision - 1) : {},
        stateAt(revision),
      ]);
      if (mine === shown) put(state, difference(before, after));
    } catch (err) {
      if (mine === shown && !signal.aborted) put(state, notice('bad', err.message));
    }
  }

  async function stateAt(revision) {
    if (!states.has(revision)) {
      if (states.size === 0) put(state, loading());
      states.set(revision, (await get(url(`/${a.collection}/{id}`, params, { asOf: revision }), { signal })).state);
    }
    return states.get(revision);
  }
}

function difference(before, after) {
  const changed = changes(before, after).filter((c) => c.path !== '');
  const simple = changed
    .filter((c) => c.before === undefined || c.after === undefined || typeof c.after !== 'object')
    .slice(0, 6);
  return [
    changed.length === 0
      ? h('p', { class: 'muted' }, 'Nothing of the state has changed.')
      : h(
          'ul',
          { class: 'plain changes' },
          simple.map((c) =>
            h(
              'li',
              null,
              h('code', { class: 'strong' }, c.path),
              c.before !== undefined && h('del', null, brief(c.before, 48)),
              h('span', { class: 'unseen' }, ' became '),
              h('span', { 'aria-hidden': 'true' }, '→'),
              h('ins', null, brief(c.after, 48)),
            ),
          ),
          changed.length > simple.length && h('li', { class: 'muted' }, `and ${changed.length - simple.length} more`),
        ),
    jsonDiff(before, after, 'State, with what has changed'),
  ];
}

// verdicts shows every command with what the aggregate would say to it now.
function verdicts(why, a, id) {
  const kinds = { takes: ['ok', 'check'], changeless: ['', 'minus'], refuses: ['', 'close'] };
  const people = why.commands.filter((c) => !c.internal);
  return h(
    'ul',
    { class: 'plain verdicts' },
    people.map((c) =>
      h(
        'li',
        null,
        h('span', { class: c.verdict === 'takes' ? 'ok-text' : 'muted' }, icon(kinds[c.verdict][1])),
        h(
          'div',
          { class: 'grow' },
          h('a', { href: `/console/send/${a.collection}/${c.command}?id=${encodeURIComponent(id)}` }, c.command),
          c.verdict !== 'takes' &&
            h(
              'div',
              { class: 'small muted' },
              c.verdict === 'changeless' ? 'already so' : (c.because?.message ?? 'not now'),
            ),
        ),
      ),
    ),
  );
}

const offers = (commands, a, id) =>
  card(
    'Commands',
    h(
      'div',
      { class: 'row' },
      commands.map((c) =>
        h(
          'a',
          { class: 'button', href: `/console/send/${a.collection}/${c.type}?id=${encodeURIComponent(id)}` },
          c.type,
        ),
      ),
    ),
  );
