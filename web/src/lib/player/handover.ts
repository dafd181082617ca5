/**
 * When the instant version of a film gives way to the final one. Pure.
 *
 * The final version is prepared in a second, unseen video element, and takes over at the same instant of
 * the film; so the picture never goes dark. This module decides when to prepare and when to hand over.
 */

export interface PrepareFacts {
  /** The API says that every quality is there. */
  complete: boolean;
  /** What plays now was loaded before that. */
  playingInstant: boolean;
  /** Something is being prepared already. */
  preparing: boolean;
  paused: boolean;
  seeking: boolean;
  ahead_s: number;
  waited_s: number;
}

export interface Verdict {
  choice: boolean;
  because: string;
}

/** Preparing shares the network with what plays, so it waits for a comfortable buffer, but not forever. */
const COMFORT_S = 6;
const PATIENCE_S = 10;

export function mayPrepare(facts: PrepareFacts): Verdict {
  if (!facts.complete || !facts.playingInstant)
    return { choice: false, because: 'there is nothing better yet' };
  if (facts.preparing) return { choice: false, because: 'it is being prepared' };
  if (facts.seeking) return { choice: false, because: 'a seek is under way' };
  if (facts.paused) return { choice: true, because: 'paused, so nothing can be disturbed' };
  if (facts.ahead_s >= COMFORT_S) return { choice: true, because: 'enough is buffered' };
  if (facts.waited_s >= PATIENCE_S) return { choice: true, because: 'waited long enough' };
  return { choice: false, because: 'the buffer is too small' };
}

/** The prepared element is put this far ahead of the playing one, and waits there for it. */
export const LEAD_S = 0.6;
/** What it must hold beyond that point before it may take over. */
export const READY_AHEAD_S = 3;

export interface MeetFacts {
  paused: boolean;
  playing_s: number;
  waiting_s: number;
  /** Buffered in the waiting element beyond its position. */
  ahead_s: number;
  seeking: boolean;
  /** The film's end, when the waiting element cannot have more ahead. */
  left_s: number;
}

export type Meeting = 'wait' | 'hand over' | 'place again';

/** What to do now with an element that waits at `waiting_s` while the other plays at `playing_s`. */
export function meeting(facts: MeetFacts): Meeting {
  if (facts.seeking) return 'wait';
  const gap_s = facts.waiting_s - facts.playing_s;
  const ready = facts.ahead_s >= Math.min(READY_AHEAD_S, Math.max(0, facts.left_s - 0.3));
  if (facts.paused) return Math.abs(gap_s) > 0.02 ? 'place again' : ready ? 'hand over' : 'wait';
  if (gap_s < -0.05 || gap_s > LEAD_S + 5) return 'place again';
  return ready && gap_s <= 0.02 ? 'hand over' : 'wait';
}
