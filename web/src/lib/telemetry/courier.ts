/**
 * Brings events to the region, one request at a time, again and again until they are acknowledged. Any node
 * will do: the gateway chooses one that lives. Nothing waits for it and nothing it meets is anybody's trouble.
 * Enter at `wake`; `part` when the page may be going.
 */
import { BROWSER, Outbox, type Batch } from './outbox';

const BEACON = '/telemetry/v1/events';
const ATTEMPT_LIMIT_MS = 8000;
/** Events that belong together travel together. */
const GATHER_MS = 150;
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 15_000;
/** The region understood and says no: the same words will not be better later. */
const REFUSED = new Set([400, 401, 403, 413, 422]);

export interface Post {
  status: number;
  /** Not before so many ms. */
  after_ms: number;
}

export class Courier {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private busy = false;
  private failed = 0;
  /** No request before this, by the steady clock. */
  private notBefore_ms = 0;
  /** After a refusal sessions go one by one, so that a bad one cannot take others with it. */
  private singly = false;

  constructor(
    readonly outbox: Outbox,
    private readonly post: (body: string) => Promise<Post>,
    private readonly luck: () => number = Math.random,
  ) {}

  /** Something is there to be sent. */
  wake(after_ms = GATHER_MS): void {
    if (this.busy || this.outbox.empty) return;
    clearTimeout(this.timer);
    const pause_ms = Math.max(after_ms, this.notBefore_ms - performance.now());
    this.timer = setTimeout(() => void this.turn(), pause_ms);
  }

  /** The page may be gone in a moment: hand what is left to the browser. It stays kept until acknowledged. */
  part(send: (body: string) => boolean): void {
    const sent = this.outbox.next();
    if (sent.size > 0) send(bodyOf(sent));
  }

  private async turn(): Promise<void> {
    const sent = this.chosen();
    if (sent.size === 0) return;
    this.busy = true;
    const { status, after_ms } = await this.post(bodyOf(sent)).catch(() => ({ status: 0, after_ms: 0 }));
    this.busy = false;
    const pause_ms = this.judge(sent, status, after_ms);
    this.notBefore_ms = performance.now() + pause_ms;
    this.wake(pause_ms);
  }

  private chosen(): Map<string, Batch> {
    const all = this.outbox.next();
    return this.singly ? new Map([...all].slice(0, 1)) : all;
  }

  /** Take in the answer; answers the pause in ms before the next request. */
  private judge(sent: Map<string, Batch>, status: number, after_ms: number): number {
    if (status >= 200 && status < 300) {
      this.outbox.done(sent);
      this.failed = 0;
      this.singly = false;
      return GATHER_MS;
    }
    if (REFUSED.has(status)) {
      if (sent.size <= 1) this.outbox.done(sent);
      this.singly = sent.size > 1;
      return GATHER_MS;
    }
    this.failed++;
    const pause_ms = Math.min(FIRST_PAUSE_MS * 1.8 ** (this.failed - 1), LONGEST_PAUSE_MS);
    return Math.max(after_ms, pause_ms * (0.75 + 0.5 * this.luck()));
  }
}

function bodyOf(sent: Map<string, Batch>): string {
  return JSON.stringify({ batches: [...sent.values()] });
}

async function overHttp(body: string): Promise<Post> {
  const answer = await fetch(BEACON, {
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json', 'X-Redqueen': '1' },
    credentials: 'same-origin',
    signal: AbortSignal.timeout(ATTEMPT_LIMIT_MS),
  });
  const wait_s = Number(answer.headers.get('retry-after') ?? 0);
  return { status: answer.status, after_ms: Number.isFinite(wait_s) ? Math.min(wait_s, 120) * 1000 : 0 };
}

export const courier = new Courier(new Outbox(BROWSER), overHttp);

/** Hand what is left to the browser itself, which sends it even when the page is gone. */
export function part(): void {
  courier.part((body) => navigator.sendBeacon(BEACON, body));
}

/** Bring what earlier pages left, and go on whenever the network is back. Answers how to stop. */
export function startCourier(): () => void {
  const again = () => {
    courier.wake(0);
  };
  courier.outbox.adopt();
  again();
  addEventListener('online', again);
  return () => {
    removeEventListener('online', again);
  };
}
