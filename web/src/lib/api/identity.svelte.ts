/** Who is signed in on this page: unknown until asked, then an account or nobody. */
import { session } from './client';
import { ApiFailure } from './failure';
import type { Account } from './types';

/** The media right is renewed by reading the session, well before half of its life is gone. */
const RENEW_MS = 10 * 60_000;

export const identity = $state<{ known: boolean; account: Account | null }>({ known: false, account: null });

export function signedIn(account: Account): void {
  identity.account = account;
  identity.known = true;
}

export function signedOut(): void {
  identity.account = null;
  identity.known = true;
}

/** Ask the service who we are; nobody is an answer, silence is a failure. */
export async function askIdentity(): Promise<void> {
  try {
    signedIn((await session.read()).account);
  } catch (thrown) {
    if (!(thrown instanceof ApiFailure) || thrown.status !== 401) throw thrown;
    signedOut();
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
