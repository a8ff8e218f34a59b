// JSON to look at: a value as lines, and what differs between two.
import { h } from './dom.js';
import { isNumber, isObject, plain } from './format.js';
import { reference } from './domain.js';

// jsonView shows a value.
export function jsonView(value, label = 'JSON') {
  return view(lines(value), label, false);
}

// jsonDiff shows a value with what has changed since an earlier one.
export function jsonDiff(before, after, label = 'JSON') {
  return view(compare(before, after), label, true);
}

// changes lists what differs, as [{path, before, after}]; undefined is: not there.
export function changes(before, after, path = '') {
  if (isObject(before) && isObject(after) && Array.isArray(before) === Array.isArray(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys].flatMap((k) => changes(before[k], after[k], path === '' ? k : `${path}.${k}`));
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ path, before, after }];
}

// brief writes a value on one line.
export function brief(value, most = 80) {
  if (value === undefined) return '—';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

function view(all, label, marked) {
  return h(
    'div',
    { class: marked ? 'json marked' : 'json', role: 'group', 'aria-label': label },
    all.map((l) =>
      h(
        'span',
        { class: `line ${l.mark}`, style: { '--deep': l.deep } },
        l.mark === 'plus'
          ? h('ins', { class: 'unseen' }, 'added: ')
          : l.mark === 'minus'
            ? h('del', { class: 'unseen' }, 'removed: ')
            : null,
        l.parts,
      ),
    ),
  );
}

const line = (deep, mark, ...parts) => ({ deep, mark, parts });

function lines(value, key, deep = 0, comma = '', mark = '') {
  const name = key === undefined ? [] : [h('span', { class: 'key' }, JSON.stringify(key)), ': '];
  if (!isObject(value)) return [line(deep, mark, ...name, scalar(value, key), comma)];
  const list = Array.isArray(value);
  const entries = Object.entries(value);
  const [open, close] = list ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) return [line(deep, mark, ...name, open + close, comma)];
  return [
    line(deep, mark, ...name, open),
    ...entries.flatMap(([k, v], i) =>
      lines(v, list ? undefined : k, deep + 1, i < entries.length - 1 ? ',' : '', mark),
    ),
    line(deep, mark, close, comma),
  ];
}

function compare(before, after, key, deep = 0, comma = '') {
  if (!isObject(before) || !isObject(after) || Array.isArray(before) !== Array.isArray(after)) {
    if (JSON.stringify(before) === JSON.stringify(after)) return lines(after, key, deep, comma);
    return [
      ...(before === undefined ? [] : lines(before, key, deep, comma, 'minus')),
      ...(after === undefined ? [] : lines(after, key, deep, comma, 'plus')),
    ];
  }
  const list = Array.isArray(after);
  const name = key === undefined ? [] : [h('span', { class: 'key' }, JSON.stringify(key)), ': '];
  const keys = [...new Set([...Object.keys(after), ...Object.keys(before)])];
  if (keys.length === 0) return lines(after, key, deep, comma);
  return [
    line(deep, '', ...name, list ? '[' : '{'),
    ...keys.flatMap((k, i) =>
      compare(before[k], after[k], list ? undefined : k, deep + 1, i < keys.length - 1 ? ',' : ''),
    ),
    line(deep, '', list ? ']' : '}', comma),
  ];
}

function scalar(value, key) {
  if (isNumber(value)) return h('span', { class: 'digits' }, plain(value));
  if (typeof value !== 'string') return h('span', { class: 'word' }, String(value));
  const to = reference(key, value);
  return to ? h('a', { href: to }, JSON.stringify(value)) : h('span', { class: 'text' }, JSON.stringify(value));
}

// pretty writes JSON text with every number as it is.
export const pretty = (value) => JSON.stringify(value, null, 2);
