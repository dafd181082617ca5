/** The API's verbs for changes: releases, flags, the audit log. What they mean is the server's OpenAPI. */
import type { AuditLine, Flag, Release } from './change-types';
import { call } from './http';

const part = encodeURIComponent;

export const releases = {
  all: (signal?: AbortSignal) => call<{ releases: Release[] }>('/releases?limit=30', { signal }),
  rollBack: (service: string, because: string) =>
    call<Release>(`/releases/${part(service)}/rollback`, { method: 'POST', json: { because } }),
  stop: (service: string, id: string, because: string) =>
    call<Release>(`/releases/${part(service)}/${part(id)}/stop`, { method: 'POST', json: { because } }),
};

export const flags = {
  all: (signal?: AbortSignal) => call<{ flags: Flag[] }>('/flags', { signal }),
  /** Change a flag from the revision that was seen. */
  set: (flag: Flag, change: Partial<Flag>, because: string) => {
    const { kind, variants, owner, description, rules, browser, revision } = flag;
    const { enabled = flag.enabled, default: chosen = flag.default } = change;
    return call<Flag>(`/flags/${part(flag.key)}`, {
      method: 'PUT',
      json: {
        kind,
        variants,
        owner,
        description,
        rules,
        browser,
        revision,
        enabled,
        default: chosen,
        because,
      },
    });
  },
};

export const audit = {
  page: (before: string | null, signal?: AbortSignal) =>
    call<{ lines: AuditLine[]; next: string | null }>(
      `/audit?limit=100${before === null ? '' : `&before=${part(before)}`}`,
      { signal },
    ),
};
