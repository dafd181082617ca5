/**
 * The one door to the HTTP API: adds the CSRF header, a time limit, retries over hiccups, and turns every
 * refusal into an ApiFailure. Enter at `call`.
 */
import { noteAnswer, noteSilence } from './connection.svelte';
import { ApiFailure, failureFrom, unreachable } from './failure';
import { isHiccup, nextDelay, ONCE, PATIENT, type RetryPolicy } from './retry';

export const API = '/api/v1';
const ATTEMPT_LIMIT_MS = 8000;

export interface Call {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  json?: unknown;
  text?: string;
  /** Default: patient for GET, PUT, PATCH and DELETE (which may be repeated), once for POST. */
  retry?: RetryPolicy;
  /** Let the request outlive the page. */
  keepalive?: boolean;
  signal?: AbortSignal;
}

let onSignedOut: (asked_ms: number) => void = () => undefined;

/** Say what to do when the service no longer knows who we are; the action is told when it was asked. */
export function whenSignedOut(action: (asked_ms: number) => void): void {
  onSignedOut = action;
}

function requestOf(call: Call): RequestInit {
  const method = call.method ?? 'GET';
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (method !== 'GET') headers['X-Redqueen'] = '1';
  if (call.json !== undefined) headers['Content-Type'] = 'application/json';
  if (call.text !== undefined) headers['Content-Type'] = 'text/plain; charset=utf-8';
  const limit = AbortSignal.timeout(ATTEMPT_LIMIT_MS);
  return {
    method,
    headers,
    body: call.json === undefined ? call.text : JSON.stringify(call.json),
    credentials: 'same-origin',
    keepalive: call.keepalive ?? false,
    signal: call.signal ? AbortSignal.any([call.signal, limit]) : limit,
  };
}

async function attempt(path: string, call: Call): Promise<unknown> {
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(API + path, requestOf(call));
    const text = await response.text();
    body =
      text && response.headers.get('content-type')?.includes('json') ? (JSON.parse(text) as unknown) : text;
  } catch (thrown) {
    if (call.signal?.aborted) throw thrown;
    throw unreachable();
  }
  if (!response.ok) throw failureFrom(response.status, body);
  return body;
}

const pause = (delay_ms: number) => new Promise((resolve) => setTimeout(resolve, delay_ms));

/** Ask the API; answers the JSON body. Raises ApiFailure, or the signal's reason when aborted. */
export async function call<T>(path: string, options: Call = {}): Promise<T> {
  const policy = options.retry ?? (options.method === 'POST' ? ONCE : PATIENT);
  for (let failed = 1; ; failed++) {
    const asked_ms = performance.now();
    try {
      const body = await attempt(path, options);
      noteAnswer();
      return body as T;
    } catch (thrown) {
      if (!(thrown instanceof ApiFailure)) throw thrown;
      if (isHiccup(thrown.status)) noteSilence();
      else noteAnswer();
      const delay_ms = nextDelay(policy, failed, thrown.status, Math.random());
      if (delay_ms === null) {
        if (thrown.status === 401) onSignedOut(asked_ms);
        throw thrown;
      }
      await pause(delay_ms);
      options.signal?.throwIfAborted();
    }
  }
}
