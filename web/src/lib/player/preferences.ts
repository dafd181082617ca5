/** What a viewer's browser remembers about how they like to watch. Lost preferences are no failure. */

export interface Preferences {
  volume: number;
  muted: boolean;
  /** Language of the subtitles, or '' for none. */
  captions: string;
}

const KEY = 'redqueen.player';
const USUAL: Preferences = { volume: 1, muted: false, captions: '' };

export function readPreferences(): Preferences {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Preferences>;
    const volume = typeof kept.volume === 'number' ? Math.min(1, Math.max(0, kept.volume)) : USUAL.volume;
    return {
      volume,
      muted: kept.muted === true,
      captions: typeof kept.captions === 'string' ? kept.captions : '',
    };
  } catch {
    return USUAL;
  }
}

export function keepPreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // A browser that keeps nothing still plays.
  }
}
