// The parts that pages are made of.
import { h, icon, put, uid } from './dom.js';
import { denied } from './who.js';

// head is the top of a page.
export function head({ title, crumbs = [], sub = null, actions = [], chips = [] }) {
  return h(
    'div',
    { class: 'head' },
    h(
      'div',
      null,
      crumbs.length > 0 &&
        h(
          'nav',
          { class: 'crumbs', 'aria-label': 'Where this is' },
          crumbs.flatMap(([text, href], i) => [
            i > 0 ? h('span', { 'aria-hidden': 'true' }, '/') : null,
            h('a', { href }, text),
          ]),
        ),
      h('div', { class: 'row' }, h('h1', { tabindex: -1 }, title), chips),
      sub && h('p', null, sub),
    ),
    actions.length > 0 && h('div', { class: 'actions' }, actions),
  );
}

export function card(title, body, { actions = [], level = 'h2', flush = false, ...props } = {}) {
  const id = uid('card');
  return h(
    'section',
    { class: 'card', 'aria-labelledby': title ? id : null, ...props },
    title && h('header', null, h(level, { id }, title), actions),
    flush ? body : h('div', { class: 'inside' }, body),
  );
}

export const facts = (pairs) =>
  h(
    'dl',
    { class: 'facts' },
    pairs.filter(Boolean).map(([name, ...value]) => [h('dt', null, name), h('dd', null, ...value)]),
  );

export const empty = (shape, title, text) =>
  h('div', { class: 'empty' }, icon(shape), h('strong', null, title), text && h('span', null, text));

export const loading = (text = 'Loading …') => h('div', { class: 'loading', role: 'status' }, text);

export const notice = (kind, ...children) =>
  h('div', { class: `notice ${kind}` }, icon(kind === 'ok' ? 'check' : 'alert'), h('div', null, ...children));

export function fault(err, again) {
  return h(
    'div',
    { class: 'stack', role: 'alert' },
    notice('bad', err.message),
    again && h('div', null, h('button', { type: 'button', onclick: again }, icon('again'), 'Try again')),
  );
}

// table: columns are {name, cell(item), number, id, tick}; those with nothing in any row are left out. On a narrow screen
// each row becomes a card.
export function table(caption, all, items, { row } = {}) {
  const cells = new Map(all.map((c) => [c, items.map((item) => [c.cell(item)].flat())]));
  const columns = all.filter((c) => !cells.get(c).every(blank));
  return h(
    'div',
    { class: 'scroll' },
    h(
      'table',
      { class: 'folds' },
      h('caption', null, caption),
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          columns.map((c) => h('th', { scope: 'col', class: kind(c) }, c.head ?? c.name)),
        ),
      ),
      h(
        'tbody',
        null,
        items.map((item, i) =>
          h(
            'tr',
            row?.(item) ?? null,
            columns.map((c) => {
              const cell = cells.get(c)[i];
              const inner = h('div', null, cell);
              return h(
                'td',
                {
                  class: [kind(c), blank(cell) && 'blank', endless(inner) && 'endless'].filter(Boolean).join(' '),
                  'data-name': c.name,
                },
                inner,
              );
            }),
          ),
        ),
      ),
    ),
  );
}

// endless: a word of it is longer than an address or a name, and may be cut anywhere.
const endless = (inner) => /\S{28}/.test(inner.textContent);

const blank = (cell) => cell.every((x) => x === null || x === undefined || x === false || x === '');

const kind = (c) => (c.number ? 'number' : c.id ? 'id' : c.tick ? 'tick' : '');

// button does something that needs an operation; a caller who may not sees why.
export function button(
  label,
  { onclick, operation, target, shape, style = '', why = '', square = false, ...props } = {},
) {
  const no = why || (operation ? denied(operation, target) : '');
  const b = h(
    'button',
    {
      type: 'button',
      class: `${style} ${square ? 'square' : ''}`,
      ...props,
      ...(square ? { 'aria-label': label, title: no ? `${label}. ${no}` : label } : {}),
    },
    shape && icon(shape),
    square ? null : label,
  );
  if (no) {
    const id = uid('why');
    b.setAttribute('aria-disabled', 'true');
    b.setAttribute('aria-describedby', id);
    b.title = no;
    b.append(h('span', { id, class: 'unseen' }, ` ${no}`));
    b.addEventListener('click', () => toast('bad', `${label}: ${no}`));
    return b;
  }
  b.addEventListener('click', async (e) => {
    if (b.disabled) return;
    const busy = onclick?.(e);
    if (!(busy instanceof Promise)) return;
    b.disabled = true;
    try {
      await busy;
    } catch (err) {
      toast('bad', err.message);
    } finally {
      b.disabled = false;
    }
  });
  return b;
}

// toast says what has happened, to the eye and to a screen reader.
export function toast(style, ...text) {
  const region = document.getElementById('toasts');
  const t = h(
    'div',
    { class: `toast ${style}`, role: style === 'bad' ? 'alert' : 'status' },
    h('div', null, ...text),
    h(
      'button',
      { type: 'button', class: 'quiet square small', 'aria-label': 'Dismiss', onclick: () => t.remove() },
      icon('close'),
    ),
  );
  region.append(t);
  while (region.children.length > 4) region.firstChild.remove();
  setTimeout(() => t.remove(), style === 'bad' ? 15_000 : 7_000);
}

