// How values are written.
import { h } from './dom.js';

// JSON numbers keep their text where a float would change it: 19.90 stays 19.90.
export function decode(text) {
  return JSON.parse(text, (_, v, at) =>
    typeof v === 'number' && at.source !== String(v) ? JSON.rawJSON(at.source) : v,
  );
}

export const isNumber = (v) => typeof v === 'number' || JSON.isRawJSON(v);
export const isObject = (v) => typeof v === 'object' && v !== null && !JSON.isRawJSON(v);
export const plain = (v) => (JSON.isRawJSON(v) ? v.rawJSON : String(v));

// canKeepNumbers: browsers before 2025 may not.
export const canKeepNumbers = () => typeof JSON.rawJSON === 'function' && decode('1.50') !== 1.5;

// amount writes a decimal with at least the digits of its currency, and none less than it has.
export function amount(value, currency) {
  const text = plain(value);
  let digits = 0;
  try {
    digits = new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().minimumFractionDigits;
  } catch {
    return text; // no currency that the browser knows
  }
  if (!/^-?\d+(\.\d+)?$/.test(text)) return text;
  const [whole, part = ''] = text.split('.');
  return digits > 0 || part !== '' ? `${whole}.${part.padEnd(digits, '0')}` : whole;
}

export function count(n) {
  return Number(n).toLocaleString('en');
}

// rate writes a number a person compares, such as 7.5 or 1,240.
export function rate(n) {
  const digits = n === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return n.toLocaleString('en', { maximumFractionDigits: digits });
}

// span writes seconds as a person says them.
export function span(seconds) {
  const s = Math.abs(seconds);
  if (s < 0.0000005) return '0 s';
  if (s < 0.001) return `${(s * 1e6).toFixed(0)} µs`;
  if (s < 1) return `${(s * 1e3).toFixed(s < 0.01 ? 1 : 0)} ms`;
  if (s < 10 && s % 1 !== 0) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const [d, hh, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 0) return hh > 0 ? `${d} d ${hh} h` : `${d} d`;
  if (hh > 0) return m > 0 ? `${hh} h ${m} min` : `${hh} h`;
  return Math.floor(s % 60) > 0 && m < 10 ? `${m} min ${Math.floor(s % 60)} s` : `${m} min`;
}

const two = (n) => String(n).padStart(2, '0');
const day = (t) => `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
const clockText = (t) => `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;

// when writes a time of the log: the time of day, with the day when that is another one. The whole stands in its title.
export function when(text) {
  const t = new Date(text);
  if (Number.isNaN(t.getTime())) return h('span', null, text ?? '');
  const shown = day(t) === day(new Date()) ? clockText(t) : `${day(t)} ${clockText(t)}`;
  return h('time', { datetime: text, title: text, class: 'nowrap' }, shown);
}

// ago writes a time and how long it has passed, or how long it is until then.
export function ago(text) {
  const seconds = (Date.now() - new Date(text).getTime()) / 1000;
  if (Math.abs(seconds) < 1) return 'just now';
  return seconds >= 0 ? `${span(Math.floor(seconds))} ago` : `in ${span(Math.ceil(-seconds))}`;
}

// lasting writes how long something has been so.
export const lasting = (text) => span(Math.max(1, Math.floor((Date.now() - new Date(text).getTime()) / 1000)));

// words makes a title of a name: dailySales → Daily sales, first-name → First name.
export function words(name) {
  const text = name
    .replace(/[_-]+/g, ' ')
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/\bId\b/g, 'ID')
    .trim();
  const lower = text
    .split(' ')
    .map((w, i) =>
      w === w.toUpperCase() && w.length > 1
        ? w
        : i === 0
          ? w[0].toUpperCase() + w.slice(1).toLowerCase()
          : w.toLowerCase(),
    );
  return lower.join(' ');
}

export const chip = (text, kind = '') => h('span', { class: `chip ${kind}` }, text);
export const dot = (kind) => h('span', { class: `dot ${kind}`, 'aria-hidden': 'true' });

// The colours of what the engine says.
export const stateTone = {
  running: 'ok',
  building: 'info',
  paused: 'warn',
  halted: 'bad',
  open: 'info',
  done: 'ok',
  stuck: 'bad',
  parked: 'bad',
  waiting: 'warn',
  retried: 'ok',
  resent: 'ok',
  dropped: '',
};
export const outcomeTone = {
  accepted: 'ok',
  unchanged: 'info',
  rejected: 'warn',
  conflict: 'warn',
  invalid: 'bad',
  unknown: 'bad',
  failed: 'bad',
};
