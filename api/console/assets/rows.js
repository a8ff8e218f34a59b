// Tables whose rows change while they are read.
import { nameOf, put } from './dom.js';

const moment = 4000; // for which a row is marked as new

const text = (tr) => [...tr.cells].filter((td) => !td.classList.contains('blank')).map((td) => td.outerHTML);

// mend puts a table in the place of the one that an element holds. Rows that say the same stay the elements they are, so
// that the focus, a selection and what is under the eye stay too; those that are new or say something else are marked.
export function mend(el, next) {
  const before = el.querySelector('table');
  const after = next.querySelector('table');
  if (!before) {
    put(el, next);
    mark([...after.tBodies[0].rows]);
    return;
  }
  const body = before.tBodies[0];
  const old = [...body.rows];
  const known = new Set(old.map((tr) => text(tr).join()));
  const same = Map.groupBy(old, (tr) => tr.innerHTML);
  const rows = [...after.tBodies[0].rows].map((tr) => same.get(tr.innerHTML)?.shift() ?? tr);
  const brought = rows.filter((tr) => !tr.isConnected);
  const stay = new Set(rows);
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const at = old.indexOf(focused?.closest('tr'));
  const scrolled = before.getBoundingClientRect().top < 0;
  const read = scrolled && old.find((tr) => stay.has(tr) && tr.getBoundingClientRect().top >= 0);
  const top = read && read.getBoundingClientRect().top;

  if (!before.tHead.isEqualNode(after.tHead)) before.tHead.replaceWith(after.tHead);
  for (const tr of old) if (!stay.has(tr)) tr.remove();
  let there = body.firstElementChild;
  for (const tr of rows) {
    if (tr === there) there = there.nextElementSibling;
    else body.insertBefore(tr, there);
  }
  mark(brought.filter((tr) => !known.has(text(tr).join())));
  if (read) scrollBy({ top: read.getBoundingClientRect().top - top, behavior: 'instant' });
  if (focused && document.activeElement !== focused) {
    const links = brought.flatMap((tr) => [...tr.querySelectorAll('a')]);
    const to = focused.isConnected ? focused : links.find((a) => nameOf(a) === nameOf(focused));
    (to ?? rows[Math.min(at, rows.length - 1)]?.querySelector('a'))?.focus({ preventScroll: true });
  }
}

function mark(rows) {
  for (const tr of rows) tr.classList.add('fresh');
  setTimeout(() => rows.forEach((tr) => tr.classList.remove('fresh')), moment);
}
