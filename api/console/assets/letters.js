// Messages that could not be worked off and were put aside: what they are, why, and what to do about them.
import { get, post, url } from './api.js';
import { h, icon, put, refresh } from './dom.js';
import { placeOf } from './domain.js';
import { ago, chip, count, stateTone, when } from './format.js';
import { jsonView, pretty } from './json.js';
import { ask, button, card, empty, every, facts, field, head, loading, notice } from './parts.js';
import { pager, pageSize, select, table, toast } from './parts.js';
import { denied } from './who.js';

const firstLine = (text) => text.split('\n')[0];

// told says what became of letters that something was done about.
function told({ results, stopped }) {
  const failed = results.filter((r) => r.error);
  const well = results.length - failed.length;
  if (well > 0) toast('ok', `${count(well)} ${well === 1 ? 'is' : 'are'} ${results.find((r) => !r.error).state}.`);
  if (failed.length > 0) toast('bad', `${count(failed.length)} not: ${firstLine(failed[0].error)}`);
  if (stopped) toast('bad', `Stopped: ${stopped}`);
}

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

export async function letter({ root, params, signal, title }) {
  const { id } = params;
  title('Dead letter');
  const address = url('/ops/deadletters/{id}', { id });
  await look();

  async function look() {
    const l = await get(address, { signal });
    const settled = !['parked', 'waiting'].includes(l.state) ? `It is ${l.state}.` : '';
    const command = l.subject.startsWith('commands.');
    const [error, ...trace] = l.error.split('\n');
    put(
      root,
      head({
        title: `Dead letter ${l.key}`,
        crumbs: [['Dead letters', '/console/dead-letters']],
        chips: chip(l.state, stateTone[l.state]),
        sub: h('code', null, l.subject),
        actions: [
          button('Retry', {
            style: 'main',
            shape: 'again',
            operation: 'deadletters.operate',
            target: l.consumer,
            why: settled,
            onclick: () => retry(l),
          }),
          button('Resend corrected', {
            operation: 'deadletters.operate',
            target: l.consumer,
            why: settled || (command ? '' : 'Only a command can be sent anew; an event has happened.'),
            onclick: () => resend(l),
          }),
          button('Drop', {
            style: 'danger',
            operation: 'deadletters.force',
            target: l.consumer,
            why: settled,
            onclick: () => drop(),
          }),
        ],
      }),
      h(
        'div',
        { class: 'columns lean' },
        h(
          'div',
          { class: 'stack' },
          card(
            'Error',
            h(
              'div',
              { class: 'stack' },
              notice('bad', error),
              trace.length > 0 &&
                h(
                  'details',
                  null,
                  h('summary', null, 'Where it happened'),
                  h('pre', { class: 'wrap' }, trace.join('\n')),
                ),
            ),
          ),
          card(
            'Payload',
            l.data !== undefined
              ? jsonView(l.data, 'Payload')
              : l.bytes
                ? [h('p', { class: 'muted' }, 'Not JSON; as text:'), h('pre', { class: 'wrap' }, text(l.bytes))]
                : h('p', { class: 'muted' }, settled ? 'Gone since it is settled.' : 'Empty.'),
          ),
          l.operations?.length > 0 &&
            card(
              'What was done about it',
              table(
                'What was done about it',
                [
                  { name: 'When', cell: (o) => when(o.at) },
                  { name: 'What', cell: (o) => h('strong', null, o.kind) },
                  { name: 'By', cell: (o) => o.by },
                  { name: 'Reason', cell: (o) => o.reason },
                  {
                    name: 'Result',
                    cell: (o) =>
                      o.error
                        ? h('span', { class: 'bad-text' }, firstLine(o.error))
                        : chip(o.state, stateTone[o.state]),
                  },
                ],
                l.operations,
              ),
              { flush: true },
            ),
        ),
        h(
          'div',
          { class: 'stack' },
          card(
            'About it',
            facts([
              ['Consumer', l.consumer],
              ['Key', keyLink(l)],
              ['Attempts', count(l.attempts)],
              ['Failed', when(l.failedAt), ` · ${ago(l.failedAt)}`],
              ['Stored', when(l.time)],
              ['Sequence', count(l.sequence)],
              l.behind && [
                'Waits behind',
                h('a', { href: `/console/dead-letters/${encodeURIComponent(l.behind)}` }, l.behind),
              ],
              ['ID', h('code', { class: 'small' }, l.id)],
            ]),
          ),
          l.headers &&
            card(
              'Headers',
              facts(Object.entries(l.headers).map(([k, v]) => [k, h('code', { class: 'small' }, v.join(', '))])),
            ),
        ),
      ),
    );
  }

  function run(verb, body) {
    return post(`${address}/${verb}`, body).then((answer) => {
      told(answer);
      return look();
    });
  }

  function retry(l) {
    return ask({
      title: 'Retry this dead letter',
      act: 'Retry',
      text: `The message is handed to ${l.consumer} again, with those that wait behind it.`,
      run: (o) => run('retry', o),
    });
  }

  function drop() {
    return ask({
      title: 'Drop this dead letter',
      act: 'Drop for good',
      danger: true,
      word: id,
      reason: 'required',
      text: 'It is given up: what was done stays on record, its payload does not.',
      run: (o) => run('drop', o),
    });
  }

  function resend(l) {
    const [, category, to, type] = l.subject.split('.');
    const body = h('textarea', { class: 'code', rows: 14, spellcheck: 'false' });
    body.value = l.data !== undefined ? pretty(l.data) : text(l.bytes ?? '');
    const stream = h('input', { value: `${category}/${to}`, spellcheck: 'false' });
    const name = h('input', { value: type ?? '', spellcheck: 'false' });
    const extra = h(
      'div',
      { class: 'stack' },
      h('div', { class: 'schema' }, field('To', stream), field('Command', name)),
      field('Body', body, { hint: 'JSON, sent as it stands here' }),
    );
    return ask({
      title: 'Resend corrected',
      act: 'Send',
      wide: true,
      extra,
      text: 'A new command is sent in its place; the letter is then settled as resent.',
      run: (o) => {
        try {
          JSON.parse(body.value);
        } catch (err) {
          throw new Error(`The body is not JSON: ${err.message}`);
        }
        const correction = {
          ...o,
          data: 'BODY',
          ...(stream.value === `${category}/${to}` ? {} : { stream: stream.value.trim() }),
          ...(name.value === type ? {} : { command: name.value.trim() }),
        };
        return run(
          'resend',
          JSON.stringify(correction).replace('"data":"BODY"', () => `"data":${body.value}`),
        ); // as text: numbers stay what they are
      },
    });
  }
}

function keyLink(l) {
  const to = placeOf(l.key.includes('/') ? l.key : l.subject.split('.').slice(1, 3).join('/'));
  return to ? h('a', { href: to }, l.key) : l.key;
}

function text(base64) {
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
}
