// A list of the domain: every collection or report that a query lists, with its search and its filters.
import { get, url } from './api.js';
import { h, icon, pressing, put, selecting } from './dom.js';
import { domain, place, reference, status } from './domain.js';
import { follow } from './follow.js';
import { isNumber, amount, isObject, plain, when, words } from './format.js';
import { brief } from './json.js';
import { empty, field, head, loading, notice, pager, pageSize, select, table } from './parts.js';
import { mend } from './rows.js';
import { denied } from './who.js';

const paging = new Set(['cursor', 'limit', 'q']);
const unshown = new Set(['version', 'revision', 'score']);

export async function list({ root, params, query, signal, title, remember }) {
  const l = domain().lists.find((other) => other.key === params.list);
  if (!l) throw new Error(`There is no list ${params.list}.`);
  title(l.title);
  const filters = Object.entries(l.list?.params.properties ?? {}).filter(([name]) => !paging.has(name));
  const words_ =
    l.search &&
    h('input', {
      type: 'search',
      value: query.get('q') ?? '',
      placeholder: l.search.params.properties.q.examples?.[0] ?? '',
      spellcheck: 'false',
      autocomplete: 'off',
    });
  const inputs = filters.map(([name, schema]) => [name, input(schema, query.get(name) ?? ''), schema.description]);
  const found = h('div', { class: 'moving' });
  const said = h('div');
  const more = pager((cursor) => read(cursor));
  const newer = h(
    'div',
    { class: 'newer', role: 'status', hidden: true },
    'There is something newer.',
    h('button', { type: 'button', class: 'small', onclick: () => top() }, icon('again'), 'Show it'),
  );
  let items = [];
  let pages = 0; // shown
  let turning = false; // another is on its way
  let asked = null; // {of: the query, by: its parameters, typed: as they stand in the fields}

  const form = h(
    'form',
    {
      class: 'filters',
      role: 'search',
      'aria-label': `Which ${l.title.toLowerCase()}`,
      onsubmit: (e) => {
        e.preventDefault();
        apply();
      },
    },
    words_ && field('Search', words_, { wide: true }),
    inputs.map(([name, i, hint]) => field(words(name), i, { hint })),
    h('button', { type: 'submit' }, icon('search'), 'Show'),
  );
  for (const [, i] of inputs) if (i.tagName === 'SELECT') i.addEventListener('change', () => apply());
  const begin = l.aggregate?.commands.filter((c) => !c.internal) ?? [];
  put(
    root,
    head({
      title: l.title,
      sub: (l.list ?? l.search).summary,
      actions: begin.length > 0 && [send(l.aggregate, begin[0])],
    }),
    h(
      'div',
      { class: 'stack' },
      (words_ || inputs.length > 0) && h('div', { class: 'card' }, h('div', { class: 'inside' }, form)),
      said,
      h('section', { class: 'card', 'aria-label': l.title }, found, more.el, newer),
    ),
  );
  const pressed = pressing(found, signal);
  await fresh();
  follow(signal, anew, (err) => put(said, err && behind(err)));

  async function apply() {
    remember({
      ...(words_ ? { q: words_.value.trim() } : {}),
      ...Object.fromEntries(inputs.map(([name, i]) => [name, i.value])),
    });
    try {
      await fresh();
    } catch (err) {
      if (!signal.aborted) put(found, h('div', { class: 'inside' }, notice('bad', err.message)));
    }
  }

  async function fresh() {
    items = [];
    pages = 0;
    put(found, loading());
    more.set('');
    newer.hidden = true;
    const q = words_?.value.trim() ?? '';
    const by = Object.fromEntries(
      inputs.map(([name, i]) => [
        name,
        i.type === 'datetime-local' && i.value ? new Date(i.value).toISOString() : i.value,
      ]),
    );
    asked = { ...(q !== '' || !l.list ? { of: l.search, by: { q } } : { of: l.list, by }), typed: typed() };
    for (const [, i] of inputs) i.disabled = asked.of === l.search;
    await read('');
  }

  function typed() {
    return [words_, ...inputs.map(([, i]) => i)].map((i) => i?.value ?? '').join('\n');
  }

  function ask(more, options) {
    return get(url(asked.of.path, {}, { ...asked.by, limit: pageSize, ...more }), { ...options, signal });
  }

  async function read(cursor) {
    if (!l.list && asked.by.q === '') {
      put(found, empty('search', 'Search', 'Type what is looked for.'));
      return;
    }
    const mine = asked;
    turning = true;
    try {
      const answer = await ask({ cursor });
      if (mine !== asked) return;
      items = [...items, ...answer.items];
      pages++;
      more.set(answer.nextCursor);
      put(found, shown());
    } finally {
      if (mine === asked) turning = false;
    }
  }

  function shown() {
    if (items.length > 0) return table(l.title, columns(l, asked.of, items), items);
    return empty(
      'box',
      `No ${l.title.toLowerCase()} here`,
      Object.values(asked.by).some(Boolean)
        ? 'Nothing matches what is asked for.'
        : 'They show here once there are some.',
    );
  }

  // busy: what is shown must stay as it is for now.
  function busy() {
    const typing = form.contains(document.activeElement) && typed() !== asked.typed;
    return pages === 0 || turning || typing || pressed() || selecting(found);
  }

  // anew shows what has changed up to a revision; false: it is busy. Somebody who has turned pages is told instead, as
  // far as one answer can hold what is shown.
  async function anew(revision) {
    if (busy()) return false;
    const mine = asked;
    const turned = pages > 1;
    const most = asked.of.params.properties.limit?.maximum ?? pageSize;
    const limit = turned ? Math.min(items.length, most) : pageSize;
    let late = null;
    const answer = await ask({ limit }, { headers: { 'Millstream-Revision': revision } }).catch((err) => {
      if (err.code !== 'revision_not_reached') throw err;
      late = err;
      return ask({ limit });
    });
    if (mine !== asked || turned !== pages > 1 || busy()) return false;
    const changed = visible(answer.items) !== visible(items.slice(0, limit));
    if (turned) newer.hidden = !changed;
    else {
      items = answer.items;
      more.set(answer.nextCursor);
      if (changed) items.length > 0 ? mend(found, shown()) : put(found, shown());
    }
    if (late) throw late; // what there is shows, and it is asked again for the rest
    return true;
  }

  function behind(err) {
    const { projector } = asked.of;
    return err.code === 'revision_not_reached'
      ? notice(
          'warn',
          'This is behind what has happened: its read model ',
          h('a', { href: `/console/projections/${encodeURIComponent(projector)}` }, projector),
          ' has yet to take it up.',
        )
      : notice('bad', err.message);
  }

  async function top() {
    root.querySelector('h1').focus({ preventScroll: true }); // the button goes
    scrollTo(0, 0);
    await apply();
  }
}

