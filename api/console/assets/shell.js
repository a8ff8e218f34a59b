// What stands around every page: navigation, search, the state of the connection, theme, who is in, shortcuts.
import { figures } from './api.js';
import { h, icon, put } from './dom.js';
import { domain, place } from './domain.js';
import { count, span } from './format.js';
import { live } from './live.js';
import { help, shortcuts } from './keys.js';
import { every, say } from './parts.js';
import { logOut, me } from './who.js';

// frame builds it and keeps it up to date until end.
export function frame(root, { go, leave }) {
  const over = new AbortController();
  const { signal } = over;
  const nav = navigation();
  const main = h('main', { id: 'main', tabindex: -1 });
  const cut = h('div', { class: 'cut', role: 'alert', hidden: true });
  const veil = h('div', { class: 'veil', hidden: true, onclick: () => close() });
  const menu = h(
    'button',
    {
      type: 'button',
      class: 'quiet square menu-button',
      'aria-label': 'Menu',
      'aria-expanded': 'false',
      'aria-controls': 'side',
      onclick: () => open(!nav.el.classList.contains('open')),
    },
    icon('menu'),
  );
  function open(yes) {
    nav.el.classList.toggle('open', yes);
    veil.hidden = !yes;
    menu.setAttribute('aria-expanded', String(yes));
    if (yes) nav.el.querySelector('a')?.focus();
  }
  function close() {
    if (nav.el.classList.contains('open')) open(false);
  }
  nav.el.addEventListener('keydown', (e) => {
    if (e.key !== 'Escape' || !nav.el.classList.contains('open')) return;
    close();
    menu.focus();
  });
  const goto = search(go);
  put(
    root,
    h(
      'div',
      { class: 'shell' },
      nav.el,
      veil,
      h(
        'div',
        { class: 'body' },
        h(
          'header',
          { class: 'bar' },
          menu,
          goto.el,
          h('span', { class: 'grow' }),
          linkState(cut, signal),
          themeButton(),
          h(
            'button',
            {
              type: 'button',
              class: 'quiet square keys',
              'aria-label': 'Keyboard shortcuts',
              title: 'Keyboard shortcuts (?)',
              onclick: help,
            },
            icon('help'),
          ),
          account(leave),
        ),
        cut,
        main,
      ),
    ),
  );
  shortcuts({ go, goto, signal });
  const tell = async () => nav.tell(await figures('/ops/overview', { signal }));
  tell().catch(() => {}); // it is asked again
  every(5000, signal, tell);
  return { main, at: nav.at, tell: nav.tell, close, end: () => over.abort() };
}

function navigation() {
  const items = new Map();
  const item = (key, href, shape, text) => {
    const badge = h('span', { class: 'badge', hidden: true });
    const a = h('a', { class: 'item', href }, icon(shape), h('span', null, text), badge);
    items.set(key, { a, badge });
    return h('li', null, a);
  };
  const lists = domain().lists;
  const data = lists.filter((l) => l.aggregate);
  const reports = lists.filter((l) => !l.aggregate);
  const section = (title, ...links) =>
    links.flat().length === 0 ? null : [h('h2', null, title), h('ul', { class: 'plain' }, links)];
  const foot = h('div', { class: 'foot' });
  const el = h(
    'nav',
    { class: 'side', id: 'side', 'aria-label': 'Pages' },
    h(
      'a',
      { class: 'brand', href: '/console/' },
      h('img', { src: '/console/assets/logo.svg', alt: '', width: 30, height: 30 }),
      h('span', null, 'Millstream', h('span', { class: 'small' }, 'Console')),
    ),
    h(
      'ul',
      { class: 'plain' },
      item('overview', '/console/', 'overview', 'Overview'),
      item('events', '/console/events', 'events', 'Events'),
    ),
    section(
      'Data',
      data.map((l) => item(`data/${l.key}`, `/console/data/${l.key}`, 'box', l.title)),
    ),
    section(
      'Reports',
      reports.map((l) => item(`data/${l.key}`, `/console/data/${l.key}`, 'report', l.title)),
    ),
    section(
      'Operations',
      item('projections', '/console/projections', 'layers', 'Projections'),
      item('sagas', '/console/sagas', 'saga', 'Sagas'),
      item('dead-letters', '/console/dead-letters', 'letter', 'Dead letters'),
      item('audit', '/console/audit', 'audit', 'Audit'),
    ),
    foot,
  );
  const badge = (key, n, what) => {
    const b = items.get(key).badge;
    b.hidden = n === 0;
    put(b, count(n), h('span', { class: 'unseen' }, ` ${what}`));
  };
  return {
    el,
    at(key) {
      for (const [k, { a }] of items)
        k === key ? a.setAttribute('aria-current', 'page') : a.removeAttribute('aria-current');
    },
    tell(o) {
      badge('dead-letters', o.deadLetters, 'open');
      badge(
        'sagas',
        o.sagas.reduce((n, s) => n + s.stuck, 0),
        'stuck',
      );
      badge('projections', o.projectors.filter((p) => p.state === 'halted').length, 'halted');
      put(
        foot,
        h('div', null, `${o.domain} ${o.version}`),
        h('div', null, `up ${span(o.uptimeSeconds)} · revision ${count(o.revision)}`),
      );
    },
  };
}

