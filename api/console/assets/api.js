// Asking the other doors, as whoever is logged in.
import { decode } from './format.js';

// Problem is an answer that is none (RFC 9457), or that there was no answer.
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.error?.message || body?.title || `the answer was ${status}`);
    this.status = status;
    this.code = body?.error?.code ?? 'unreachable';
    this.body = body;
  }

  // faults are what is to blame, each with the JSON pointer of its field.
  get faults() {
    if (this.body?.errors?.length) return this.body.errors;
    const pointer = this.body?.error?.pointer;
    return pointer ? [{ pointer, message: this.message }] : [];
  }
}

export const session = new EventTarget(); // 'ended': nobody is logged in any more

// url writes a path with its wildcards filled and its parameters.
export function url(path, wildcards = {}, params = {}) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(wildcards[name]));
  const query = new URLSearchParams(
    Object.entries(params).filter(([, v]) => v !== '' && v !== null && v !== undefined),
  );
  return query.size > 0 ? `${filled}?${query}` : filled;
}

async function send(path, { signal, read = decode, ...init } = {}) {
  let response, text;
  try {
    response = await fetch(path, {
      ...init,
      signal,
      credentials: 'same-origin',
      headers: { Accept: 'application/json', ...init.headers },
    });
    text = await response.text();
  } catch (err) {
    if (signal?.aborted) throw err;
    throw new Problem(0, { detail: 'The system cannot be reached from here.' });
  }
  let body = null;
  try {
    body = text === '' ? null : read(text);
  } catch {
    throw new Problem(response.status, { detail: `The answer of ${path} (${response.status}) is not JSON.` });
  }
  if (response.status === 401 && path !== '/session') session.dispatchEvent(new Event('ended'));
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

export const get = (path, options) => send(path, options);

// figures reads measurements, for which floats will do.
export const figures = (path, options) => send(path, { ...options, read: JSON.parse });

export const post = (path, body, options) =>
  send(path, {
    ...options,
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...options?.headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

export const remove = (path) => send(path, { method: 'DELETE' });
