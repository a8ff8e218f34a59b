// Sending a command: a form made of its JSON Schema, and the answer.
import { post, url, Problem } from './api.js';
import { h, icon, put } from './dom.js';
import { domain, place as placeAggregate } from './domain.js';
import { chip, count, outcomeTone } from './format.js';
import { build, place } from './form.js';
import { button, card, facts, field, head, notice, select } from './parts.js';

export async function command({ root, params, query, title, go }) {
  const a = domain().aggregates.get(params.collection);
  const c = a?.commands.find((other) => other.type === params.command);
  if (!c) throw new Error(`${params.collection} have no command ${params.command}.`);
  title(c.type);
  const operation = c.internal ? 'command.internal' : 'command.send';
  const form = build(c.schema);
  const id = h('input', {
    value: query.get('id') ?? '',
    required: true,
    spellcheck: 'false',
    autocomplete: 'off',
    placeholder: a.exampleId,
  });
  const expected = h('input', { inputmode: 'numeric', autocomplete: 'off', placeholder: 'any' });
  const summary = h('div');
  const answer = h('div', { 'aria-live': 'polite' });
  let key = newKey();

  const go_ = button(`Send ${c.type}`, { style: 'main', operation, target: a.category });
  go_.type = 'submit';
  const others = select(
    a.commands.map((o) => [o.type, o.internal ? `${o.type} (sagas send it)` : o.type]),
    c.type,
    {
      'aria-label': 'Command',
      onchange: (e) => go(`/console/send/${a.collection}/${e.target.value}?id=${encodeURIComponent(id.value)}`),
    },
  );
  const el = h(
    'form',
    { class: 'stack', novalidate: true },
    h(
      'div',
      { class: 'schema' },
      field([`ID of the ${a.category}`, h('span', { class: 'must', title: 'required' }, '*')], id, {
        hint: 'letters, digits, - and _',
      }),
      field('Expected version', expected, { hint: 'refused when it is another by then' }),
    ),
    form.el,
    summary,
    h(
      'div',
      { class: 'actions' },
      go_,
      button('Fill in the example', {
        onclick: () => {
          form.fill(c.example);
          id.value ||= fresh(a);
        },
      }),
      button('Clear', {
        onclick: () => {
          form.fill(undefined);
          clear();
        },
      }),
    ),
  );
  el.addEventListener('input', () => {
    key = newKey();
  }); // another body is another command; the same sent again is the same
  el.addEventListener('submit', async (e) => {
    e.preventDefault();
    if (go_.getAttribute('aria-disabled') === 'true') return;
    await send();
  });
  put(
    root,
    head({
      title: c.type,
      crumbs: [
        [a.title, `/console/data/${a.collection}`],
        ...(query.get('id')
          ? [[`${a.category}/${query.get('id')}`, placeAggregate(a.collection, query.get('id'))]]
          : []),
      ],
      actions: [h('label', { class: 'row tight small muted' }, 'Command', others)],
    }),
    h('div', { class: 'columns lean' }, card('Command', el), h('div', { class: 'sticky' }, card('Answer', answer))),
  );
  put(answer, h('p', { class: 'muted' }, 'Not sent yet.'));

  function clear() {
    form.clear();
    id.removeAttribute('aria-invalid');
    put(summary);
  }

  async function send() {
    clear();
    const faults = [];
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(id.value.trim())) {
      id.setAttribute('aria-invalid', 'true');
      faults.push({ message: 'The ID must be 1 to 64 letters, digits, - or _' });
    }
    const value = form.read(faults, '');
    if (faults.length > 0) {
      blame(faults);
      return;
    }
    go_.disabled = true;
    try {
      const version = expected.value.trim();
      const reply = await post(url(c.path, { id: id.value.trim() }), value, {
        headers: { 'Idempotency-Key': key, ...(version ? { 'If-Match': `"${version}"` } : {}) },
      });
      put(answer, replied(reply, a, id.value.trim()));
    } catch (err) {
      if (!(err instanceof Problem)) throw err;
      put(answer, err.body?.outcome ? replied(err.body, a, id.value.trim()) : notice('bad', err.message));
      blame(err.faults.length > 0 ? err.faults : [{ message: err.message }]);
    } finally {
      go_.disabled = false;
    }
  }

  // blame puts what is wrong at its fields, and on top of the button when it has none.
  function blame(faults) {
    const placed = faults.filter((f) => f.pointer);
    const first = place(form, placed);
    const bare = faults.filter((f) => !f.pointer);
    put(
      summary,
      notice(
        'bad',
        bare.length > 0
          ? bare.map((f) => h('p', null, f.message))
          : `${faults.length === 1 ? 'One field needs' : `${faults.length} fields need`} another look.`,
      ),
    );
    if (id.getAttribute('aria-invalid')) id.focus();
    else first?.focus?.();
  }
}

const newKey = () => `console-${crypto.getRandomValues(new Uint32Array(3)).join('-')}`;

// fresh is an id that none has, for something new.
const fresh = (a) => `${a.exampleId.split('-')[0]}-${Date.now().toString(36)}`;

function replied(reply, a, id) {
  return h(
    'div',
    { class: 'stack reply' },
    h(
      'div',
      { class: 'row' },
      chip(reply.outcome, outcomeTone[reply.outcome]),
      h('a', { class: 'strong', href: placeAggregate(a.collection, id) }, `${a.category}/${id}`),
    ),
    reply.error && h('p', null, h('code', null, reply.error.code), ` ${reply.error.message}`),
    facts([
      reply.version > 0 && ['Version', count(reply.version)],
      reply.revision > 0 && ['Revision', count(reply.revision)],
      reply.durability && ['Durability', reply.durability],
      ['Command ID', h('code', null, reply.commandId)],
    ]),
    reply.outcome === 'accepted' &&
      h(
        'div',
        { class: 'row' },
        h('a', { class: 'button main', href: placeAggregate(a.collection, id) }, icon('box'), 'See it'),
        h(
          'a',
          { class: 'button', href: `/console/trace/${encodeURIComponent(reply.commandId)}` },
          icon('trace'),
          'Follow what it leads to',
        ),
      ),
  );
}
