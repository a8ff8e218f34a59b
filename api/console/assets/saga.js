// One process of a saga: how it stands, what it waits for and since when, all it went through.
import { get, post, url } from './api.js';
import { h, icon, put, refresh } from './dom.js';
import { placeOf } from './domain.js';
import { ago, chip, count, outcomeTone, stateTone, when } from './format.js';
import { brief, changes, jsonView } from './json.js';
import { ask, button, card, every, facts, head, notice, table, toast } from './parts.js';

export async function saga({ root, params, signal, title }) {
  title(`${params.saga} ${params.key}`);
  const address = url('/ops/sagas/{saga}/{key}', params);
  const chips = h('span', { class: 'row tight' });
  const actions = h('div', { class: 'actions' });
  const said = h('div');
  const now = h('div', { class: 'stack' });
  const state = h('div');
  const timeline = h('ol', { class: 'plain timeline' });
  const done = h('div');
  let shown = '';
  put(
    root,
    head({
      title: params.key,
      crumbs: [
        ['Sagas', '/console/sagas'],
        [params.saga, `/console/sagas?saga=${encodeURIComponent(params.saga)}`],
      ],
      chips,
      actions: [actions],
    }),
    h(
      'div',
      { class: 'columns lean' },
      h('div', { class: 'stack' }, said, card('Now', now), card('Timeline', timeline), done),
      h('div', { class: 'stack' }, card('State', state)),
    ),
  );
  await look();
  every(3000, signal, look, (err) => put(said, err && notice('bad', err.message)));

  async function look() {
    const p = await get(address, { signal });
    put(chips, chip(p.state, stateTone[p.state]), chip(`step ${count(p.number)}`, ''));
    refresh(now, standing(p));
    const mark = `${p.number} ${p.state} ${p.actions.length}`;
    if (mark === shown) return;
    shown = mark;
    put(
      actions,
      button('Retry', {
        shape: 'again',
        operation: 'sagas.operate',
        target: params.saga,
        why: p.state === 'done' ? 'It is done: nothing is owed.' : '',
        onclick: () => retry(p),
      }),
      button('Cancel', {
        style: 'danger',
        operation: 'sagas.force',
        target: params.saga,
        why: p.state === 'done' ? 'It is done.' : '',
        onclick: () => cancel(p),
      }),
    );
    put(state, jsonView(p.current, 'State of the process'));
    put(timeline, p.timeline.map((s, i) => step(s, p.timeline[i - 1])).reverse());
    put(
      done,
      p.actions.length > 0 &&
        card(
          'What operators did',
          table(
            'What operators did',
            [
              { name: 'When', cell: (a) => when(a.time) },
              { name: 'What', cell: (a) => h('strong', null, a.kind) },
              { name: 'By', cell: (a) => a.by },
              { name: 'Reason', cell: (a) => a.reason },
              { name: 'Error', cell: (a) => a.error && h('span', { class: 'bad-text' }, a.error) },
            ],
            p.actions,
          ),
          { flush: true },
        ),
    );
  }

  function retry() {
    return ask({
      title: `Retry ${params.key}`,
      act: 'Retry',
      text: 'What its last step owes is done again: commands with the same ids, timers as they were. Doing it twice changes nothing.',
      run: (o) =>
        post(`${address}/retry`, o).then(() => {
          toast('ok', 'It is being done again.');
          return look();
        }),
    });
  }

  function cancel(p) {
    const force = h('input', { type: 'checkbox', id: 'force', checked: !p.cancellable });
    const extra = p.cancellable
      ? h('label', { class: 'row tight' }, force, 'End it where it stands, with nothing undone')
      : notice('warn', 'This saga cannot undo what it did: it would be ended where it stands.');
    return ask({
      title: `Cancel ${params.saga} ${params.key}`,
      act: 'Cancel the process',
      danger: true,
      word: params.key,
      reason: 'required',
      extra,
      text: p.cancellable ? 'It gives up and undoes what it did, as its code says.' : '',
      run: (o) =>
        post(`${address}/cancel`, { ...o, ...(force.checked ? { force: true } : {}) }).then(() => {
          toast('ok', 'It is cancelled.');
          return look();
        }),
    });
  }
}

