// Building the page. Everything that comes from elsewhere becomes a text node or an attribute's value here, never
// markup.

const SVG = 'http://www.w3.org/2000/svg';

// h makes an element: properties by name ('on…' listens), then children; null and false are left out.
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

// svg makes an element of a drawing.
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

const asProperty = new Set(['value', 'checked', 'disabled', 'hidden', 'open', 'indeterminate', 'selected']);

function fill(el, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || (value === false && !asProperty.has(name))) continue;
    if (name.startsWith('on')) el.addEventListener(name.slice(2), value);
    else if (name === 'style') for (const [k, v] of Object.entries(value)) el.style.setProperty(k, v);
    else if (name === 'data') Object.assign(el.dataset, value);
    else if (asProperty.has(name)) el[name] = value;
    else el.setAttribute(name, value === true ? '' : String(value));
  }
  el.append(...nodes(children));
  if (props?.value !== undefined && props.value !== null) el.value = props.value; // of a select: once its options are there
  return el;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((c) => c !== null && c !== undefined && c !== false)
    .map((c) => (c instanceof Node ? c : document.createTextNode(String(c))));
}

// put replaces what an element holds.
export function put(el, ...children) {
  el.replaceChildren(...nodes(children));
  return el;
}

// refresh puts anew what is looked at: the focus stays on the same thing, what was opened stays open, and what is being
// selected is left alone.
export function refresh(el, ...children) {
  if (selecting(el)) return el;
  const focused = el.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const opened = new Set([...el.querySelectorAll('details[open] > summary')].map(nameOf));
  put(el, ...children);
  for (const s of el.querySelectorAll('details > summary')) if (opened.has(nameOf(s))) s.parentElement.open = true;
  if (focused)
    [...el.querySelectorAll('a, button, input, select, summary')]
      .find((x) => nameOf(x) === focused)
      ?.focus({ preventScroll: true });
  return el;
}

// nameOf is by what a thing is found again in a page that was made anew.
export const nameOf = (el) =>
  `${el.tagName} ${el.getAttribute('href') ?? ''} ${el.getAttribute('aria-label') ?? el.textContent}`;

// selecting tells whether something of what an element shows is selected.
export function selecting(el) {
  const selection = getSelection();
  return !selection.isCollapsed && el.contains(selection.anchorNode);
}

// pressing answers a function that tells whether something in an element is being pressed: it must not move away.
// released is called when it no more is, and was a click.
export function pressing(el, signal, released = () => {}) {
  let pressed = false;
  el.addEventListener('pointerdown', () => {
    pressed = true;
  });
  for (const end of ['pointerup', 'pointercancel'])
    addEventListener(
      end,
      () => {
        pressed = false;
        setTimeout(released);
      },
      { signal },
    );
  return () => pressed;
}

let ids = 0;
export const uid = (prefix) => `${prefix}-${++ids}`;

const shapes = {
  overview: 'M3 12h4l3-8 4 16 3-8h4',
  events: 'M4 6h16M4 12h10M4 18h13M19 10.5a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3',
  box: 'M12 3 4 7v10l8 4 8-4V7zM4 7l8 4 8-4M12 11v10',
  report: 'M5 20V10M12 20V4M19 20v-7M3 20h18',
  layers: 'm12 3 9 5-9 5-9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5',
  saga: 'M6 3a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5M6 16a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5M18 9.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5M6 8v8M6 12h9.5',
  letter: 'M3 6h18v12H3zM3 7l9 7 9-7',
  audit: 'M12 3l8 3v6c0 5-3.5 7.7-8 9-4.5-1.3-8-4-8-9V6zM8.5 12l2.5 2.5 4.5-5',
  search: 'M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14M16 16l5 5',
  menu: 'M4 7h16M4 12h16M4 17h16',
  close: 'M6 6l12 12M18 6 6 18',
  light:
    'M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8M12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.8 1.8M17.2 17.2 19 19M19 5l-1.8 1.8M6.8 17.2 5 19',
  dark: 'M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z',
  auto: 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18M12 3v18M12 8l6.5-2.5M12 13l8.8-2M12 18l6-1.5',
  pause: 'M8 5v14M16 5v14',
  play: 'M7 4.5v15l12-7.5z',
  left: 'M15 5l-7 7 7 7',
  right: 'M9 5l7 7-7 7',
  plus: 'M12 5v14M5 12h14',
  minus: 'M5 12h14',
  help: 'M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.5M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18',
  alert: 'M12 4 2.5 20h19zM12 10v4.5M12 17v.5',
  check: 'M5 12.5l4.5 4.5L19 7',
  clock: 'M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18M12 7v5l3.5 2',
  out: 'M10 4H5v16h5M15 8l4 4-4 4M19 12H9',
  trace: 'M5 4v12a3 3 0 0 0 3 3h3M5 10h6M13 7h7v6h-7zM13 16.5h7v5h-7z',
  again: 'M20 12a8 8 0 1 1-2.5-5.8M20 3v4.5h-4.5',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
};

// icon draws one of the shapes; it says nothing by itself.
export function icon(name) {
  return svg(
    'svg',
    {
      class: 'icon',
      viewBox: '0 0 24 24',
      'aria-hidden': 'true',
      focusable: 'false',
      fill: 'none',
      stroke: 'currentColor',
      'stroke-width': 1.75,
      'stroke-linecap': 'round',
      'stroke-linejoin': 'round',
    },
    svg('path', { d: shapes[name] ?? shapes.box }),
  );
}
