// Looking again when the log has grown.
import { live } from './live.js';
import { every } from './parts.js';

// follow calls look(revision) when there is more than it has seen: at most once a second, as long as the page is looked
// at, until the signal. look answers false when it could not just now, and is asked again, as after an error, which
// failed(err) shows; failed(null): all is well.
export function follow(signal, look, failed) {
  let last = 0; // revision of the log
  let seen = 0;
  let ended = null;
  const stop = live.subscribe(
    {},
    { new: true },
    {
      events: (_, revision) => (last = revision),
      live: (revision) => (last = revision),
      ended: (problem) => (ended = problem),
    },
  );
  signal.addEventListener('abort', stop);
  every(
    1000,
    signal,
    async () => {
      if (ended) throw ended;
      const now = last;
      if (now !== seen && (await look(now)) !== false) seen = now;
    },
    failed,
  );
}
