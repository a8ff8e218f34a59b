// One message that could not be worked off: what it is, why, and what to do about it.
import { get, post, url } from './api.js';
import { h, put } from './dom.js';
import { placeOf } from './domain.js';
import { ago, chip, count, stateTone, when } from './format.js';
import { jsonView, pretty } from './json.js';
import { ask, button, card, facts, field, head, notice, table, toast } from './parts.js';

export const firstLine = (text) => text.split('\n')[0];

// told says what became of letters that something was done about.
export function told({ results, stopped }) {
  const failed = results.filter((r) => r.error);
  const well = results.length - failed.length;
  if (well > 0) toast('ok', `${count(well)} ${well === 1 ? 'is' : 'are'} ${results.find((r) => !r.error).state}.`);
  if (failed.length > 0) toast('bad', `${count(failed.length)} not: ${firstLine(failed[0].error)}`);
  if (stopped) toast('bad', `Stopped: ${stopped}`);
}

export async function letter({ root, params, signal, title }) {
  const { id } = params;
  title('Dead letter');
  const address = url('/ops/deadletters/{id}', { id });
  await look();

  async function look() {
    const l = await get(address, { signal });
    const settled = !['parked', 'waiting'].includes(l.state) ? `It is ${l.state}.` : '';
    const command = l.subject.startsWith('commands.');
    const [error, ...trace] = l.error.split('\n');
    put(
      root,
      head({
        title: `Dead letter ${l.key}`,
        crumbs: [['Dead letters', '/console/dead-letters']],
        chips: chip(l.state, stateTone[l.state]),
        sub: h('code', null, l.subject),
        actions: [
          button('Retry', {
            style: 'main',
            shape: 'again',
            operation: 'deadletters.operate',
            target: l.consumer,
            why: settled,
            onclick: () => retry(l),
          }),
          button('Resend corrected', {
            operation: 'deadletters.operate',
            target: l.consumer,
            why: settled || (command ? '' : 'Only a command can be sent anew; an event has happened.'),
            onclick: () => resend(l),
          }),
          button('Drop', {
            style: 'danger',
            operation: 'deadletters.force',
            target: l.consumer,
            why: settled,
            onclick: () => drop(),
          }),
        ],
      }),
      h(
        'div',
        { class: 'columns lean' },
        h(
          'div',
          { class: 'stack' },
          card(
            'Error',
            h(
              'div',
              { class: 'stack' },
              notice('bad', error),
              trace.length > 0 &&
                h(
                  'details',
                  null,
                  h('summary', null, 'Where it happened'),
                  h('pre', { class: 'wrap' }, trace.join('\n')),
                ),
            ),
          ),
          card(
            'Payload',
            l.data !== undefined
              ? jsonView(l.data, 'Payload')
              : l.bytes
                ? [h('p', { class: 'muted' }, 'Not JSON; as text:'), h('pre', { class: 'wrap' }, text(l.bytes))]
                : h('p', { class: 'muted' }, settled ? 'Gone since it is settled.' : 'Empty.'),
          ),
          l.operations?.length > 0 &&
            card(
              'What was done about it',
              table(
                'What was done about it',
                [
                  { name: 'When', cell: (o) => when(o.at) },
                  { name: 'What', cell: (o) => h('strong', null, o.kind) },
                  { name: 'By', cell: (o) => o.by },
                  { name: 'Reason', cell: (o) => o.reason },
                  {
                    name: 'Result',
                    cell: (o) =>
                      o.error
                        ? h('span', { class: 'bad-text' }, firstLine(o.error))
                        : chip(o.state, stateTone[o.state]),
                  },
                ],
                l.operations,
              ),
              { flush: true },
            ),
        ),
        h(
          'div',
          { class: 'stack' },
          card(
            'About it',
            facts([
              ['Consumer', l.consumer],
              ['Key', keyLink(l)],
              ['Attempts', count(l.attempts)],
              ['Failed', when(l.failedAt), ` · ${ago(l.failedAt)}`],
              ['Stored', when(l.time)],
              ['Sequence', count(l.sequence)],
              l.behind && [
                'Waits behind',
                h('a', { href: `/console/dead-letters/${encodeURIComponent(l.behind)}` }, l.behind),
              ],
              ['ID', h('code', { class: 'small' }, l.id)],
            ]),
          ),
          l.headers &&
            card(
              'Headers',
              facts(Object.entries(l.headers).map(([k, v]) => [k, h('code', { class: 'small' }, v.join(', '))])),
            ),
        ),
      ),
    );
  }

  function run(verb, body) {
    return post(`${address}/${verb}`, body).then((answer) => {
      told(answer);
      return look();
    });
  }

  function retry(l) {
    return ask({
      title: 'Retry this dead letter',
      act: 'Retry',
      text: `The message is handed to ${l.consumer} again, with those that wait behind it.`,
      run: (o) => run('retry', o),
    });
  }

  function drop() {
    return ask({
      title: 'Drop this dead letter',
      act: 'Drop for good',
      danger: true,
      word: id,
      reason: 'required',
      text: 'It is given up: what was done stays on record, its payload does not.',
      run: (o) => run('drop', o),
    });
  }

  function resend(l) {
    const [, category, to, type] = l.subject.split('.');
    const body = h('textarea', { class: 'code', rows: 14, spellcheck: 'false' });
    body.value = l.data !== undefined ? pretty(l.data) : text(l.bytes ?? '');
    const stream = h('input', { value: `${category}/${to}`, spellcheck: 'false' });
    const name = h('input', { value: type ?? '', spellcheck: 'false' });
    const extra = h(
      'div',
      { class: 'stack' },
      h('div', { class: 'schema' }, field('To', stream), field('Command', name)),
      field('Body', body, { hint: 'JSON, sent as it stands here' }),
    );
    return ask({
      title: 'Resend corrected',
      act: 'Send',
      wide: true,
      extra,
      text: 'A new command is sent in its place; the letter is then settled as resent.',
      run: (o) => {
        try {
          JSON.parse(body.value);
        } catch (err) {
          throw new Error(`The body is not JSON: ${err.message}`);
        }
        const correction = {
          ...o,
          data: 'BODY',
          ...(stream.value === `${category}/${to}` ? {} : { stream: stream.value.trim() }),
          ...(name.value === type ? {} : { command: name.value.trim() }),
        };
        return run(
          'resend',
          JSON.stringify(correction).replace('"data":"BODY"', () => `"data":${body.value}`),
        ); // as text: numbers stay what they are
      },
    });
  }
}

function keyLink(l) {
  const to = placeOf(l.key.includes('/') ? l.key : l.subject.split('.').slice(1, 3).join('/'));
  return to ? h('a', { href: to }, l.key) : l.key;
}

function text(base64) {
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
}
