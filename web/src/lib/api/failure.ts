/**
 * Every failure a person may see has one shape: what happened, why, and what to do.
 * The server says it in its error body; here the same shape is made for what never reached the server.
 */
import type { Failure } from './types';

export class ApiFailure extends Error implements Failure {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly what: string,
    readonly why = '',
    readonly hint = '',
  ) {
    super(what);
    this.name = 'ApiFailure';
  }
}

const isText = (value: unknown): value is string => typeof value === 'string';

/** Read an error body; anything that is not the API's own error becomes a plain sentence about the status. */
export function failureFrom(status: number, body: unknown): ApiFailure {
  if (typeof body === 'object' && body !== null) {
    const { code, what, why, hint } = body as Record<string, unknown>;
    if (isText(code) && isText(what)) {
      return new ApiFailure(status, code, what, isText(why) ? why : '', isText(hint) ? hint : '');
    }
  }
  return new ApiFailure(
    status,
    `http.${String(status)}`,
    status >= 500 ? 'The service did not answer properly.' : 'The service refused the request.',
    `It answered with status ${String(status)}.`,
    status >= 500 ? 'It usually recovers by itself within seconds. Try again.' : '',
  );
}

/** The failure of a request that got no answer at all. Status 0. */
export function unreachable(): ApiFailure {
  return new ApiFailure(
    0,
    'network.unreachable',
    'The service could not be reached.',
    'The connection was refused, reset or too slow.',
    'Check that the region is up and that this device is online. It is tried again by itself.',
  );
}

/** Make anything thrown into a failure that can be shown. */
export function asFailure(thrown: unknown): ApiFailure {
  if (thrown instanceof ApiFailure) return thrown;
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  return new ApiFailure(
    0,
    'app.unexpected',
    'Something unexpected happened in this page.',
    why,
    'Reload it.',
  );
}

/** Whether the service answered that nobody is signed in; the app then leads to the sign-in page by itself. */
export function isSignedOut(thrown: unknown): boolean {
  return thrown instanceof ApiFailure && thrown.status === 401;
}
