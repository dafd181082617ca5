/**
 * Whether the service answers, as far as this page knows. One lost request is nobody's business;
 * the banner is for trouble that lasts.
 */

const PATIENCE_MS = 4000;

let troubleSince_ms: number | null = null;
let timer: ReturnType<typeof setTimeout> | undefined;

export const connection = $state({ lost: false });

export function noteAnswer(): void {
  troubleSince_ms = null;
  clearTimeout(timer);
  connection.lost = false;
}

export function noteSilence(): void {
  if (troubleSince_ms !== null) return;
  troubleSince_ms = Date.now();
  timer = setTimeout(() => (connection.lost = true), PATIENCE_MS);
}
