// Read models: how far each is, and what operators can do about them.
import { get, post, url } from './api.js';
import { h, put, refresh } from './dom.js';
import { ago, chip, count, lasting, span, stateTone, when } from './format.js';
import { ask, button, card, empty, every, facts, head, loading, notice, table, toast } from './parts.js';

const lag = (p) =>
  p.lag === 0 ? 'up to date' : h('span', { class: 'nowrap' }, `${count(p.lag)} commits, ${span(p.lagSeconds)}`);

export async function projections({ root, signal, title }) {
  title('Projections');
  const found = h('div', null, loading());
  const said = h('div');
  put(
    root,
    head({
      title: 'Projections',
      sub: 'Each read model follows the log by itself. One that cannot go on halts and says so; the others go on.',
    }),
    h('div', { class: 'stack' }, said, h('section', { class: 'card', 'aria-label': 'Projections' }, found)),
  );
  await look();
  every(2000, signal, look, (err) => put(said, err && notice('bad', err.message)));

  async function look() {
    const { items } = await get('/ops/projections', { signal });
    if (items.length === 0) put(found, empty('layers', 'No projections here', 'No running node builds read models.'));
    else refresh(found, table('Projections, by node', columns(items), items));
  }
}

function columns(items) {
  const nodes = new Set(items.map((p) => p.node));
  return [
    {
      name: 'Name',
      cell: (p) => h('a', { class: 'strong', href: `/console/projections/${encodeURIComponent(p.name)}` }, p.name),
    },
    nodes.size > 1 && { name: 'Node', id: true, cell: (p) => p.node },
    { name: 'State', cell: (p) => chip(p.state, stateTone[p.state]) },
    { name: 'Behind', cell: (p) => lag(p) },
    { name: 'Revision', number: true, cell: (p) => `${count(p.revision)} of ${count(p.last)}` },
    { name: 'Serves', id: true, cell: (p) => p.serving || 'none yet' },
    { name: 'Under way', cell: (p) => p.work?.map(work) },
    { name: 'Error', cell: (p) => p.error && h('span', { class: 'bad-text' }, p.error) },
  ].filter(Boolean);
}

function work(w) {
  const share = w.total > 0 ? w.done / w.total : 0;
  const left = w.leftSeconds > 0 ? `, ${span(w.leftSeconds)} left` : '';
  const label = `${w.kind === 'rebuild' ? 'Rebuilding' : 'Verifying'} for ${lasting(w.since)}, by ${w.by}`;
  return h(
    'div',
    { class: 'work' },
    h(
      'div',
      { class: 'row tight small' },
      h('span', { class: 'grow' }, label),
      h('span', { class: 'muted' }, `${Math.floor(share * 100)} %${left}`),
    ),
    h('progress', {
      max: Math.max(1, w.total),
      value: w.done,
      'aria-label': `${w.kind}: ${Math.floor(share * 100)} %`,
    }),
  );
}