function standing(p) {
  return [
    p.stuck?.map((s) => notice('bad', h('strong', null, 'Stuck. '), `It ${s}.`)),
    p.waiting.map((w) =>
      h(
        'div',
        { class: 'wait' },
        icon('clock'),
        h(
          'div',
          null,
          h(
            'div',
            null,
            'Waits for ',
            h('strong', null, w.for),
            ' since ',
            when(w.since),
            h('span', { class: 'muted' }, ` (${ago(w.since)})`),
          ),
          w.until && h('div', { class: 'muted' }, `${w.then || 'wakes up'} at `, when(w.until), ` (${ago(w.until)})`),
          w.on && h('div', { class: 'muted' }, 'on ', link(w.on)),
        ),
      ),
    ),
    p.owes?.length > 0 && facts(p.owes.map((o) => ['No answer yet', `${o.command} to `, link(o.stream)])),
    p.timers
      .filter((t) => !p.waiting.some((w) => w.timer === t.name))
      .map((t) =>
        h(
          'div',
          { class: 'wait' },
          icon('clock'),
          h('div', null, `Timer ${t.name} goes off `, when(t.at), h('span', { class: 'muted' }, ` (${ago(t.at)})`)),
        ),
      ),
    p.deadLetters?.length > 0 &&
      h(
        'div',
        { class: 'row' },
        p.deadLetters.map((id) =>
          h('a', { href: `/console/dead-letters/${encodeURIComponent(id)}` }, `Dead letter ${id}`),
        ),
      ),
    p.state === 'done' &&
      h(
        'p',
        null,
        h('span', { class: 'ok-text' }, icon('check')),
        ' Done ',
        when(p.since),
        h('span', { class: 'muted' }, ` (${ago(p.since)})`),
      ),
    p.state === 'open' && p.waiting.length === 0 && h('p', { class: 'muted' }, 'Under way.'),
    p.correlationId &&
      h(
        'div',
        null,
        h('a', { href: `/console/trace/${encodeURIComponent(p.correlationId)}` }, icon('trace'), ' The whole story'),
      ),
  ];
}

const link = (stream) => {
  const to = placeOf(stream);
  return to ? h('a', { href: to }, stream) : stream;
};

const triggers = {
  event: 'Event',
  outcomes: 'Outcomes of its commands',
  timer: 'Timer',
  cancelled: 'Cancelled by an operator',
  ended: 'Ended by an operator',
  setBack: 'Set back',
};

function step(s, before) {
  const changed = changes(before?.state ?? {}, s.state).slice(0, 8);
  return h(
    'li',
    { class: s.done ? 'done' : '' },
    h(
      'div',
      { class: 'row' },
      h('strong', null, s.trigger.type || triggers[s.trigger.kind] || s.trigger.kind),
      s.trigger.type && h('span', { class: 'muted small' }, triggers[s.trigger.kind] ?? s.trigger.kind),
      s.done && chip('done', 'ok'),
      h('span', { class: 'grow' }),
      h('span', { class: 'small muted' }, `step ${s.number} · `, when(s.time)),
    ),
    s.trigger.by &&
      h('div', { class: 'small' }, `by ${s.trigger.by}${s.trigger.reason ? `: ${s.trigger.reason}` : ''}`),
    s.outcomes.map((o) =>
      h(
        'div',
        { class: 'row tight small' },
        chip(o.reply.outcome, outcomeTone[o.reply.outcome]),
        `${o.command} to `,
        link(o.stream),
        o.reply.error && h('span', { class: 'muted' }, o.reply.error.message),
      ),
    ),
    s.effects.map((e) => h('div', { class: 'small effect' }, effect(e))),
    s.waiting.length > 0 && h('div', { class: 'small muted' }, `Then waits for ${s.waiting.join(', ')}`),
    changed.length > 0 &&
      h(
        'details',
        { class: 'small' },
        h(
          'summary',
          null,
          `${changed.length} ${changed.length === 1 ? 'field of its state has' : 'fields of its state have'} changed`,
        ),
        h(
          'ul',
          { class: 'plain changes' },
          changed.map((c) =>
            h(
              'li',
              null,
              h('code', null, c.path),
              c.before !== undefined && h('del', null, brief(c.before, 40)),
              h('span', { 'aria-hidden': 'true' }, '→'),
              h('ins', null, brief(c.after, 40)),
            ),
          ),
        ),
      ),
  );
}

function effect(e) {
  if (e.kind === 'send') return [icon('right'), ' sends ', h('strong', null, e.command), ' to ', link(e.stream)];
  if (e.kind === 'wake') return [icon('clock'), ` sets timer ${e.timer} to `, when(e.at)];
  if (e.kind === 'cancel') return [icon('close'), ` stops timer ${e.timer}`];
  return [icon('check'), ` ${e.kind}`];
}
