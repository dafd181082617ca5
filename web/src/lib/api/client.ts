/** The API's verbs as typed functions. What they mean is the server's OpenAPI; this file only names them. */
import { call } from './http';
import { ONCE, PATIENT } from './retry';
import type { Account, Fleet, PlayLink, Playback, Row, Title } from './types';

const at = (id: string) => `/titles/${encodeURIComponent(id)}`;

export const session = {
  read: () => call<{ account: Account }>('/session'),
  byLink: (link_token: string) =>
    call<{ account: Account }>('/session', { method: 'POST', json: { link_token } }),
  byPassword: (name: string, password: string) =>
    call<{ account: Account }>('/session', { method: 'POST', json: { name, password }, retry: PATIENT }),
  end: () => call<undefined>('/session', { method: 'DELETE' }),
  /** Set the password; `current` is needed where there is one already. */
  setPassword: (password: string, current?: string) =>
    call<undefined>('/account/password', { method: 'PUT', json: { password, current } }),
};

export const home = (signal?: AbortSignal) => call<{ rows: Row[] }>('/home', { signal });

export const titles = {
  search: (query: string, signal?: AbortSignal) =>
    call<{ titles: Title[] }>(`/titles?limit=60&query=${encodeURIComponent(query)}`, { signal }),
  page: (after: string | null, signal?: AbortSignal) =>
    call<{ titles: Title[]; next: string | null }>(
      `/titles?limit=100${after === null ? '' : `&after=${encodeURIComponent(after)}`}`,
      { signal },
    ),
  read: (id: string, signal?: AbortSignal) => call<Title>(at(id), { signal }),
  change: (id: string, json: { title: string; description: string }) =>
    call<Title>(at(id), { method: 'PATCH', json }),
  remove: (id: string) => call<undefined>(at(id), { method: 'DELETE' }),
  addSubtitles: (id: string, lang: string, label: string, text: string) =>
    call<undefined>(`${at(id)}/subtitles/${encodeURIComponent(lang)}?label=${encodeURIComponent(label)}`, {
      method: 'PUT',
      text,
    }),
  playLink: (id: string) =>
    call<PlayLink>(`${at(id)}/play-link`, { method: 'POST', json: {}, retry: PATIENT }),
};

export const playback = {
  read: (id: string, signal?: AbortSignal) => call<Playback>(`${at(id)}/playback`, { signal }),
  /** Remember the position. `leaving`: the page is going away, so the request must outlive it. */
  save: (id: string, position_s: number, leaving = false) =>
    call<undefined>(`${at(id)}/progress`, {
      method: 'PUT',
      json: { position_s },
      keepalive: leaving,
      retry: leaving ? ONCE : undefined,
    }),
};

export const fleet = {
  read: (signal?: AbortSignal) => call<Fleet>('/fleet', { signal, retry: ONCE }),
  kill: (id: string) => call<undefined>(`/fleet/nodes/${encodeURIComponent(id)}/kill`, { method: 'POST' }),
};

/** Where a title's file is served. `path` is relative to the title's folder, or already absolute. */
export function mediaUrl(id: string, path: string): string {
  return path.startsWith('/') ? path : `/media/${encodeURIComponent(id)}/${path}`;
}
