/**
 * Events that the region has not acknowledged yet: in memory, and on a shelf that outlives the page.
 * Each session has a place of its own there, so that two tabs never write over each other; what another
 * page left is taken over. Sent twice is no harm: the region counts an event once. Enter at `Outbox`.
 */
import type { PlayerEvent } from './sums';

export interface Batch {
  token: string;
  events: PlayerEvent[];
}

/** Where things outlive a page; a browser that keeps nothing answers null and forgets. */
export interface Shelf {
  keys: () => string[];
  read: (key: string) => string | null;
  write: (key: string, value: string) => void;
  remove: (key: string) => void;
}

const PREFIX = 'redqueen.told.';
const MOST_EVENTS = 300;
const MOST_SESSIONS = 20;
/** Of one request, so that it fits into a beacon (64 KiB). */
export const MOST_SENT = 100;

export class Outbox {
  private readonly kept = new Map<string, Batch>();

  constructor(private readonly shelf: Shelf) {}

  get empty(): boolean {
    return this.kept.size === 0;
  }

  /** Keep an event of the session `id`. Of too many the oldest go: later ones say the same and more. */
  add(id: string, token: string, event: PlayerEvent): void {
    const events = [...(this.kept.get(id)?.events ?? []), event].slice(-MOST_EVENTS);
    this.put(id, { token, events });
  }

  /** Take over what pages before this one (or beside it) left. */
  adopt(): void {
    const left = this.shelf.keys().filter((key) => key.startsWith(PREFIX));
    for (const key of left.slice(0, -MOST_SESSIONS)) this.shelf.remove(key);
    for (const key of left.slice(-MOST_SESSIONS)) {
      const id = key.slice(PREFIX.length);
      const batch = batchOf(this.shelf.read(key));
      if (batch === null) this.shelf.remove(key);
      else if (!this.kept.has(id)) this.kept.set(id, batch);
    }
  }

  /** What to send now, the oldest first. */
  next(): Map<string, Batch> {
    const chosen = new Map<string, Batch>();
    let room = MOST_SENT;
    for (const [id, { token, events }] of this.kept) {
      if (room <= 0) break;
      chosen.set(id, { token, events: events.slice(0, room) });
      room -= events.length;
    }
    return chosen;
  }

  /** Forget what was acknowledged (or will never be taken). */
  done(sent: Map<string, Batch>): void {
    for (const [id, { token, events }] of sent) {
      const gone = new Set(events.map((event) => event.seq));
      const left = (this.kept.get(id)?.events ?? []).filter((event) => !gone.has(event.seq));
      this.put(id, { token, events: left });
    }
  }

  private put(id: string, batch: Batch): void {
    if (batch.events.length > 0) {
      this.kept.set(id, batch);
      this.shelf.write(PREFIX + id, JSON.stringify(batch));
    } else {
      this.kept.delete(id);
      this.shelf.remove(PREFIX + id);
    }
  }
}

function batchOf(text: string | null): Batch | null {
  try {
    const batch = JSON.parse(text ?? '') as Partial<Batch>;
    const whole = typeof batch.token === 'string' && Array.isArray(batch.events) && batch.events.length > 0;
    return whole ? (batch as Batch) : null;
  } catch {
    return null;
  }
}

/** The browser's own store; private windows and full disks make it forgetful, never fail. */
export const BROWSER: Shelf = {
  keys: () => orElse(() => Object.keys(localStorage).sort(), []),
  read: (key) => orElse(() => localStorage.getItem(key), null),
  write: (key, value) => {
    orElse(() => {
      localStorage.setItem(key, value);
    }, undefined);
  },
  remove: (key) => {
    orElse(() => {
      localStorage.removeItem(key);
    }, undefined);
  },
};

function orElse<T>(action: () => T, otherwise: T): T {
  try {
    return action();
  } catch {
    return otherwise;
  }
}
