/**
 * What to do when the player gave up by itself: load again at the current position, or tell the person. Pure.
 * A dead server is normal here, so network trouble gets minutes, and anything else a few attempts.
 */

export type Trouble = 'network' | 'right' | 'media';

export type Recovery = { action: 'again'; after_ms: number } | { action: 'tell' };

const PATIENCE: Record<Trouble, number> = { network: 40, right: 4, media: 4 };
const LONGEST_MS = 5000;

/** Playing well for this long makes earlier trouble history. */
export const FORGIVEN_AFTER_S = 20;

/** `attempts` already made for this trouble. */
export function recover(trouble: Trouble, attempts: number): Recovery {
  if (attempts >= PATIENCE[trouble]) return { action: 'tell' };
  return { action: 'again', after_ms: Math.min(250 * 1.7 ** attempts, LONGEST_MS) };
}

/** Sort a player error (its category and, for bad HTTP answers, the status) into what can be done about it. */
export function troubleOf(category: number, status: number | null): Trouble {
  if (status === 401 || status === 403) return 'right';
  // Category 1 is the network; 4 is the manifest, which may be caught half-way while it is replaced.
  return category === 1 ? 'network' : 'media';
}

export interface StuckFacts {
  /** The viewer wants to see the film, and it does not move. */
  waiting: boolean;
  /** Everything that is encoded so far has been played; only the studio can help. */
  starved: boolean;
  /** Since the position or the buffer last changed, in seconds. */
  still_s: number;
}

const NUDGE_AFTER_S = 2.5;
const RELOAD_AFTER_S = 8;

/** What to do about a film that stands still although the player thinks that it is trying. */
export function unstick(facts: StuckFacts): 'wait' | 'nudge' | 'reload' {
  if (!facts.waiting || facts.starved || facts.still_s < NUDGE_AFTER_S) return 'wait';
  return facts.still_s < RELOAD_AFTER_S ? 'nudge' : 'reload';
}
