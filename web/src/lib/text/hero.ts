/** Which title stands at the top of the home page, and why. Pure. */
import type { Row, Title } from '../api/types';
import { isPlayable } from './titles';

export interface Hero {
  title: Title;
  reason: string;
}

const wish: readonly [key: string | null, reason: string, has: (title: Title) => boolean][] = [
  ['continue', 'Continue watching', (title) => isPlayable(title) && title.poster !== null],
  ['new', 'New', (title) => isPlayable(title) && title.poster !== null],
  [null, 'Now showing', (title) => isPlayable(title) && title.poster !== null],
  [null, 'Now showing', isPlayable],
  [null, 'Coming up', (title) => title.state !== 'failed'],
  [null, 'Needs attention', () => true],
];

/** What was begun first, else the newest that can be played, else whatever there is; null for an empty house. */
export function chooseHero(rows: readonly Row[]): Hero | null {
  for (const [key, reason, has] of wish) {
    for (const row of rows) {
      const title = key === null || row.key === key ? row.items.find(has) : undefined;
      if (title) return { title, reason };
    }
  }
  return null;
}
