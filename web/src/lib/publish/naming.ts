/** A film's first title from its file's name. Pure. */

const LONGEST = 120;

/** "My_film-2024.final.mp4" becomes "My film 2024 final". Control and direction marks are dropped. */
export function titleOf(filename: string): string {
  const bare = filename.replace(/\.[A-Za-z0-9]{1,5}$/, '');
  const words = bare
    .replace(/[\p{Cc}\p{Cf}]/gu, ' ')
    .replace(/[_.]+/g, ' ')
    .replace(/(?<=\w)-(?=\w)/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  return [...(words || 'Untitled')].slice(0, LONGEST).join('');
}
