// What the domain is, as the system itself tells it: events, commands, queries with their schemas. Pages are made of
// this, so that the console knows no domain.
import { get } from './api.js';
import { chip, words } from './format.js';

let told = null;

// load reads it once.
export async function load() {
  told ??= make(await get('/ops/schemas'));
  return told;
}

export const domain = () => told;

export function forget() {
  told = null;
}

function make({ events, commands, queries }) {
  const aggregates = new Map(); // by collection
  for (const c of commands) {
    if (!aggregates.has(c.collection))
      aggregates.set(c.collection, {
        collection: c.collection,
        category: c.category,
        title: words(c.collection),
        exampleId: c.exampleId,
        commands: [],
      });
    aggregates.get(c.collection).commands.push(c);
  }
  const byCategory = new Map([...aggregates.values()].map((a) => [a.category, a]));

  // A field of the name that stands in /orders/{orderId} names an order wherever it stands.
  const references = new Map();
  for (const a of aggregates.values()) references.set(`${a.category}Id`, a.collection);
  for (const q of queries) {
    const [, collection, field] = q.path.match(/^\/([\w-]+)\/\{(\w+)\}$/) ?? [];
    if (aggregates.has(collection) && field !== 'id') references.set(field, collection);
  }

  // A list is a query whose answer has items and whose path asks for nothing; a search is one that wants words.
  const lists = new Map();
  for (const q of queries) {
    const items = q.result.properties?.items?.items?.properties;
    if (!items || q.path.includes('{')) continue;
    const search = q.params.required?.includes('q') ?? false;
    const a = aggregates.get(q.path.split('/').at(-1)); // /orders, /search/orders
    const key = a ? a.collection : q.name;
    if (!lists.has(key))
      lists.set(key, { key, title: a ? a.title : words(q.name), aggregate: a ?? null, list: null, search: null });
    lists.get(key)[search ? 'search' : 'list'] ??= q;
  }
  const order = [...aggregates.keys()];
  const place = (l) => (l.aggregate ? order.indexOf(l.key) : order.length);
  // A word such as a status has a colour by its place among its likes; what it means, only the domain knows.
  const statuses = new Map();
  for (const q of queries) {
    for (const s of Object.values(q.result.properties?.items?.items?.properties ?? q.result.properties ?? {})) {
      s.enum?.forEach(
        (word, i) =>
          statuses.has(word) || statuses.set(word, ['info', 'accent', 'violet', 'ok', 'rose', 'warn'][i % 6]),
      );
    }
  }
  const tones = ['accent', 'warn', 'ok', 'info', 'violet', 'rose'];
  return {
    statuses,
    toneOf: (category) => tones[Math.max(0, [...byCategory.keys()].indexOf(category)) % tones.length],
    aggregates,
    byCategory,
    references,
    commands,
    lists: [...lists.values()].sort((a, b) => place(a) - place(b)),
    eventTypes: events.map((e) => e.type).sort(),
  };
}

// place is the page of an aggregate; null for one of a category that is not known.
export function place(collection, id, more = '') {
  return `/console/aggregates/${encodeURIComponent(collection)}/${encodeURIComponent(id)}${more}`;
}

// status is a word of the domain.
export const status = (word) => chip(word, told?.statuses.get(word) ?? 'info');

// streamTone is the colour of a stream's category.
export const streamTone = (stream) => told?.toneOf(stream.split('/')[0]) ?? '';

export function placeOf(stream, more = '') {
  const [category, id] = stream.split('/');
  const a = told?.byCategory.get(category);
  return a ? place(a.collection, id, more) : null;
}

// reference is where a field's value leads to; null: nowhere.
export function reference(field, value) {
  const collection = told?.references.get(field);
  return collection && typeof value === 'string' && /^[\w-]{1,64}$/.test(value) ? place(collection, value) : null;
}
