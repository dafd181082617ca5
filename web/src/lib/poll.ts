/** Do something again and again, one at a time, never while the page is hidden. */
import { untrack } from 'svelte';

export interface Poll {
  /** Do it now instead of at the next turn. */
  now: () => void;
  stop: () => void;
}

/** `action` gets a signal that ends with the poll and answers the pause in ms, or null to be done. */
export function poll(action: (signal: AbortSignal) => Promise<number | null>): Poll {
  const ending = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let busy = false;
  let done = false;

  const turn = async () => {
    if (busy || done || ending.signal.aborted) return;
    clearTimeout(timer);
    busy = true;
    let pause_ms: number | null = 2000;
    try {
      pause_ms = await action(ending.signal);
    } catch {
      // The action shows its own failures; the poll only goes on.
    }
    busy = false;
    done = pause_ms === null;
    if (pause_ms !== null && !document.hidden && !ending.signal.aborted) {
      timer = setTimeout(() => void turn(), pause_ms);
    }
  };
  const seen = () => {
    if (!document.hidden) void turn();
  };
  document.addEventListener('visibilitychange', seen);
  // What the action looks at is its own matter: it must not start the effect anew that began the poll.
  untrack(() => void turn());
  return {
    now: () => {
      done = false;
      void turn();
    },
    stop: () => {
      ending.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    },
  };
}
