/** Subtitles at a moment of the film. Pure; reading the file is captions.ts. */

export interface Cue {
  from_s: number;
  to_s: number;
  /** WebVTT cue text with its tags. */
  text: string;
}

export interface CaptionPart {
  text: string;
  italic: boolean;
  bold: boolean;
}

/** The cues shown at `at_s`, oldest first. `cues` are sorted by their start. */
export function cuesAt(cues: readonly Cue[], at_s: number): Cue[] {
  let low = 0;
  let high = cues.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((cues[middle]?.from_s ?? Infinity) <= at_s) low = middle + 1;
    else high = middle;
  }
  // A cue on screen started at most a minute ago; older ones are not looked at.
  const shown: Cue[] = [];
  for (let i = low - 1; i >= 0; i--) {
    const cue = cues[i];
    if (!cue || cue.from_s < at_s - 60) break;
    if (cue.to_s > at_s) shown.unshift(cue);
  }
  return shown;
}

const ENTITIES: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  nbsp: '\u00a0',
  lrm: '\u200e',
  rlm: '\u200f',
};

/** Lines of styled parts: italics and bold are kept, every other tag is dropped, nothing becomes HTML. */
export function captionLines(text: string): CaptionPart[][] {
  const lines: CaptionPart[][] = [[]];
  let italic = 0;
  let bold = 0;
  for (const token of text.split(/(<[^>]*>|\n)/)) {
    if (token === '\n') lines.push([]);
    else if (/^<i[.\s>]/.test(token)) italic++;
    else if (token === '</i>') italic--;
    else if (/^<b[.\s>]/.test(token)) bold++;
    else if (token === '</b>') bold--;
    else if (token && !(token.startsWith('<') && token.endsWith('>'))) {
      const plain = token.replace(/&(\w+);/g, (all, name: string) => ENTITIES[name] ?? all);
      lines.at(-1)?.push({ text: plain, italic: italic > 0, bold: bold > 0 });
    }
  }
  return lines.filter((line) => line.length > 0);
}

const TIME = /^(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})$/;

function seconds(stamp: string): number | null {
  const match = TIME.exec(stamp);
  if (!match) return null;
  const [, h = '0', m = '0', s = '0', ms = '0'] = match;
  return Number(h) * 3600 + Number(m) * 60 + Number(s) + Number(ms) / 1000;
}

/** The cues of a WebVTT file, sorted by start (WebVTT, W3C). Broken blocks are left out. */
export function parseVtt(file: string): Cue[] {
  const cues: Cue[] = [];
  for (const block of file.replace(/\r\n?/g, '\n').split(/\n{2,}/)) {
    const lines = block.split('\n');
    const timing = lines.findIndex((line) => line.includes('-->'));
    if (timing === -1) continue;
    const [from = '', , to = ''] = (lines[timing] ?? '').trim().split(/\s+/);
    const [from_s, to_s] = [seconds(from), seconds(to)];
    const text = lines
      .slice(timing + 1)
      .join('\n')
      .trim();
    if (from_s !== null && to_s !== null && to_s > from_s && text) cues.push({ from_s, to_s, text });
  }
  return cues.sort((a, b) => a.from_s - b.from_s);
}
