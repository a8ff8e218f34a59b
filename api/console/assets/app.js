// The console: who is looking, which page the address names, and what stands around it.
import { session } from './api.js';
import { h, put } from './dom.js';
import { forget, load } from './domain.js';
import { canKeepNumbers } from './format.js';
import { live } from './live.js';
import { fault, head, loading, say } from './parts.js';
import { frame } from './shell.js';
import { recognise } from './who.js';
import { login } from './login.js';
import { overview } from './overview.js';
import { events } from './events.js';
import { trace } from './trace.js';
import { aggregate } from './aggregate.js';
import { list } from './lists.js';
import { command } from './command.js';
import { projections, projection } from './projections.js';
import { saga } from './saga.js';
import { sagas, timers } from './sagas.js';
import { letters } from './letters.js';
import { letter } from './letter.js';
import { audit } from './audit.js';

// Every page: the path behind /console, whose :names reach it as params, and what of the navigation it belongs to.
const pages = [
  ['/', overview, 'overview'],
  ['/events', events, 'events'],
  ['/trace/:correlation', trace, 'events'],
  ['/data/:list', list, (p) => `data/${p.list}`],
  ['/aggregates/:collection/:id', aggregate, (p) => `data/${p.collection}`],
  ['/send/:collection/:command', command, (p) => `data/${p.collection}`],
  ['/projections', projections, 'projections'],
  ['/projections/:name', projection, 'projections'],
  ['/sagas', sagas, 'sagas'],
  ['/timers', timers, 'sagas'],
  ['/sagas/:saga/:key', saga, 'sagas'],
  ['/dead-letters', letters, 'dead-letters'],
  ['/dead-letters/:id', letter, 'dead-letters'],
  ['/audit', audit, 'audit'],
].map(([path, page, nav]) => ({ pattern: new RegExp(`^${path.replace(/:(\w+)/g, '(?<$1>[^/]+)')}/?$`), page, nav }));

const root = document.getElementById('app');
let shell = null;
let leave = new AbortController();

// go shows another page; one of the console's own addresses.
export function go(address, { replace = false } = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', address);
  show();
}

async function show({ focus = true } = {}) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const path = location.pathname.replace(/^\/console/, '') || '/';
  const [found, params] = match(path);
  const main = shell.main;
  shell.at(found ? (typeof found.nav === 'function' ? found.nav(params) : found.nav) : '');
  const page = h('div');
  put(main, page);
  const title = (text) => {
    document.title = `${text} · Console`;
    say(text);
  };
  const context = {
    root: page,
    params,
    signal,
    title,
    go,
    query: new URLSearchParams(location.search),
    told: shell.tell, // what a page learns of the whole shows in the navigation too
    // remember writes what is chosen into the address, so that it can be handed on; it stays on the page.
    remember(values) {
      const query = new URLSearchParams(location.search);
      for (const [k, v] of Object.entries(values))
        v === '' || v === null || v === undefined ? query.delete(k) : query.set(k, v);
      history.replaceState(null, '', location.pathname + (query.size > 0 ? `?${query}` : ''));
    },
  };
  try {
    put(page, loading());
    await (found?.page ?? missing)(context);
    if (signal.aborted) return;
    if (focus) {
      scrollTo(0, 0);
      page.querySelector('h1')?.focus({ preventScroll: true });
    }
  } catch (err) {
    if (signal.aborted) return;
    title('Not shown');
    put(
      page,
      head({ title: 'This could not be shown' }),
      fault(err, () => show()),
    );
  }
}

function match(path) {
  for (const p of pages) {
    const found = path.match(p.pattern);
    try {
      if (found)
        return [p, Object.fromEntries(Object.entries(found.groups ?? {}).map(([k, v]) => [k, decodeURIComponent(v)]))];
    } catch {
      break; // not written as an address is
    }
  }
  return [null, {}];
}

async function missing({ root: page, title }) {
  title('No such page');
  put(
    page,
    h(
      'div',
      { class: 'empty' },
      h('h1', { tabindex: -1 }, 'There is no such page'),
      h('span', null, h('a', { href: '/console/' }, 'Go to the overview')),
    ),
  );
}

// Links within the console change the page without loading it anew.
document.addEventListener('click', (e) => {
  const a = e.target.closest?.('a[href]');
  if (!a || e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey || a.target)
    return;
  if (a.classList.contains('skip')) {
    e.preventDefault();
    const main = document.getElementById('main');
    main?.focus();
    main?.scrollIntoView();
    return;
  }
  const to = new URL(a.href);
  if (to.origin !== location.origin || !/^\/console(\/|$)/.test(to.pathname)) return;
  e.preventDefault();
  shell?.close();
  go(to.pathname + to.search);
});
addEventListener('popstate', () => shell && show());

async function enter() {
  await load();
  shell = frame(root, { go, leave: out });
  live.start();
  await show({ focus: false });
}

// out ends what one who is logged in sees.
function out() {
  leave.abort();
  live.stop();
  forget();
  shell?.end();
  shell = null;
  document.querySelectorAll('dialog').forEach((d) => d.close());
  login(root, start);
}
session.addEventListener('ended', () => shell && out());

async function start() {
  try {
    if (!canKeepNumbers())
      throw new Error('This browser is too old for the console: it would round amounts. Any of 2025 or later will do.');
    if (await recognise()) await enter();
    else login(root, start);
  } catch (err) {
    put(root, h('div', { class: 'login' }, fault(err, start)));
  }
}

start();