// search leads to an aggregate (order/o-1), a story (a correlation id) or the first search there is.
function search(go) {
  const input = h('input', {
    type: 'search',
    'aria-label': 'Go to an aggregate, or search',
    placeholder: placeholder(),
    autocomplete: 'off',
    spellcheck: 'false',
  });
  const el = h(
    'form',
    { class: 'goto', role: 'search' },
    icon('search'),
    input,
    h('kbd', { 'aria-hidden': 'true' }, '/'),
  );
  el.addEventListener('submit', (e) => {
    e.preventDefault();
    const text = input.value.trim();
    if (text === '') return;
    input.value = '';
    go(target(text));
  });
  return {
    el,
    focus: () => {
      input.focus();
      input.select();
    },
  };
}

function placeholder() {
  const [first] = domain().aggregates.values();
  return first ? `${first.category}/${first.exampleId} or words` : 'Go to …';
}

function target(text) {
  const { aggregates, byCategory, lists } = domain();
  const [, name, id] = text.match(/^([\w-]+)\/([\w-]{1,64})$/) ?? [];
  const a = aggregates.get(name) ?? byCategory.get(name);
  if (a) return place(a.collection, id);
  const searchable = lists.find((l) => l.search);
  return searchable
    ? `/console/data/${searchable.key}?q=${encodeURIComponent(text)}`
    : `/console/trace/${encodeURIComponent(text)}`;
}

function linkState(cut, signal) {
  const el = h('span', { class: 'link-state', role: 'status' });
  const shown = { live: 'Live', connecting: 'Connecting', down: 'Disconnected' };
  let was = '';
  const show = () => {
    el.dataset.state = live.state;
    put(el, h('span', null, shown[live.state]));
    el.title = {
      live: 'Events arrive as they happen',
      connecting: 'The live connection is being made',
      down: 'The live connection is cut; it comes back by itself',
    }[live.state];
    cut.hidden = live.state === 'live' || (live.state === 'connecting' && was !== 'down');
    if (live.state === 'down') {
      was = 'down';
      put(
        cut,
        icon('alert'),
        h(
          'span',
          { class: 'grow' },
          'Disconnected: what is shown may be old. The connection comes back by itself and goes on where it stopped.',
        ),
        h('button', { type: 'button', class: 'small', onclick: () => live.now() }, 'Connect now'),
      );
    } else if (live.state === 'live' && was === 'down') {
      was = '';
      say('Connected again');
    }
  };
  live.addEventListener('state', show, { signal });
  show();
  return el;
}

function themeButton() {
  const names = { auto: 'as the system has it', light: 'light', dark: 'dark' };
  const b = h('button', {
    type: 'button',
    class: 'quiet square',
    onclick: () => {
      window.consoleTheme.next();
      show();
    },
  });
  const show = () => {
    const theme = window.consoleTheme.get();
    put(b, icon(theme));
    b.setAttribute('aria-label', `Colours: ${names[theme]}. Change`);
    b.title = `Colours: ${names[theme]}`;
  };
  show();
  return b;
}

function account(leave) {
  const { name, role, method, scopes = [] } = me();
  const how =
    { dev: 'Everyone is let in: dev', jwt: 'Logged in with a JWT', key: 'Logged in with an API key' }[method] ?? method;
  return h(
    'details',
    { class: 'who' },
    h(
      'summary',
      { title: `${name}, ${role}` },
      h('span', { class: 'face', 'aria-hidden': 'true' }, name.slice(0, 1)),
      h('span', { class: 'name' }, name),
      h('span', { class: 'unseen' }, ` (${role})`),
    ),
    h(
      'div',
      { class: 'card' },
      h(
        'div',
        null,
        h('div', { class: 'strong' }, name),
        h('div', { class: 'muted small' }, `Role ${role}. ${how}.`),
        scopes.length > 0 && h('div', { class: 'muted small' }, `Limited to ${scopes.join(', ')}.`),
      ),
      method !== 'dev' &&
        h(
          'button',
          {
            type: 'button',
            onclick: async () => {
              await logOut();
              leave();
            },
          },
          icon('out'),
          'Log out',
        ),
    ),
  );
}
