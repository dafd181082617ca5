/** Fetching a subtitle file: whole, once, and patiently, since any server may be dying right now. */
import { isHiccup, nextDelay, PATIENT } from '../api/retry';
import { parseVtt, type Cue } from './cues';

const kept = new Map<string, Promise<Cue[]>>();

async function fetchCues(url: string): Promise<Cue[]> {
  for (let failed = 1; ; failed++) {
    const response = await fetch(url, { signal: AbortSignal.timeout(8000) }).catch(() => null);
    if (response?.ok) return parseVtt(await response.text());
    const status = response?.status ?? 0;
    const delay_ms = nextDelay(PATIENT, failed, isHiccup(status) ? status : 503, Math.random());
    if (delay_ms === null) throw new Error(`The subtitles could not be loaded (status ${String(status)}).`);
    await new Promise((resolve) => setTimeout(resolve, delay_ms));
  }
}

/** The cues of a subtitle file. Raises when it cannot be had; the next call tries again. */
export function cuesOf(url: string): Promise<Cue[]> {
  const known = kept.get(url) ?? fetchCues(url);
  kept.set(url, known);
  known.catch(() => kept.delete(url));
  return known;
}
