/** Keys of the player and what they ask for. Pure. */

export type Command =
  | { do: 'toggle' | 'fullscreen' | 'mute' | 'captions' | 'start' | 'end' | 'slower' | 'faster' }
  | { do: 'skip'; by_s: number }
  | { do: 'louder'; by: number }
  | { do: 'part'; fraction: number };

const KEYS: Readonly<Record<string, Command>> = {
  ' ': { do: 'toggle' },
  k: { do: 'toggle' },
  ArrowLeft: { do: 'skip', by_s: -5 },
  ArrowRight: { do: 'skip', by_s: 5 },
  j: { do: 'skip', by_s: -10 },
  l: { do: 'skip', by_s: 10 },
  ArrowUp: { do: 'louder', by: 0.05 },
  ArrowDown: { do: 'louder', by: -0.05 },
  f: { do: 'fullscreen' },
  m: { do: 'mute' },
  c: { do: 'captions' },
  Home: { do: 'start' },
  End: { do: 'end' },
  '<': { do: 'slower' },
  '>': { do: 'faster' },
};

/** What a key asks for, or null. `on` is what has the focus: a button keeps its space, a slider its arrows. */
export function commandOf(key: string, on: 'page' | 'button' | 'seek' | 'volume' | 'menu'): Command | null {
  if (on === 'menu') return null;
  if (on === 'button' && key === ' ') return null;
  if (on === 'volume' && (key.startsWith('Arrow') || key === 'Home' || key === 'End')) return null;
  if (/^[0-9]$/.test(key)) return { do: 'part', fraction: Number(key) / 10 };
  return KEYS[key.length === 1 ? key.toLowerCase() : key] ?? null;
}

export const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2] as const;

/** The next speed in a direction; stays at the ends. */
export function nextSpeed(rate: number, by: 1 | -1): number {
  const at = SPEEDS.findIndex((speed) => speed >= rate - 0.01);
  return SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, (at === -1 ? 2 : at) + by))] ?? 1;
}
