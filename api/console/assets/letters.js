// Messages that could not be worked off and were put aside, and what can be done about many of them.
import { get, post, url } from './api.js';
import { h, icon, put, refresh } from './dom.js';
import { ago, chip, count, stateTone } from './format.js';
import { firstLine, told } from './letter.js';
import { ask, button, empty, every, field, head, loading, notice, pager, pageSize, select, table } from './parts.js';
import { denied } from './who.js';

export async function letters({ root, query, signal, title, remember }) {
  title('Dead letters');
  const no = denied('deadletters.read');
  if (no) {
    put(
      root,
      head({ title: 'Dead letters' }),
      h('div', { class: 'card' }, empty('letter', 'Not for you to see', `Dead letters hold payloads. ${no}`)),
    );
    return;
  }
  const consumer = h('input', { value: query.get('consumer') ?? '', placeholder: 'any', spellcheck: 'false' });
  const error = h('input', {
    type: 'search',
    value: query.get('error') ?? '',
    placeholder: 'part of the error',
    spellcheck: 'false',
  });
  const state = select(
    [
      ['', 'any'],
      ['parked', 'parked'],
      ['waiting', 'waiting behind another'],
    ],
    query.get('state') ?? '',
  );
  const found = h('div', null, loading());
  const total = h('span', { class: 'muted small', role: 'status' });
  const said = h('div');
  const more = pager((cursor) => read(cursor));
  const wanted = () => ({ consumer: consumer.value.trim(), error: error.value.trim(), state: state.value });
  let asked = wanted();
  const bulk = h('div', { class: 'bulk', hidden: true });
  let items = [];
  let turn = 0; // of looks: an older one's answer is not shown
  const chosen = new Set();
  const form = h(
    'form',
    {
      class: 'filters',
      role: 'search',
      'aria-label': 'Which dead letters',
      onsubmit: (e) => {
        e.preventDefault();
        apply();
      },
    },
    field('Error', error, { wide: true }),
    field('Consumer', consumer),
    field('State', state),
    h('button', { type: 'submit' }, icon('search'), 'Show'),
  );
  state.addEventListener('change', () => apply());
  put(
    root,
    head({
      title: 'Dead letters',
      sub: 'What could not be worked off after several attempts. Nothing is lost: retry it once the cause is mended, send it corrected, or drop it.',
    }),
    h(
      'div',
      { class: 'stack' },
      h('div', { class: 'card' }, h('div', { class: 'inside' }, form)),
      said,
      h(
        'section',
        { class: 'card', 'aria-label': 'Dead letters' },
        h('header', null, h('h2', null, 'Open'), total),
        bulk,
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

  function apply() {
    asked = wanted();
    remember(asked);
    return again().catch((err) => put(found, h('div', { class: 'inside' }, notice('bad', err.message))));
  }

  async function again() {
    items = [];
    chosen.clear();
    await read('');
  }

  async function read(cursor) {
    const mine = ++turn;
    const answer = await get(url('/ops/deadletters', {}, { ...asked, cursor, limit: pageSize }), { signal });
    if (mine !== turn) return;
    items = cursor === '' ? answer.items : [...items, ...answer.items];
    for (const id of chosen) if (!items.some((l) => l.id === id)) chosen.delete(id); // somebody else has settled it
    more.set(answer.next);
    put(total, `${count(answer.total)} in all`);
    refresh(
      found,
      items.length === 0
        ? empty('check', 'No dead letters', 'Everything that came was worked off.')
        : table('Open dead letters, newest first', columns(), items),
    );
    choose();
  }

  function columns() {
    const all = h('input', {
      type: 'checkbox',
      'aria-label': 'Choose all that are shown',
      checked: items.every((l) => chosen.has(l.id)),
      onchange: () => {
        for (const l of items) all.checked ? chosen.add(l.id) : chosen.delete(l.id);
        for (const box of found.querySelectorAll('tbody input')) box.checked = all.checked;
        choose();
      },
    });
    return [
      {
        name: 'Choose',
        head: all,
        tick: true,
        cell: (l) =>
          h('input', {
            type: 'checkbox',
            'aria-label': `Choose ${l.id}`,
            checked: chosen.has(l.id),
            onchange: (e) => {
              e.target.checked ? chosen.add(l.id) : chosen.delete(l.id);
              choose();
            },
          }),
      },
      {
        name: 'Error',
        cell: (l) => [
          h('a', { class: 'strong', href: `/console/dead-letters/${encodeURIComponent(l.id)}` }, firstLine(l.error)),
          h('div', { class: 'small muted mono' }, l.subject),
        ],
      },
      { name: 'Consumer', cell: (l) => l.consumer },
      { name: 'Key', id: true, cell: (l) => l.key },
      { name: 'State', cell: (l) => chip(l.state, stateTone[l.state]) },
      { name: 'Attempts', number: true, cell: (l) => count(l.attempts) },
      { name: 'Failed', cell: (l) => h('span', { class: 'nowrap', title: l.failedAt }, ago(l.failedAt)) },
    ];
  }

  function choose() {
    const n = chosen.size;
    bulk.hidden = n === 0;
    refresh(
      bulk,
      h('span', { class: 'strong grow', role: 'status' }, `${count(n)} chosen`),
      button('Retry them', { shape: 'again', operation: 'deadletters.operate', onclick: () => many('retry') }),
      button('Drop them', { style: 'danger', operation: 'deadletters.force', onclick: () => many('drop') }),
    );
  }

  function many(verb) {
    const ids = [...chosen];
    const drop = verb === 'drop';
    return ask({
      title: `${drop ? 'Drop' : 'Retry'} ${count(ids.length)} dead ${ids.length === 1 ? 'letter' : 'letters'}`,
      act: drop ? 'Drop for good' : 'Retry',
      danger: drop,
      word: drop ? `drop ${ids.length}` : '',
      reason: drop ? 'required' : 'optional',
      text: drop
        ? 'They are given up: what was done stays on record, their payloads do not.'
        : 'Each is handed to its consumer again, with those that wait behind it.',
      run: async (o) => {
        told(await post(`/ops/deadletters/${verb}`, { ids, ...o }));
        await again();
      },
    });
  }
}
