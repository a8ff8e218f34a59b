// Logging in: an API key or a JWT, once; from then on a cookie that no script can read.
import { Problem } from './api.js';
import { h, put } from './dom.js';
import { logIn } from './who.js';

// What the server says of these is for programs.
const refusals = {
  unauthenticated: 'This key or token is not known here, or no longer good. Check that all of it was copied.',
};

export function login(root, done) {
  document.title = 'Log in · Console';
  const token = h('input', {
    id: 'token',
    type: 'password',
    autocomplete: 'current-password',
    required: true,
    spellcheck: 'false',
  });
  const said = h('p', { class: 'fault', role: 'alert', id: 'token-fault' });
  const go = h('button', { type: 'submit', class: 'main' }, 'Log in');
  token.setAttribute('aria-describedby', 'token-hint token-fault');
  const form = h(
    'form',
    { class: 'card' },
    h(
      'div',
      { class: 'brand' },
      h('img', { src: '/console/assets/logo.svg', alt: '', width: 30, height: 30 }),
      'Millstream',
    ),
    h('h1', { tabindex: -1 }, 'Log in to the console'),
    h(
      'div',
      { class: 'field' },
      h('label', { for: 'token' }, 'API key or JWT'),
      token,
      h(
        'span',
        { class: 'hint', id: 'token-hint' },
        'An administrator makes one with ',
        h('code', null, 'millstream keys create'),
        '.',
      ),
    ),
    said,
    go,
  );
  form.addEventListener('submit', async (e) => {
    e.preventDefault();
    go.disabled = true;
    put(said);
    token.removeAttribute('aria-invalid');
    try {
      await logIn(token.value.trim());
      await done();
    } catch (err) {
      if (!(err instanceof Problem)) throw err;
      const refusal = refusals[err.code];
      put(said, refusal ?? err.message);
      if (refusal) token.setAttribute('aria-invalid', 'true');
      token.focus();
    } finally {
      go.disabled = false;
    }
  });
  put(root, h('main', { class: 'login', id: 'main', tabindex: -1 }, form));
  token.focus();
}