// visible is what can be seen of items.
const visible = (items) => JSON.stringify(items, (name, v) => (unshown.has(name) ? undefined : v));

function send(a, c) {
  const no = denied('command.send', a.category);
  return no
    ? h(
        'button',
        { type: 'button', 'aria-disabled': 'true', title: no },
        icon('plus'),
        words(c.type),
        h('span', { class: 'unseen' }, ` ${no}`),
      )
    : h(
        'a',
        { class: 'button main', href: `/console/send/${a.collection}/${c.type}`, 'data-key': 'n' },
        icon('plus'),
        words(c.type),
      );
}

function input(schema, value) {
  if (schema.enum) return select([['', 'any'], ...schema.enum.map((v) => [v, v])], value);
  if (schema.format === 'date-time') return h('input', { type: 'datetime-local', value });
  if (schema.format === 'date') return h('input', { type: 'date', value });
  return h('input', {
    value,
    autocomplete: 'off',
    spellcheck: 'false',
    inputmode: ['integer', 'number'].includes(schema.type) ? 'decimal' : null,
  });
}

// columns are the fields of the answer's items that fit into a cell; amounts stand with their currency.
function columns(l, q, items) {
  const properties = q.result.properties.items.items.properties;
  const names = Object.keys(properties).filter(
    (n) => !unshown.has(n) && !(n === 'currency' && amounts(properties).length > 0),
  );
  const id = l.aggregate && names.find((n) => n === 'id' || domain().references.get(n) === l.aggregate.collection);
  const shown = names.filter(
    (n) =>
      properties[n].type !== 'object' && (properties[n].type !== 'array' || properties[n].items?.type === 'string'),
  );
  // What says nothing leaves its place to others: a field that is empty throughout, a text that is the one before again.
  const texts = shown.filter((n) => properties[n].type === 'string' && !properties[n].format && !properties[n].enum);
  const again = (n) =>
    texts.slice(0, Math.max(0, texts.indexOf(n))).some((m) => items.every((item) => item[n] === item[m]));
  const telling = shown.filter(
    (n) => n === id || !(again(n) || items.every((item) => nothing(item[n], properties[n]))),
  );
  return telling.slice(0, 9).map((name) => {
    const s = properties[name];
    const number = s.type === 'number' || s.type === 'integer';
    return {
      name: words(name),
      number,
      id: name === id,
      cell: (item) => cell(name, item[name], item, s, name === id ? l.aggregate : null),
    };
  });
}

const amounts = (properties) => Object.keys(properties).filter((n) => properties[n].type === 'number');

const nothing = (value, { format }) =>
  value === undefined ||
  value === null ||
  value === '' ||
  (format === 'date-time' && String(value).startsWith('0001-'));

function cell(name, value, item, schema, aggregate) {
  if (nothing(value, schema)) return null;
  if (aggregate) return h('a', { class: 'strong', href: place(aggregate.collection, value) }, value);
  if (schema.enum) return status(String(value));
  if (schema.format === 'date-time') return when(value);
  if (schema.type === 'number' && item.currency) return `${amount(value, item.currency)} ${item.currency}`;
  if (isNumber(value)) return plain(value);
  if (Array.isArray(value)) return value.map((v, i) => [i > 0 && ', ', v]);
  if (isObject(value)) return brief(value, 60);
  const to = reference(name, value);
  return to ? h('a', { href: to }, value) : String(value);
}
