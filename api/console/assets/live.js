// The live connection: one WebSocket for all pages. It comes back by itself, and each subscription goes on after the
// last revision it has seen, with no gap and nothing twice.
import { decode } from './format.js';

const beat = 15_000; // how often the server is asked for a sign of life
const patience = 10_000; // within which it must come
const slowest = 10_000; // between two attempts

class Live extends EventTarget {
  state = 'connecting'; // live, down
  retryAt = 0;
  #socket = null;
  #wanted = false;
  #subscriptions = new Map();
  #next = 1;
  #attempts = 0;
  #timer = 0;
  #pulse = 0;
  #overdue = 0;

  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#connect();
  }

  stop() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#drop();
    this.#subscriptions.clear();
  }

  // now does not wait for the next attempt.
  now() {
    if (this.#wanted && this.state === 'down') this.#connect();
  }

  // subscribe follows what matches a filter: {stream, category, types, correlation}, from {after} a revision or {new}.
  // What happens comes to on.events(events, revision), on.live(revision) and on.ended(problem). It returns how to stop.
  subscribe(filter, from, on) {
    const id = `c${this.#next++}`;
    this.#subscriptions.set(id, { filter, from: { ...from }, on });
    if (this.state === 'live') this.#ask(id);
    return () => {
      if (!this.#subscriptions.delete(id)) return;
      if (this.state === 'live') this.#send({ type: 'unsubscribe', id });
    };
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#become('connecting');
    const socket = new WebSocket(
      `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`,
      'millstream.v1',
    );
    this.#socket = socket;
    socket.addEventListener('open', () => {
      if (socket !== this.#socket) return;
      this.#attempts = 0;
      this.#become('live');
      for (const id of this.#subscriptions.keys()) this.#ask(id);
      this.#pulse = setInterval(() => {
        this.#send({ type: 'ping' });
        this.#overdue ||= setTimeout(() => this.#lost(), patience);
      }, beat);
    });
    socket.addEventListener('message', (m) => {
      if (socket === this.#socket) this.#hear(decode(m.data));
    });
    socket.addEventListener('close', () => {
      if (socket === this.#socket) this.#lost();
    });
  }

  #hear(message) {
    clearTimeout(this.#overdue);
    this.#overdue = 0;
    const s = this.#subscriptions.get(message.id);
    if (!s) return;
    switch (message.type) {
      case 'events':
        s.from = { after: message.revision };
        s.on.events?.(message.events, message.revision);
        break;
      case 'live':
        s.from = { after: message.revision ?? 0 };
        s.on.live?.(message.revision ?? 0);
        break;
      case 'ended':
      case 'error':
        this.#subscriptions.delete(message.id);
        s.on.ended?.(message);
        break;
    }
  }

  #ask(id) {
    const { filter, from } = this.#subscriptions.get(id);
    this.#send({ type: 'subscribe', id, ...filter, ...from });
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #lost() {
    this.#drop();
    if (!this.#wanted) return;
    const wait = Math.min(slowest, 500 * 2 ** this.#attempts++) * (0.75 + Math.random() / 2);
    this.retryAt = Date.now() + wait;
    this.#become('down');
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  #drop() {
    clearInterval(this.#pulse);
    clearTimeout(this.#overdue);
    this.#overdue = 0;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}

export const live = new Live();
addEventListener('online', () => live.now());
