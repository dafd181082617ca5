/** What the app says about a title's state, and what can be done in it. Pure. */
import type { Title, TitleState } from '../api/types';
import { percent, size } from './measures';

export const isPlayable = (title: { state: TitleState }) =>
  title.state === 'playable' || title.state === 'complete';

/** Whether the state still moves by itself, so that it is worth asking again. */
export const isMoving = (title: { state: TitleState }) =>
  title.state !== 'complete' && title.state !== 'failed';

/** One or two words for a badge, or null for a title that needs none. */
export function badge(title: Title): string | null {
  switch (title.state) {
    case 'complete':
      return null;
    case 'failed':
      return 'Failed';
    case 'uploading':
      return `Uploading ${percent(uploadFraction(title))}`;
    case 'waiting':
      return 'Waiting';
    case 'encoding':
      return `Preparing ${percent(title.progress)}`;
    case 'playable':
      return `Watchable · ${percent(title.progress)}`;
  }
}

/** A sentence for the title page and the console. */
export function sentence(title: Title): string {
  switch (title.state) {
    case 'complete':
      return 'Ready in every quality.';
    case 'failed':
      return title.failure?.what ?? 'It could not be made playable.';
    case 'uploading':
      return `Uploading: ${size(title.uploaded_bytes)} of ${size(title.size_bytes)}.`;
    case 'waiting':
      return 'Uploaded. Waiting for a free worker.';
    case 'encoding':
      return `Preparing the first seconds (${percent(title.progress)} of the whole).`;
    case 'playable':
      return `You can watch it now; ${percent(title.progress)} is encoded.`;
  }
}

export function uploadFraction(title: Title): number {
  return title.size_bytes > 0 ? title.uploaded_bytes / title.size_bytes : 0;
}

/** How much of the film was seen, 0..1; 0 when unknown. */
export function seenFraction(title: Title): number {
  return title.duration_s && title.position_s ? Math.min(1, title.position_s / title.duration_s) : 0;
}

/** Whether watching goes on from a remembered position (not from the very start, not from the credits). */
export function resumes(title: Title): boolean {
  const at_s = title.position_s ?? 0;
  return at_s >= 1 && (title.duration_s === null || at_s < title.duration_s - 5);
}

/** The best quality there is or will be, as people name it: "1080p". */
export function quality(title: Title): string | null {
  const top = Math.max(title.height ?? 0, ...title.rungs.map((rung) => rung.height));
  return top > 0 ? `${String(top)}p` : null;
}

/** A stable hue in degrees for a title without a poster. */
export function hue(id: string): number {
  let sum = 7;
  for (const char of id) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 9973;
  return (330 + (sum % 100)) % 360;
}