// say tells a screen reader alone.
export function say(text) {
  document.getElementById('said').textContent = text;
}

// dialog opens a modal window; close ends it, and the focus goes back to where it was.
export function dialog(title, body, { wide = false, onclose } = {}) {
  const id = uid('dialog');
  const opener = document.activeElement;
  const d = h('dialog', { class: wide ? 'wide' : '', 'aria-labelledby': id });
  const close = () => d.close();
  d.append(body({ heading: h('h2', { id }, title), close }));
  d.addEventListener('close', () => {
    d.remove();
    if (!opener?.isConnected) document.querySelector('h1')?.focus(); // the button that opened it has gone
    onclose?.();
  });
  document.body.append(d);
  d.showModal();
  return d;
}

// ask asks for a reason, and for a word to be typed where something is hard to undo, then does it. It stays open with
// the server's no. extra are more fields; do gets {reason, confirm}.
export function ask({
  title,
  text,
  word = '',
  reason = 'optional',
  act,
  danger = false,
  extra = null,
  wide = false,
  run,
}) {
  return new Promise((resolve) => {
    let result;
    dialog(
      title,
      ({ heading, close }) => {
        const why = h('textarea', { id: uid('reason'), rows: 2, maxlength: 1000, required: reason === 'required' });
        const typed = word ? h('input', { id: uid('word'), autocomplete: 'off', spellcheck: 'false' }) : null;
        const go = h('button', { type: 'submit', class: danger ? 'danger main' : 'main' }, act);
        const said = h('p', { class: 'fault', role: 'alert' });
        const ready = () => {
          const missing = (reason === 'required' && why.value.trim() === '') || (typed && typed.value !== word);
          go.disabled = Boolean(missing);
        };
        const form = h(
          'form',
          { oninput: ready },
          heading,
          text && h('p', { class: 'muted' }, text),
          extra,
          reason !== 'none' &&
            h(
              'div',
              { class: 'field' },
              h(
                'label',
                { for: why.id },
                'Reason',
                reason === 'required'
                  ? h('span', { class: 'must', 'aria-hidden': 'true' }, '*')
                  : h('span', { class: 'muted' }, ' (optional)'),
              ),
              why,
              h('span', { class: 'hint' }, 'It stays on record with your name.'),
            ),
          typed &&
            h(
              'div',
              { class: 'field' },
              h('label', { for: typed.id }, 'Type ', h('code', null, word), ' to confirm'),
              typed,
            ),
          said,
          h('div', { class: 'actions' }, h('button', { type: 'button', onclick: close }, 'Close'), go),
        );
        form.addEventListener('submit', async (e) => {
          e.preventDefault();
          go.disabled = true;
          put(said);
          try {
            result = (await run({ reason: why.value.trim(), ...(typed ? { confirm: typed.value } : {}) })) ?? true;
            close();
          } catch (err) {
            put(said, err.message);
            ready();
          }
        });
        ready();
        return form;
      },
      { wide, onclose: () => resolve(result) },
    );
  });
}

export const pageSize = 50; // of a list

// pager is the button under a list that asks more(cursor) for its next page.
export function pager(more) {
  const b = h('button', { type: 'button' }, 'Show more');
  const el = h('div', { class: 'more', hidden: true }, b);
  let next = '';
  b.addEventListener('click', async () => {
    b.disabled = true;
    try {
      await more(next);
    } catch (err) {
      toast('bad', err.message);
    } finally {
      b.disabled = false;
    }
  });
  return {
    el,
    set(cursor) {
      next = cursor ?? '';
      el.hidden = next === '';
    },
  };
}

export function field(label, input, { hint, wide = false } = {}) {
  input.id ||= uid('field');
  return h(
    'div',
    { class: `field ${wide ? 'wide' : ''}` },
    h('label', { for: input.id }, label),
    input,
    hint && h('span', { class: 'hint' }, hint),
  );
}

export const select = (options, value, props) =>
  h(
    'select',
    { ...props, value },
    options.map(([v, text]) => h('option', { value: v }, text)),
  );

// every does something again and again, as long as the page is looked at, until the signal; the first time is the
// page's own. What goes wrong is shown by failed(err), or null once it goes well again.
export function every(ms, signal, run, failed = () => {}) {
  let timer = 0;
  const tick = async () => {
    if (signal.aborted) return;
    try {
      await run();
      failed(null);
    } catch (err) {
      if (signal.aborted) return;
      failed(err);
    }
    if (!signal.aborted) timer = setTimeout(tick, document.hidden ? ms * 10 : ms);
  };
  const awake = () => {
    if (document.hidden) return;
    clearTimeout(timer);
    tick();
  };
  document.addEventListener('visibilitychange', awake, { signal });
  signal.addEventListener('abort', () => clearTimeout(timer));
  timer = setTimeout(tick, ms);
}
