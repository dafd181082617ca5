/** How a state feels, for its colour and shape; the word beside it always says it too. Pure. */

export type Mood = 'well' | 'rising' | 'leaving' | 'dead' | 'gone';

const MOODS: Record<string, Mood> = {
  promoted: 'well',
  won: 'well',
  testing: 'rising',
  'rolling out': 'rising',
  ended: 'gone',
  serving: 'well',
  up: 'well',
  on: 'well',
  running: 'rising',
  trying: 'rising',
  starting: 'rising',
  promoting: 'rising',
  replacing: 'rising',
  planned: 'gone',
  stored: 'gone',
  queued: 'gone',
  held: 'leaving',
  inconclusive: 'leaving',
  'rolled back': 'dead',
  failed: 'dead',
  failing: 'dead',
  down: 'dead',
  backoff: 'dead',
  quarantined: 'dead',
  draining: 'leaving',
  stopped: 'gone',
};

export function moodOf(word: string): Mood {
  return MOODS[word] ?? 'gone';
}
