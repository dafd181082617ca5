/** Moments as people read them. Pure: what time it is is handed in. */
import { length } from './measures';

const DAY_S = 86_400;

/** The API's moment as seconds since 1970; it gives RFC 3339 or the number itself. */
export function epoch(at: string | number): number {
  return typeof at === 'number' ? at : Date.parse(at) / 1000;
}

/** "just now", "4 min ago", "2 h ago"; older than a day: the date and the time. */
export function ago(at: string | number, now_ms: number): string {
  const past_s = now_ms / 1000 - epoch(at);
  if (!Number.isFinite(past_s)) return '–';
  if (past_s < 5) return 'just now';
  if (past_s < DAY_S) return `${length(past_s)} ago`;
  return when(at);
}

/** "22 Nov, 06:10". */
export function when(at: string | number): string {
  return new Date(epoch(at) * 1000).toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
  });
}

/** The whole moment, for whoever points at it. */
export function exactly(at: string | number): string {
  const moment = new Date(epoch(at) * 1000);
  return Number.isNaN(moment.getTime()) ? '' : moment.toISOString();
}