export async function projection({ root, params, signal, title }) {
  const { name } = params;
  title(`Projection ${name}`);
  const path = url('/ops/projections/{name}', { name });
  const chips = h('span', { class: 'row tight' });
  const actions = h('div', { class: 'actions' });
  const said = h('div');
  const nodes = h('div', { class: 'stack' });
  const done = h('div', null, loading());
  let shown = '';
  put(
    root,
    head({ title: name, crumbs: [['Projections', '/console/projections']], chips, actions: [actions] }),
    h('div', { class: 'stack' }, said, nodes, card('What was done to it', done, { flush: true })),
  );
  await look();
  every(1000, signal, look, (err) => put(said, err && notice('bad', err.message)));

  async function look() {
    const p = await get(path, { signal });
    put(
      chips,
      [...new Set(p.nodes.map((n) => n.state))].map((s) => chip(s, stateTone[s])),
    );
    refresh(nodes, p.nodes.length === 0 ? notice('warn', 'No running node has it.') : p.nodes.map(node));
    refresh(
      done,
      p.actions.length === 0 ? empty('audit', 'Nothing yet', 'Operators have not touched it.') : actionTable(p.actions),
    );
    const state = JSON.stringify(p.nodes.map((n) => [n.state, n.previous, n.haltedAt, n.work?.map((w) => w.kind)]));
    if (state === shown) return;
    shown = state; // buttons stay as they are while nothing changes, so that the focus stays
    put(actions, buttons(p));
  }

  function buttons({ nodes: all }) {
    const some = (state) => all.some((n) => n.state === state);
    const stopped = some('paused') || some('halted');
    const haltedAt = all.find((n) => n.haltedAt)?.haltedAt;
    const busy = all.some((n) => n.work?.length) ? 'Something is under way already.' : '';
    return [
      stopped
        ? button('Resume', {
            style: 'main',
            shape: 'play',
            operation: 'projections.operate',
            target: name,
            onclick: resume,
          })
        : button('Pause', { shape: 'pause', operation: 'projections.operate', target: name, onclick: pause }),
      button('Rebuild', {
        shape: 'again',
        operation: 'projections.operate',
        target: name,
        why: busy,
        onclick: rebuild,
      }),
      button('Verify', { shape: 'check', operation: 'projections.operate', target: name, why: busy, onclick: verify }),
      haltedAt &&
        button('Skip a commit', {
          style: 'danger',
          operation: 'projections.force',
          target: name,
          onclick: () => skip(haltedAt),
        }),
      button('Roll back', {
        style: 'danger',
        operation: 'projections.force',
        target: name,
        why: all.some((n) => n.previous) ? '' : 'There is no earlier model to go back to.',
        onclick: rollback,
      }),
    ];
  }

  function act(verb, body, text) {
    return post(`${path}/${verb}`, body).then(() => {
      toast('ok', text);
      return look();
    });
  }

  function pause() {
    return ask({
      title: `Pause ${name}`,
      act: 'Pause',
      text: 'It stays where it is, also over restarts, until somebody resumes it. Queries go on being answered from what it has.',
      run: (o) => act('pause', o, `${name} is paused.`),
    });
  }

  function resume() {
    return ask({
      title: `Resume ${name}`,
      act: 'Resume',
      text: 'It goes on where it stopped. One that halted tries the same commit again.',
      run: (o) => act('resume', o, `${name} goes on.`),
    });
  }

  function rebuild() {
    return ask({
      title: `Rebuild ${name}`,
      act: 'Rebuild',
      text: 'A new model is built from the whole log beside the one that serves, and takes its place when it has caught up.',
      run: (o) => act('rebuild', o, `${name} is being rebuilt.`),
    });
  }

  function verify() {
    return ask({
      title: `Verify ${name}`,
      act: 'Verify',
      text: 'A model is built anew beside the serving one and compared with it, row by row. Nothing is changed; what differs shows below.',
      run: (o) => act('verify', o, `${name} is being verified.`),
    });
  }

  function rollback() {
    return ask({
      title: `Roll ${name} back`,
      act: 'Roll back',
      danger: true,
      word: name,
      reason: 'required',
      text: 'The model that served before answers again. The one of the program’s own code does not serve by itself until it is rebuilt.',
      run: (o) => act('rollback', o, `${name} is rolled back.`),
    });
  }

  function skip(revision) {
    return ask({
      title: `Leave revision ${revision} out of ${name}`,
      act: 'Skip it for good',
      danger: true,
      word: name,
      reason: 'required',
      text: 'The model will never show this commit, and says so. Mending the code and resuming loses nothing.',
      run: (o) => act('resume', { ...o, skip: revision }, `Revision ${revision} is left out of ${name}.`),
    });
  }
}

function node(n) {
  return card(
    `Node ${n.node}`,
    h(
      'div',
      { class: 'stack' },
      n.error && notice('bad', h('strong', null, `Halted at revision ${count(n.haltedAt)}. `), n.error),
      n.paused &&
        notice(
          'warn',
          h('strong', null, 'Paused '),
          `by ${n.paused.by} ${ago(n.paused.at)}${n.paused.reason ? `: ${n.paused.reason}` : ''}`,
        ),
      n.work?.map(work),
      n.verdict && verdict(n.verdict),
      h(
        'div',
        { class: 'columns' },
        facts([
          ['Behind', lag(n)],
          ['Shows', `revision ${count(n.revision)} of ${count(n.last)}`],
          n.built !== n.revision && ['Built', `up to revision ${count(n.built)}`],
        ]),
        facts([
          ['Serves', h('code', null, n.serving || 'none yet')],
          n.key !== n.serving && ['This program’s', h('code', null, n.key)],
          n.previous && ['Before that', h('code', null, n.previous)],
          n.rejected && ['Gone back from', h('code', null, n.rejected)],
          ['File', h('code', { class: 'small' }, n.file)],
        ]),
      ),
      n.skipped?.length > 0 &&
        table(
          'Commits left out',
          [
            { name: 'Left out', number: true, cell: (s) => count(s.revision) },
            { name: 'When', cell: (s) => when(s.at) },
            { name: 'By', cell: (s) => s.by },
            { name: 'Why', cell: (s) => s.reason },
            { name: 'Error', cell: (s) => s.error },
          ],
          n.skipped,
        ),
    ),
    { actions: chip(n.state, stateTone[n.state]) },
  );
}

const actionTable = (actions) =>
  table(
    'What operators did, newest first',
    [
      { name: 'When', cell: (a) => when(a.time) },
      { name: 'What', cell: (a) => h('span', { class: 'strong' }, a.kind) },
      { name: 'By', cell: (a) => a.by },
      { name: 'Reason', cell: (a) => a.reason },
      { name: 'What came of it', cell: result },
    ],
    actions,
  );

const result = (a) => (a.error ? h('span', { class: 'bad-text' }, a.error) : a.state || 'done');

// verdict is what the last verification found: the rows that are not the same.
function verdict(v) {
  if (!v.diff)
    return notice('ok', `Verified at revision ${count(v.revision)}: no difference to a model built from the log.`);
  return notice(
    'bad',
    h('strong', null, `Differs from a model built from the log up to revision ${count(v.revision)}. `),
    'What serves, against what was rebuilt:',
    h('pre', { class: 'wrap' }, v.diff),
  );
}
