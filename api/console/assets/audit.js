// What operators did, all of it.
import { get, url } from './api.js';
import { h, icon, put, refresh } from './dom.js';
import { chip, when } from './format.js';
import { jsonView } from './json.js';
import { empty, every, field, head, loading, notice, pager, pageSize, select, table } from './parts.js';
import { denied } from './who.js';

const places = {
  projections: (on) => `/console/projections/${encodeURIComponent(on)}`,
  sagas: (on) => `/console/sagas/${on.split('/').map(encodeURIComponent).join('/')}`,
  deadletters: (on) => `/console/dead-letters/${encodeURIComponent(on)}`,
};

export async function audit({ root, query, signal, title, remember }) {
  title('Audit');
  const no = denied('audit.read');
  if (no) {
    put(root, head({ title: 'Audit' }), h('div', { class: 'card' }, empty('audit', 'Not for you to see', no)));
    return;
  }
  const what = select(
    [
      ['', 'anything'],
      ['projections', 'projections'],
      ['sagas', 'sagas'],
      ['deadletters', 'dead letters'],
      ['snapshots', 'snapshots'],
      ['keys', 'keys'],
    ],
    query.get('what') ?? '',
  );
  const by = h('input', { value: query.get('by') ?? '', placeholder: 'anyone', spellcheck: 'false' });
  const found = h('div', null, loading());
  const said = h('div');
  const more = pager((cursor) => read(cursor));
  const wanted = () => ({ what: what.value, by: by.value.trim() });
  let asked = wanted();
  let items = [];
  let turn = 0; // of looks: an older one's answer is not shown
  const form = h(
    'form',
    {
      class: 'filters',
      role: 'search',
      'aria-label': 'Which actions',
      onsubmit: (e) => {
        e.preventDefault();
        apply();
      },
    },
    field('Done to', what),
    field('By', by),
    h('button', { type: 'submit' }, icon('search'), 'Show'),
  );
  what.addEventListener('change', () => apply());
  put(
    root,
    head({ title: 'Audit', sub: 'Every action of an operator, with who, when and why. Nothing deletes it.' }),
    h(
      'div',
      { class: 'stack' },
      h('div', { class: 'card' }, h('div', { class: 'inside' }, form)),
      said,
      h('section', { class: 'card', 'aria-label': 'Actions' }, found, more.el),
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
    const answer = await get(url('/ops/audit', {}, { ...asked, cursor, limit: pageSize }), {
      signal,
    });
    if (mine !== turn) return;
    items = cursor === '' ? answer.items : [...items, ...answer.items];
    more.set(answer.next);
    refresh(
      found,
      items.length === 0
        ? empty('audit', 'Nothing yet', 'What operators do is recorded here.')
        : table(
            'Actions, newest first',
            [
              { name: 'When', cell: (a) => when(a.time) },
              { name: 'By', cell: (a) => h('span', { class: 'strong' }, a.by) },
              {
                name: 'Action',
                cell: (a) =>
                  chip(a.kind, ['drop', 'cancel', 'rollback', 'skip', 'end'].includes(a.kind) ? 'warn' : 'info'),
              },
              {
                name: 'On',
                cell: (a) => [
                  places[a.what] ? h('a', { class: 'nowrap mono', href: places[a.what](a.on) }, a.on) : a.on,
                  h('div', { class: 'small muted' }, a.what),
                ],
              },
              { name: 'Reason', cell: (a) => a.reason },
              {
                name: 'Result',
                cell: (a) => (a.error ? h('span', { class: 'bad-text' }, a.error.split('\n')[0]) : a.state || 'done'),
              },
              {
                name: 'Record',
                cell: (a) =>
                  a.record &&
                  h(
                    'details',
                    null,
                    h('summary', { class: 'small nowrap', 'aria-label': `Record ${a.sequence}` }, 'Record'),
                    jsonView(a.record, 'Record'),
                  ),
              },
            ],
            items,
          ),
    );
  }
}
