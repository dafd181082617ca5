/** How fast an upload is and how long it still takes, from what was sent lately. Pure. */

export interface Sample {
  at_ms: number;
  sent_bytes: number;
}

const WINDOW_MS = 8000;

/** The samples worth keeping after one more: the last eight seconds, and one older as their beginning. */
export function withSample(samples: readonly Sample[], next: Sample): Sample[] {
  const first = samples.findIndex((sample) => sample.at_ms >= next.at_ms - WINDOW_MS);
  return [...(first === -1 ? samples.slice(-1) : samples.slice(Math.max(0, first - 1))), next];
}

/** Bytes per second over the samples; 0 when that cannot be said yet. */
export function speed(samples: readonly Sample[]): number {
  const [first, last] = [samples[0], samples.at(-1)];
  if (!first || !last || last.at_ms - first.at_ms < 500) return 0;
  return Math.max(0, ((last.sent_bytes - first.sent_bytes) / (last.at_ms - first.at_ms)) * 1000);
}

/** "about 3 min left", or '' when it cannot be said. */
export function timeLeft(left_bytes: number, bytes_per_s: number): string {
  if (bytes_per_s <= 0 || left_bytes <= 0) return '';
  const left_s = left_bytes / bytes_per_s;
  if (left_s < 5) return 'a few seconds left';
  if (left_s < 60) return `${String(Math.ceil(left_s / 5) * 5)} s left`;
  const minutes = Math.ceil(left_s / 60);
  return minutes < 60 ? `${String(minutes)} min left` : `${(minutes / 60).toFixed(1)} h left`;
}
