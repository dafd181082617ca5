/**
 * Tells the region how one sitting goes. The session is granted before the film is loaded; what happens
 * until then is kept. Whatever fails here, the film plays on: nothing throws, nothing is waited for longer
 * than `GRANT_LIMIT_MS`. Enter at `ask`, `granted` and `saw`.
 */
import { call } from '../api/http';
import { PATIENT } from '../api/retry';
import { courier, part } from './courier';
import { deviceOf } from './device';
import { BROWSER } from './outbox';
import { ask, nextBeat, step, type Happening, type PlayerEvent, type Session } from './sums';

/** What the region answers to the wish for a session. */
export interface Grant {
  token: string;
  /** Hexadecimal; also CMCD's sid. */
  session: string;
  arms: Record<string, string>;
  /** What experiments set for this session. */
  flags?: Record<string, unknown>;
}

const GRANT_LIMIT_MS = 700;
const LOOK_MS = 500;
/** Set once something was watched with this browser. */
const KNOWN = 'redqueen.returning';

export class Witness {
  private session: Session | null = null;
  private grant: Grant | null = null;
  private asking: Promise<Grant | null> | null = null;
  private early: PlayerEvent[] = [];
  private beatDue_ms = nextBeat(0);
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly titleId: string,
    private readonly now_ms: () => number = () => performance.now(),
  ) {}

  /** The session's id once it is granted. */
  get id(): string | null {
    return this.grant?.session ?? null;
  }

  /** What proves that one may tell of the session. */
  get token(): string {
    return this.grant?.token ?? '';
  }

  /** The lines of the rung that this sitting shall begin with at most; 0: nothing was said. */
  get startRung(): number {
    const told = this.grant?.flags?.['player.start_rung'];
    return typeof told === 'number' && told > 0 ? told : 0;
  }

  /** The viewer wanted to watch at `since_ms`, by the steady clock; asks for a session. Once. */
  ask(since_ms: number): void {
    if (this.session) return;
    this.session = ask(since_ms);
    this.saw({ what: 'asked' });
    this.timer = setInterval(() => {
      this.beat();
    }, LOOK_MS);
    this.asking = this.request();
  }

  /** The grant, or null when there is none (yet): the film does not wait for it any longer. */
  async granted(): Promise<Grant | null> {
    if (!this.asking) return null;
    const late = new Promise<null>((resolve) => {
      setTimeout(() => {
        resolve(null);
      }, GRANT_LIMIT_MS);
    });
    return Promise.race([this.asking, late]);
  }

  /** Take in what the player did. */
  saw(happening: Happening): void {
    if (!this.session) return;
    const [after, event] = step(this.session, happening, this.now_ms());
    this.session = after;
    if (event) this.tell(event);
  }

  /** The page may be going: tell the sums so far, and do not wait for an answer. */
  leave(): void {
    if (!this.session) return;
    this.saw({ what: 'beat' });
    part();
  }

  /** The sitting is over. */
  close(): void {
    clearInterval(this.timer);
    this.saw({ what: 'end' });
    this.session = null;
  }

  private beat(): void {
    if (!this.session) return;
    const at_ms = this.now_ms() - this.session.asked_ms;
    if (at_ms < this.beatDue_ms) return;
    this.beatDue_ms = nextBeat(at_ms);
    if (this.session.phase !== 'resting') this.saw({ what: 'beat' });
  }

  private tell(event: PlayerEvent): void {
    if (!this.grant) {
      this.early.push(event);
      return;
    }
    courier.outbox.add(this.grant.session, this.grant.token, event);
    courier.wake();
  }

  private async request(): Promise<Grant | null> {
    try {
      const path = `/titles/${encodeURIComponent(this.titleId)}/sessions`;
      const json = { device: deviceOf(navigator.userAgent), returning: BROWSER.read(KNOWN) !== null };
      BROWSER.write(KNOWN, '1');
      this.grant = await call<Grant>(path, { method: 'POST', json, retry: PATIENT });
    } catch {
      // Nothing is told of this sitting; it goes on all the same.
      clearInterval(this.timer);
      this.session = null;
      this.early = [];
      return null;
    }
    for (const event of this.early.splice(0)) this.tell(event);
    return this.grant;
  }
}
