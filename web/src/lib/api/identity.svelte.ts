/** Who is signed in on this page: unknown until asked, then an account or nobody. */
import { session } from './client';
import { ApiFailure } from './failure';
import type { Account } from './types';

/** The media right is renewed by reading the session, well before half of its life is gone. */
const RENEW_MS = 10 * 60_000;

export const identity = $state<{ known: boolean; account: Account | null }>({ known: false, account: null });

let since_ms = -Infinity;

export function signedIn(account: Account): void {
  identity.account = account;
  identity.known = true;
  since_ms = performance.now();
}

/** Nobody is signed in; but what was asked before somebody was, and is answered late, says nothing. */
export function signedOut(asked_ms = performance.now()): void {
  if (asked_ms < since_ms) return;
  identity.account = null;
  identity.known = true;
}

/** Ask the service who we are; nobody is an answer, silence is a failure. */
export async function askIdentity(): Promise<void> {
  const asked_ms = performance.now();
  try {
    signedIn((await session.read()).account);
  } catch (thrown) {
    if (!(thrown instanceof ApiFailure) || thrown.status !== 401) throw thrown;
    signedOut(asked_ms);
  }
}

/** Keep the media right fresh while the page is open. Answers how to stop. */
export function keepFresh(): () => void {
  const timer = setInterval(() => {
    if (identity.account) void askIdentity().catch(() => undefined);
  }, RENEW_MS);
  return () => {
    clearInterval(timer);
  };
}
