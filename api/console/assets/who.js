// Who is looking, and what they may do. The server decides; this says it beforehand.
import { get, post, remove, Problem } from './api.js';

let principal = null;
let table = { roles: [], rules: {} };

export const me = () => principal;

// recognise asks who is logged in; false: nobody.
export async function recognise() {
  try {
    [principal, table] = await Promise.all([get('/session'), get('/console/assets/rules.json')]);
    return true;
  } catch (err) {
    if (err instanceof Problem && err.status === 401) return false;
    throw err;
  }
}

export async function logIn(token) {
  principal = await post('/session', { token });
}

export async function logOut() {
  await remove('/session');
  principal = null;
}

// denied says why an operation is not for the one who looks; '': it is.
export function denied(operation, target = '') {
  const need = table.rules[operation];
  const has = principal?.role;
  if (!need || table.roles.indexOf(has) < table.roles.indexOf(need))
    return `Needs the role ${need ?? 'of nobody'}; yours is ${has}.`;
  const scopes = principal.scopes ?? [];
  const within =
    scopes.length === 0 || scopes.some((s) => s === '*' || s === operation || s === `${operation}:${target}`);
  return within ? '' : `Your key is limited to ${scopes.join(', ')}.`;
}
