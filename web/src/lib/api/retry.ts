/**
 * When a request is tried again, and after how long. Pure: no clock, no randomness of its own.
 * A node may be killed at any moment, so a hiccup is normal and must not be seen by the person.
 */

export interface RetryPolicy {
  attempts: number;
  first_delay_ms: number;
  factor: number;
  longest_delay_ms: number;
}

/** About eight seconds of patience: longer than any single node needs to be replaced. */
export const PATIENT: RetryPolicy = { attempts: 8, first_delay_ms: 150, factor: 1.8, longest_delay_ms: 2500 };

/** One attempt: for polls, whose next tick is the retry, and for what must not happen twice. */
export const ONCE: RetryPolicy = { attempts: 1, first_delay_ms: 0, factor: 1, longest_delay_ms: 0 };

/** Whether a status (0: no answer at all) is a hiccup of the service and not its verdict. */
export function isHiccup(status: number): boolean {
  return status === 0 || status === 502 || status === 503 || status === 504;
}

/**
 * The pause in ms before the next attempt, or null when there is none.
 * `failed` attempts so far (1 or more); `jitter` in 0..1 spreads clients over half of the pause.
 */
export function nextDelay(
  policy: RetryPolicy,
  failed: number,
  status: number,
  jitter: number,
): number | null {
  if (!isHiccup(status) || failed >= policy.attempts) return null;
  const full = Math.min(policy.first_delay_ms * policy.factor ** (failed - 1), policy.longest_delay_ms);
  return Math.round(full * (0.75 + 0.5 * jitter));
}
