/** Addresses of the app and what they mean. Pure. */

export type Route =
  | { page: 'home'; query: string }
  | { page: 'title'; id: string }
  | { page: 'watch'; id: string }
  | { page: 'console'; part: ConsolePart; id?: string }
  | { page: 'sign-in'; next: string }
  | { page: 'lost' };

const PARTS = [
  'publish',
  'titles',
  'fleet',
  'services',
  'releases',
  'trials',
  'flags',
  'experiments',
  'audit',
] as const;
export type ConsolePart = (typeof PARTS)[number];

/** The route of a path and search string. A path that means nothing is `lost`. */
export function routeOf(path: string, search: string): Route {
  const [first = '', second = '', third = '', ...rest] = path.split('/').filter(Boolean).map(decoded);
  const params = new URLSearchParams(search);
  if (first === 'console' && second === 'trials' && third && rest.length === 0) {
    return { page: 'console', part: 'trials', id: third };
  }
  if (third) return { page: 'lost' };
  if (first === '') return { page: 'home', query: params.get('q') ?? '' };
  if ((first === 'title' || first === 'watch') && second) return { page: first, id: second };
  if (first === 'sign-in' && !second) return { page: 'sign-in', next: safeNext(params.get('next')) };
  if (first === 'console') {
    const part = PARTS.find((known) => known === (second || 'publish'));
    if (part) return { page: 'console', part };
  }
  return { page: 'lost' };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Where to go after signing in: only ever an address of this app. */
export function safeNext(next: string | null): string {
  return next !== null && /^\/(?![/\\])/.test(next) && !next.startsWith('/sign-in') ? next : '/';
}

export const hrefOf = {
  title: (id: string) => `/title/${encodeURIComponent(id)}`,
  watch: (id: string) => `/watch/${encodeURIComponent(id)}`,
  trial: (id: string) => `/console/trials/${encodeURIComponent(id)}`,
  search: (query: string) => (query ? `/?q=${encodeURIComponent(query)}` : '/'),
  signIn: (next: string) => (next === '/' ? '/sign-in' : `/sign-in?next=${encodeURIComponent(next)}`),
};
