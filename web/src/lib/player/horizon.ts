/**
 * How far a film can be watched while it is still being encoded. Pure.
 *
 * A growing film has a known full length (the API's duration) and a horizon: the end of what is encoded.
 * It is never treated as live: nothing jumps to the horizon, and a seek past it stops a little before it.
 */

/** Kept before the horizon after a seek beyond it, so that there is something to play. */
export const HORIZON_MARGIN_S = 3;

export interface Film {
  /** The film's whole length; null when the API does not know it yet. */
  duration_s: number | null;
  /** End of the encoded part as the player sees it. */
  horizon_s: number;
  /** Whether more is still to come. */
  growing: boolean;
}

/** The length the seek bar shows, in seconds. */
export function shownDuration(film: Film): number {
  if (!film.growing && film.horizon_s > 0) return film.horizon_s;
  return Math.max(film.duration_s ?? 0, film.horizon_s);
}

export interface SeekChoice {
  at_s: number;
  because: 'as asked' | 'not encoded yet' | 'the end';
}

/** Where a wish to be at `wish_s` leads from `now_s`. A wish to go on never leads back. */
export function chooseSeek(film: Film, wish_s: number, now_s: number): SeekChoice {
  const wish = Math.max(0, wish_s);
  if (!film.growing) {
    const end = shownDuration(film);
    return end > 0 && wish >= end
      ? { at_s: Math.max(0, end - 0.05), because: 'the end' }
      : { at_s: wish, because: 'as asked' };
  }
  const last = Math.max(0, film.horizon_s - HORIZON_MARGIN_S);
  if (wish <= last) return { at_s: wish, because: 'as asked' };
  return { at_s: wish > now_s ? Math.max(last, now_s) : wish, because: 'not encoded yet' };
}

/** Where watching starts: the remembered second, or the beginning when the film had been seen to its end. */
export function startPosition(position_s: number, duration_s: number | null): number {
  if (!(position_s > 0)) return 0;
  return duration_s !== null && position_s >= duration_s - 2 ? 0 : position_s;
}

/** Seconds that can be played from `at_s` without another byte. */
export function bufferedAhead(ranges: readonly Span[], at_s: number): number {
  const holding = ranges.find((span) => span.from_s <= at_s + 0.1 && at_s < span.to_s);
  return holding ? holding.to_s - at_s : 0;
}

export interface Span {
  from_s: number;
  to_s: number;
}

/** The element's TimeRanges as plain spans. */
export function spansOf(ranges: Pick<TimeRanges, 'length' | 'start' | 'end'>): Span[] {
  return Array.from({ length: ranges.length }, (_, i) => ({ from_s: ranges.start(i), to_s: ranges.end(i) }));
}

export interface PlaylistEnd {
  end_s: number;
  seen_ms: number;
}

/** The end of the last segment in an HLS media playlist, in seconds; null for any other text (RFC 8216). */
export function playlistEnd(playlist: string): number | null {
  const lengths = [...playlist.matchAll(/^#EXTINF:([\d.]+)/gm)].map((match) => Number(match[1]));
  return lengths.length > 0 ? lengths.reduce((sum, length_s) => sum + length_s, 0) : null;
}

const FRESH_MS = 20_000;

/** Where picture and sound both are there: the earliest end among playlists still being read. */
export function endOf(ends: readonly PlaylistEnd[]): number | null {
  const newest = Math.max(...ends.map((one) => one.seen_ms));
  const fresh = ends.filter((one) => one.seen_ms > newest - FRESH_MS).map((one) => one.end_s);
  return fresh.length > 0 ? Math.min(...fresh) : null;
}
