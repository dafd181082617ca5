/** When the position is worth saving, so that a film goes on from the exact second. Pure. */

export type Moment = 'tick' | 'pause' | 'seek' | 'leave';

export interface Saved {
  position_s: number;
  at_ms: number;
}

const EVERY_MS = 5000;

/** Whether to save `position_s` now. A film that never moved is not written over what is remembered. */
export function worthSaving(last: Saved, position_s: number, now_ms: number, moment: Moment): boolean {
  const moved = Math.abs(position_s - last.position_s);
  if (moved < 0.25) return false;
  return moment !== 'tick' || now_ms - last.at_ms >= EVERY_MS;
}
