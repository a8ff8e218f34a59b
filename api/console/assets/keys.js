// Keyboard shortcuts, and the list of them.
import { h } from './dom.js';
import { domain } from './domain.js';
import { dialog } from './parts.js';

const places = {
  o: ['/console/', 'Overview'],
  e: ['/console/events', 'Events'],
  p: ['/console/projections', 'Projections'],
  s: ['/console/sagas', 'Sagas'],
  d: ['/console/dead-letters', 'Dead letters'],
  a: ['/console/audit', 'Audit'],
};

const single = {
  get on() {
    try {
      return localStorage.getItem('console.shortcuts') !== 'off';
    } catch {
      return true;
    }
  },
  set on(yes) {
    try {
      localStorage.setItem('console.shortcuts', yes ? 'on' : 'off');
    } catch {
      /* for this page only */
    }
  },
};

export function shortcuts({ go, goto, signal }) {
  let waiting = 0;
  document.addEventListener(
    'keydown',
    (e) => {
      if (
        !single.on ||
        e.defaultPrevented ||
        e.metaKey ||
        e.ctrlKey ||
        e.altKey ||
        document.querySelector('dialog[open]')
      )
        return;
      if (e.target.closest?.('input, select, textarea')) return;
      const second = Date.now() - waiting < 1500;
      waiting = 0;
      const first = domain().lists[0];
      if (second && places[e.key]) go(places[e.key][0]);
      else if (second && e.key === 'l' && first) go(`/console/data/${first.key}`);
      else if (e.key === 'g') waiting = Date.now();
      else if (e.key === '/') goto.focus();
      else if (e.key === '?') help();
      else {
        const button = document.querySelector(`main [data-key="${CSS.escape(e.key)}"]`);
        if (!button) return;
        button.click();
      }
      e.preventDefault();
    },
    { signal },
  );
}

export function help() {
  const first = domain().lists[0];
  const rows = [
    ['/', 'Go to an aggregate, or search'],
    ['?', 'This list'],
    ...Object.entries(places).map(([k, [, text]]) => [`g ${k}`, text]),
    ...(first ? [['g l', first.title]] : []),
    ['p', 'Events: pause or go on'],
    ['[ and ]', 'Aggregate: one revision back or on'],
    ['n', 'List: send a new command'],
    ['Esc', 'Close a dialog or the menu'],
  ];
  dialog('Keyboard shortcuts', ({ heading, close }) =>
    h(
      'div',
      { class: 'inside' },
      heading,
      h(
        'dl',
        { class: 'facts' },
        rows.map(([keys, text]) => [
          h(
            'dt',
            null,
            keys.split(' ').map((k) => (k === 'and' ? ' ' : [h('kbd', null, k), ' '])),
          ),
          h('dd', null, text),
        ]),
      ),
      h(
        'label',
        { class: 'row' },
        h('input', {
          type: 'checkbox',
          checked: single.on,
          onchange: (e) => {
            single.on = e.target.checked;
          },
        }),
        'Single keys are shortcuts',
      ),
      h('div', { class: 'actions' }, h('button', { type: 'button', class: 'main', onclick: close }, 'Close')),
    ),
  );
}
