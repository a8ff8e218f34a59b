// Small line charts of figures over the last minutes.
import { h, put, svg } from './dom.js';

const height = 96;
const pad = { top: 8, right: 4, bottom: 4, left: 4 };

// chart draws series [{name, tone, points: [{at, value}]}] over span milliseconds up to now. format writes a value.
export function chart(label, series, { span, format, now = Date.now() }) {
  const box = h('div', { class: 'chart' });
  const tip = h('div', { class: 'tip', hidden: true });
  let width = 0;
  const draw = () => {
    width = box.clientWidth || 240;
    put(box, drawing(label, series, { span, format, now, width }), tip);
  };
  const seen = new ResizeObserver(() => {
    if (box.clientWidth !== width && box.clientWidth > 0) draw();
  });
  seen.observe(box);
  box.addEventListener('pointermove', (e) => point(box, tip, series, { span, format, now, width }, e.offsetX));
  box.addEventListener('pointerleave', () => {
    tip.hidden = true;
  });
  return {
    el: box,
    draw,
    update(next, at) {
      series = next;
      now = at;
      draw();
    },
  };
}

function scaleOf(series, { span, now, width }) {
  const top = nice(Math.max(0, ...series.flatMap((s) => s.points.map((p) => p.value))));
  return {
    top,
    x: (at) => pad.left + (width - pad.left - pad.right) * (1 - (now - at) / span),
    y: (v) => pad.top + (height - pad.top - pad.bottom) * (1 - v / top),
  };
}

// nice is the next round number: 1, 2 or 5 times a power of ten.
function nice(n) {
  if (n <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].find((f) => f * power >= n) * power;
}

function drawing(label, series, options) {
  const { format, width } = options;
  const { x, y, top } = scaleOf(series, options);
  const said = series.map((s) => {
    const values = s.points.map((p) => p.value);
    return values.length === 0
      ? `${s.name}: nothing yet`
      : `${s.name}: now ${format(values.at(-1))}, at most ${format(Math.max(...values))}`;
  });
  return svg(
    'svg',
    { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${label}. ${said.join('; ')}.` },
    [0, 0.5, 1].map((f) =>
      svg('line', { class: f === 0 ? 'axis' : 'grid', x1: 0, x2: width, y1: y(top * f), y2: y(top * f) }),
    ),
    svg('text', { class: 'scale', x: 2, y: y(top) + 11 }, format(top)),
    series.map((s) => {
      if (s.points.length === 0) return null;
      const path = s.points
        .map((p, i) => `${i === 0 ? 'M' : 'L'}${x(p.at).toFixed(1)},${y(p.value).toFixed(1)}`)
        .join('');
      const last = s.points.at(-1);
      return [
        svg('path', {
          class: `area ${s.tone}`,
          d: `${path}L${x(last.at).toFixed(1)},${y(0)}L${x(s.points[0].at).toFixed(1)},${y(0)}Z`,
        }),
        svg('path', { class: `curve ${s.tone}`, d: path }),
        svg('circle', { class: `end ${s.tone}`, cx: x(last.at), cy: y(last.value), r: 3 }),
      ];
    }),
  );
}

function point(box, tip, series, options, at) {
  const { format, span, now, width } = options;
  const time = now - span * (1 - (at - pad.left) / (width - pad.left - pad.right));
  const lines = series.flatMap((s) => {
    const p = s.points.reduce(
      (best, q) => (!best || Math.abs(q.at - time) < Math.abs(best.at - time) ? q : best),
      null,
    );
    return p ? [h('span', null, h('i', { class: `dot ${s.tone}` }), ` ${s.name} ${format(p.value)}`)] : [];
  });
  if (lines.length === 0) return;
  put(tip, h('span', null, new Date(time).toLocaleTimeString('en-GB')), lines);
  tip.hidden = false;
  tip.style.left = `${Math.max(0, Math.min(at - tip.offsetWidth / 2, box.clientWidth - tip.offsetWidth))}px`;
}
