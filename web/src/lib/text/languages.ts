/** Languages of subtitles: their codes (BCP 47) and what people call them. */

export const USUAL_LANGS = [
  'en',
  'fr',
  'de',
  'es',
  'it',
  'pt',
  'nl',
  'pl',
  'sv',
  'uk',
  'tr',
  'ar',
  'hi',
  'zh',
  'ja',
  'ko',
];

/** The language's name in the browser's own language, or the code itself. */
export function nameOfLang(code: string): string {
  try {
    return new Intl.DisplayNames(undefined, { type: 'language' }).of(code.trim()) ?? code;
  } catch {
    return code;
  }
}

/** The language a file's name ends with ("film.pt-BR.srt"), or null. */
export function langOf(filename: string): string | null {
  return /[._-]([a-z]{2}(?:-[A-Za-z]{2,4})?)\.(?:srt|vtt)$/.exec(filename)?.[1] ?? null;
}
