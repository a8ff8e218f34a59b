// A form for any JSON Schema that the doors show: objects, lists, choices, numbers as text. read() gives the value,
// blame() places the server's faults at the fields that their JSON pointers name.
import { h, icon, put, uid } from './dom.js';
import { isNumber, plain, words } from './format.js';

// build makes a form's node: {el, read, fill, blame, clear, focus}. read throws nothing: fields that cannot be read
// are added to faults, as {pointer, message}.
export function build(schema, { name = '', required = true } = {}) {
  const type = [schema.type].flat().find((t) => t !== 'null');
  if (type === 'object' && schema.properties) return object(schema, name, required);
  if (type === 'array' && schema.items) return list(schema, name, required);
  return single(schema, type, name, required);
}

const token = (key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`;
const untoken = (part) => part.replaceAll('~1', '/').replaceAll('~0', '~');

function object(schema, name, required) {
  const must = new Set(schema.required ?? []);
  const children = Object.entries(schema.properties).map(([key, s]) => [
    key,
    build(s, { name: key, required: must.has(key) }),
  ]);
  const fields = h(
    'div',
    { class: 'schema' },
    children.map(([, c]) => c.el),
  );
  const said = h('p', { class: 'fault' });
  const node = {
    read(faults, pointer = '') {
      const value = {};
      for (const [key, c] of children) {
        const v = c.read(faults, pointer + token(key));
        if (v !== undefined) value[key] = v;
      }
      return value;
    },
    fill(value) {
      for (const [key, c] of children) c.fill(value?.[key]);
    },
    blame(path, message) {
      const child = children.find(([key]) => key === path[0]);
      if (child) return child[1].blame(path.slice(1), message);
      put(said, message);
      return fields;
    },
    clear() {
      put(said);
      for (const [, c] of children) c.clear();
    },
  };
  if (name === '') return { ...node, el: h('div', null, fields, said) };
  return group(node, schema, name, required, [fields, said]);
}

// group frames an object or a list; an optional one is there only once it is added.
function group(node, schema, name, required, body) {
  const title = [words(name), required && h('span', { class: 'must', title: 'required' }, '*')];
  const hint = schema.description && h('p', { class: 'hint small muted' }, schema.description);
  const inner = h('div', { class: 'stack' }, hint, body);
  if (required) return { ...node, el: h('fieldset', { class: 'group whole' }, h('legend', null, title), inner) };
  const there = h('input', { type: 'checkbox', id: uid('there'), onchange: () => show(there.checked) });
  const show = (yes) => {
    there.checked = yes;
    inner.hidden = !yes;
  };
  show(false);
  return {
    ...node,
    el: h(
      'fieldset',
      { class: 'group whole' },
      h('legend', null, h('label', { class: 'row tight', for: there.id }, there, title)),
      inner,
    ),
    read: (faults, pointer) => (there.checked ? node.read(faults, pointer) : undefined),
    fill(value) {
      show(value !== undefined);
      node.fill(value);
    },
    blame(path, message) {
      show(true);
      return node.blame(path, message);
    },
  };
}

function list(schema, name, required) {
  let entries = [];
  const holder = h('div', { class: 'entries' });
  const said = h('p', { class: 'fault' });
  const least = required ? (schema.minItems ?? 0) : 0;
  const most = schema.maxItems ?? Infinity;
  const one = words(name).replace(/ies$/, 'y').replace(/s$/, '').toLowerCase();
  const more = h(
    'button',
    { type: 'button', class: 'small', onclick: () => add(undefined, true) },
    icon('plus'),
    `Add ${one}`,
  );
  function add(value, focus) {
    const child = build(schema.items, { name: '', required: true });
    child.fill(value);
    const entry = { child };
    entry.el = h(
      'div',
      { class: 'entry', role: 'group' },
      child.el,
      h(
        'button',
        {
          type: 'button',
          class: 'quiet square small',
          'aria-label': `Remove ${one}`,
          title: `Remove ${one}`,
          onclick() {
            entries = entries.filter((other) => other !== entry);
            entry.el.remove();
            number();
            more.focus();
          },
        },
        icon('close'),
      ),
    );
    entries.push(entry);
    holder.append(entry.el);
    number();
    if (focus) entry.el.querySelector('input, select, textarea')?.focus();
  }
  function number() {
    entries.forEach((e, i) => {
      e.el.setAttribute('aria-label', `${one} ${i + 1}`);
      e.el.lastChild.disabled = entries.length <= least;
    });
    more.disabled = entries.length >= most;
  }
  function fill(values) {
    entries = [];
    put(holder);
    for (const v of values ?? []) add(v, false);
    while (entries.length < least) add(undefined, false);
  }
  fill();
  const node = {
    fill,
    read: (faults, pointer) =>
      entries.length === 0 && !required ? undefined : entries.map((e, i) => e.child.read(faults, pointer + token(i))),
    blame(path, message) {
      const entry = entries[Number(path[0])];
      if (entry) return entry.child.blame(path.slice(1), message);
      put(said, message);
      return more;
    },
    clear() {
      put(said);
      for (const e of entries) e.child.clear();
    },
  };
  return group(node, schema, name, required, [holder, h('div', null, more), said]);
}

function single(schema, type, name, required) {
  const kind = schema.enum ? choice(schema, required) : (kinds[type]?.(schema, required) ?? anything());
  const id = uid('in');
  const { input } = kind;
  const said = h('span', { class: 'fault', id: `${id}-fault` });
  const hint = hintOf(schema, kind);
  input.id = id;
  if (required) input.setAttribute('aria-required', 'true');
  input.setAttribute('aria-describedby', `${hint ? `${id}-hint ` : ''}${id}-fault`);
  if (name === '') input.setAttribute('aria-label', 'Value');
  const clear = () => {
    put(said);
    input.removeAttribute('aria-invalid');
  };
  const blame = (_, message) => {
    put(said, message);
    input.setAttribute('aria-invalid', 'true');
    return input;
  };
  input.addEventListener('input', clear);
  return {
    el: h(
      'div',
      { class: `field ${kind.whole ? 'whole' : ''}` },
      name !== '' &&
        h('label', { for: id }, words(name), required && h('span', { class: 'must', title: 'required' }, '*')),
      input,
      hint && h('span', { class: 'hint', id: `${id}-hint` }, hint),
      said,
    ),
    read(faults, pointer) {
      const text = input.value;
      if (text.trim() === '' && type !== 'boolean') {
        if (!required) return undefined;
        if (type !== 'string' || schema.enum || schema.minLength > 0 || schema.pattern) {
          faults.push({ pointer, message: 'is required' });
          return undefined;
        }
      }
      const { value, problem } = kind.read(text);
      if (problem) faults.push({ pointer, message: problem });
      return value;
    },
    fill: (value) => kind.fill(value),
    blame,
    clear,
  };
}

function hintOf(schema, kind) {
  const parts = [schema.description, kind.hint];
  if (!schema.description && schema.examples?.length && !schema.enum)
    parts.push(`for example ${plain(schema.examples[0])}`);
  return parts.filter(Boolean).join(' · ');
}

const text = (props) => {
  const input = h('input', { type: 'text', autocomplete: 'off', ...props });
  return {
    input,
    fill: (v) => {
      input.value = v === undefined || v === null ? '' : isNumber(v) ? plain(v) : String(v);
    },
  };
};

function choice(schema, required) {
  const input = h(
    'select',
    null,
    h('option', { value: '' }, required ? 'Choose …' : '—'),
    schema.enum.map((v, i) => h('option', { value: String(i) }, String(v))),
  );
  return {
    input,
    read: (v) => (v === '' ? {} : { value: schema.enum[Number(v)] }),
    fill: (v) => {
      input.value = schema.enum.includes(v) ? String(schema.enum.indexOf(v)) : '';
    },
  };
}

const kinds = {
  string(schema) {
    if (schema.format === 'date-time') return moment();
    if (schema.format === 'date') return { ...text({ type: 'date' }), read: (v) => ({ value: v }) };
    const long = (schema.maxLength ?? 0) > 300;
    const t = long ? { ...anything(), hint: '' } : text({ spellcheck: 'false' });
    return { ...t, whole: long, read: (v) => ({ value: v }) };
  },
  // Numbers are sent as they were typed: a float would change some.
  number: () => ({
    ...text({ inputmode: 'decimal' }),
    read: (v) => number(v, /^-?(0|[1-9]\d*)(\.\d+)?$/, 'must be a number like 19.99'),
  }),
  integer: () => ({
    ...text({ inputmode: 'numeric' }),
    read: (v) => number(v, /^-?(0|[1-9]\d*)$/, 'must be a whole number'),
  }),
  boolean(_, required) {
    const input = h(
      'select',
      null,
      !required && h('option', { value: '' }, '—'),
      h('option', { value: 'false' }, 'no'),
      h('option', { value: 'true' }, 'yes'),
    );
    return {
      input,
      read: (v) => ({ value: v === '' ? undefined : v === 'true' }),
      fill: (v) => {
        input.value = v === undefined ? (required ? 'false' : '') : String(v);
      },
    };
  },
};

function number(value, pattern, problem) {
  const v = value.trim();
  return pattern.test(v) ? { value: JSON.rawJSON(v) } : { problem };
}

// moment is a time in the zone of the one who types it.
function moment() {
  const input = h('input', { type: 'datetime-local', step: 1 });
  const local = (t) => new Date(t.getTime() - t.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  return {
    input,
    read(v) {
      const t = new Date(v);
      return Number.isNaN(t.getTime()) ? { problem: 'must be a date and a time' } : { value: t.toISOString() };
    },
    fill: (v) => {
      input.value = v ? local(new Date(v)) : '';
    },
  };
}

// anything is JSON as text, for what has no field of its own.
function anything() {
  const input = h('textarea', { class: 'code', rows: 4, spellcheck: 'false' });
  return {
    input,
    whole: true,
    hint: 'as JSON',
    read(v) {
      try {
        JSON.parse(v);
        return { value: JSON.parse(v, (_, x, at) => (typeof x === 'number' ? JSON.rawJSON(at.source) : x)) };
      } catch {
        return { problem: 'must be JSON' };
      }
    },
    fill: (v) => {
      input.value = v === undefined ? '' : typeof v === 'string' ? v : JSON.stringify(v, null, 2);
    },
  };
}

// place puts faults at their fields and returns the first field, with the faults that none has taken.
export function place(form, faults) {
  let first = null;
  for (const f of faults) {
    const field = form.blame((f.pointer ?? '').split('/').slice(1).map(untoken), f.message);
    first ??= field;
  }
  return first;
}
