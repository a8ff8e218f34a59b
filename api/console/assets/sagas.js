// Processes of sagas: how each stands, what it waits for and since when, all it went through.
import { get, url } from './api.js';
import { h, icon, put, refresh } from './dom.js';
import { ago, chip, count, stateTone, when } from './format.js';
import { empty, every, field, head, loading, notice, pager, pageSize, select, table } from './parts.js';

const path = (saga, key) => `/console/sagas/${encodeURIComponent(saga)}/${encodeURIComponent(key)}`;
const tabs = (at) =>
  h(
    'nav',
    { class: 'segments', 'aria-label': 'Sagas' },
    [
      ['Processes', '/console/sagas'],
      ['Timers', '/console/timers'],
    ].map(([text, href]) => h('a', { href, 'aria-current': text === at ? 'true' : null }, text)),
  );
const names = async (signal) => (await get('/ops/overview', { signal })).sagas.map((s) => s.saga);

export async function sagas({ root, query, signal, title, remember }) {
  title('Sagas');
  const saga = select([['', 'Every saga'], ...(await names(signal)).map((s) => [s, s])], query.get('saga') ?? '');
  const state = select(
    [
      ['', 'Every state'],
      ['open', 'open'],
      ['stuck', 'stuck'],
      ['done', 'done'],
    ],
    query.get('state') ?? '',
  );
  const q = h('input', {
    type: 'search',
    value: query.get('q') ?? '',
    placeholder: 'part of the key',
    spellcheck: 'false',
  });
  const found = h('div', null, loading());
  const total = h('span', { class: 'muted small', role: 'status' });
  const said = h('div');
  const more = pager((cursor) => read(cursor));
  const wanted = () => ({ saga: saga.value, state: state.value, q: q.value.trim() });
  let asked = wanted();
  let items = [];
  let turn = 0; // of looks: an older one's answer is not shown
  const form = h(
    'form',
    {
      class: 'filters',
      role: 'search',
      'aria-label': 'Which processes',
      onsubmit: (e) => {
        e.preventDefault();
        apply();
      },
    },
    field('Saga', saga),
    field('State', state),
    field('Key', q),
    h('button', { type: 'submit' }, icon('search'), 'Show'),
  );
  for (const s of [saga, state]) s.addEventListener('change', () => apply());
  put(
    root,
    head({
      title: 'Sagas',
      sub: 'A process of a saga begins with an event, sends commands, waits, and ends.',
      actions: [tabs('Processes')],
    }),
    h(
      'div',
      { class: 'stack' },
      h('div', { class: 'card' }, h('div', { class: 'inside' }, form)),
      said,
      h(
        'section',
        { class: 'card', 'aria-label': 'Processes' },
        h('header', null, h('h2', null, 'Processes'), total),
        found,
        more.el,
      ),
    ),
  );
  await read('');
  every(5000, signal, anew, (err) => put(said, err && notice('bad', err.message)));

  // anew shows what has changed, as long as nobody has turned pages or is about to do something.
  async function anew() {
    if (items.length <= pageSize && !document.querySelector('dialog[open]')) await read('');
  }

  async function apply() {
    asked = wanted();
    remember(asked);
    items = [];
    put(found, loading());
    await read('').catch((err) => put(found, h('div', { class: 'inside' }, notice('bad', err.message))));
  }

  async function read(cursor) {
    const mine = ++turn;
    const answer = await get(url('/ops/sagas', {}, { ...asked, cursor, limit: pageSize }), { signal });
    if (mine !== turn) return;
    items = cursor === '' ? answer.items : [...items, ...answer.items];
    more.set(answer.next);
    put(total, `${count(answer.total)} in all`);
    refresh(
      found,
      items.length === 0
        ? empty('saga', 'No processes here', 'None matches what is asked for.')
        : table(
            'Processes, those that moved last first',
            [
              {
                name: 'Process',
                cell: (p) => [
                  h('a', { class: 'strong', href: path(p.saga, p.key) }, p.key),
                  h('div', { class: 'small muted' }, p.saga),
                ],
              },
              { name: 'State', cell: (p) => chip(p.state, stateTone[p.state]) },
              {
                name: 'Waits for',
                cell: (p) =>
                  p.stuck?.length
                    ? h('span', { class: 'bad-text' }, `It ${p.stuck[0]}`)
                    : p.waiting.map((w) =>
                        h(
                          'div',
                          null,
                          w.for,
                          w.until && h('span', { class: 'muted' }, `, ${w.then || 'wakes up'} ${ago(w.until)}`),
                        ),
                      ),
              },
              {
                name: 'Next timer',
                cell: (p) => p.timers[0] && [p.timers[0].name, ' ', h('span', { class: 'muted' }, ago(p.timers[0].at))],
              },
              { name: 'Moved', cell: (p) => h('span', { title: p.since, class: 'nowrap' }, ago(p.since)) },
              { name: 'Steps', number: true, cell: (p) => count(p.number) },
            ],
            items,
          ),
    );
  }
}

export async function timers({ root, query, signal, title, remember }) {
  title('Timers');
  const saga = select([['', 'Every saga'], ...(await names(signal)).map((s) => [s, s])], query.get('saga') ?? '', {
    onchange: () => {
      remember({ saga: saga.value });
      show();
    },
  });
  const found = h('div');
  const said = h('div');
  const total = h('span', { class: 'muted small', role: 'status' });
  put(
    root,
    head({ title: 'Timers', sub: 'What wakes processes up, the next first.', actions: [tabs('Timers')] }),
    h(
      'div',
      { class: 'stack' },
      h('div', { class: 'card' }, h('div', { class: 'inside' }, h('div', { class: 'filters' }, field('Saga', saga)))),
      said,
      h('section', { class: 'card', 'aria-label': 'Timers' }, h('header', null, h('h2', null, 'Armed'), total), found),
    ),
  );
  await show();
  every(5000, signal, show, (err) => put(said, err && notice('bad', err.message)));

  async function show() {
    const page = await get(url('/ops/timers', {}, { saga: saga.value, limit: 200 }), { signal });
    put(total, `${count(page.total)} in all`);
    refresh(
      found,
      page.items.length === 0
        ? empty('clock', 'No timers are armed', 'No process waits for a time.')
        : table(
            'Armed timers',
            [
              {
                name: 'Goes off',
                cell: (t) => [h('strong', null, ago(t.at)), ' ', h('span', { class: 'muted' }, when(t.at))],
              },
              {
                name: 'Process',
                cell: (t) => [h('a', { href: path(t.saga, t.key) }, t.key), h('div', { class: 'small muted' }, t.saga)],
              },
              { name: 'Timer', cell: (t) => t.name },
              { name: 'Then', cell: (t) => t.then },
            ],
            page.items,
          ),
    );
  }
}
