/**
 * A session as the region is told of it: every event carries the sums so far, so that the last one tells
 * everything. Pure; times come in as milliseconds of a steady clock. Enter at `ask` and `step`.
 */

export type Kind =
  'asked' | 'first_frame' | 'stall_begin' | 'stall_end' | 'error' | 'quality' | 'heartbeat' | 'end';

/** As the region takes it; times in ms from the wish to watch. */
export interface PlayerEvent {
  seq: number;
  kind: Kind;
  at_ms: number;
  /** To the first frame; -1: none yet. */
  delay_ms: number;
  played_ms: number;
  stalled_ms: number;
  stalls: number;
  errors: number;
  bitrate_bps: number;
  /** Over the time played so far. */
  mean_bitrate_bps: number;
  detail: string;
}

/** What the player says; `resting` is a pause, a seek or the end: time that is neither played nor stalled. */
export type Happening =
  | { what: 'asked' | 'playing' | 'waiting' | 'resting' | 'shown' | 'beat' | 'end' }
  | { what: 'error'; because: string }
  | { what: 'quality'; bitrate_bps: number };

export interface Session {
  readonly asked_ms: number;
  readonly seq: number;
  readonly phase: 'starting' | 'playing' | 'stalled' | 'resting';
  /** Until when the sums are computed. */
  readonly as_of_ms: number;
  readonly delay_ms: number;
  readonly played_ms: number;
  readonly stalled_ms: number;
  readonly stalls: number;
  readonly errors: number;
  readonly bitrate_bps: number;
  /** Bits by 1000: the rate over the time played. */
  readonly weight: number;
}

const LONGEST_DETAIL = 200;

/** Begin a session that was asked for at `now_ms`. */
export function ask(now_ms: number): Session {
  return {
    asked_ms: now_ms,
    seq: 0,
    phase: 'starting',
    as_of_ms: now_ms,
    delay_ms: -1,
    played_ms: 0,
    stalled_ms: 0,
    stalls: 0,
    errors: 0,
    bitrate_bps: 0,
    weight: 0,
  };
}

/** Take in what happened at `now_ms`; answers the session after it, and the event to tell, if it is one. */
export function step(before: Session, happening: Happening, now_ms: number): [Session, PlayerEvent | null] {
  const session = counted(before, Math.max(now_ms, before.as_of_ms));
  const [after, kind] = changed(session, happening);
  if (kind === null) return [after, null];
  const told = { ...after, seq: after.seq + 1 };
  return [told, eventOf(told, kind, happening.what === 'error' ? happening.because : '')];
}

/** Add the time since the last look to what it was. */
function counted(session: Session, now_ms: number): Session {
  const past_ms = now_ms - session.as_of_ms;
  const playing = session.phase === 'playing';
  return {
    ...session,
    as_of_ms: now_ms,
    played_ms: session.played_ms + (playing ? past_ms : 0),
    stalled_ms: session.stalled_ms + (session.phase === 'stalled' ? past_ms : 0),
    weight: session.weight + (playing ? past_ms * session.bitrate_bps : 0),
  };
}

function changed(session: Session, happening: Happening): [Session, Kind | null] {
  switch (happening.what) {
    case 'asked':
      return [session, 'asked'];
    case 'playing':
      return played(session);
    case 'waiting':
      return session.phase === 'playing'
        ? [{ ...session, phase: 'stalled', stalls: session.stalls + 1 }, 'stall_begin']
        : [session, null];
    case 'resting':
      return rested(session);
    case 'shown':
      return session.phase === 'starting'
        ? [{ ...session, phase: 'resting', delay_ms: since(session) }, 'first_frame']
        : [session, null];
    case 'error':
      return [{ ...session, errors: session.errors + 1 }, 'error'];
    case 'quality':
      return happening.bitrate_bps === session.bitrate_bps
        ? [session, null]
        : [{ ...session, bitrate_bps: happening.bitrate_bps }, 'quality'];
    case 'beat':
      return [session, 'heartbeat'];
    case 'end':
      return [session, 'end'];
  }
}

function played(session: Session): [Session, Kind | null] {
  const playing: Session = { ...session, phase: 'playing' };
  if (session.phase === 'starting') return [{ ...playing, delay_ms: since(session) }, 'first_frame'];
  return [playing, session.phase === 'stalled' ? 'stall_end' : null];
}

function rested(session: Session): [Session, Kind | null] {
  if (session.phase === 'starting') return [session, null];
  return [{ ...session, phase: 'resting' }, session.phase === 'stalled' ? 'stall_end' : null];
}

const since = (session: Session) => session.as_of_ms - session.asked_ms;

function eventOf(session: Session, kind: Kind, detail: string): PlayerEvent {
  // Rounded down together, so that no sum says more than the time that passed.
  return {
    seq: session.seq,
    kind,
    at_ms: Math.floor(since(session)),
    delay_ms: Math.floor(session.delay_ms),
    played_ms: Math.floor(session.played_ms),
    stalled_ms: Math.floor(session.stalled_ms),
    stalls: session.stalls,
    errors: session.errors,
    bitrate_bps: Math.round(session.bitrate_bps),
    mean_bitrate_bps: session.played_ms > 0 ? Math.round(session.weight / session.played_ms) : 0,
    detail: detail.slice(0, LONGEST_DETAIL),
  };
}

/** A trial judges a session's first 20 s: so long it is told of more often. In ms after the wish to watch. */
const BEATS_MS = [5_000, 10_000, 15_000, 19_000];
const LATER_EVERY_MS = 20_000;

/** When the next heartbeat is due, in ms after the wish to watch, `at_ms` after it. */
export function nextBeat(at_ms: number): number {
  const soon = BEATS_MS.find((beat_ms) => beat_ms > at_ms);
  return soon ?? (Math.floor(at_ms / LATER_EVERY_MS) + 1) * LATER_EVERY_MS;
}
